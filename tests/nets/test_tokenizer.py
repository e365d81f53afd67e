from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from difftool.nets.tortoise.tokenizer import UNKNOWN, normalise, tokenize

GOLDEN = Path(__file__).parents[1] / "golden" / "tortoise_tokens.json"


def test_tokens_are_the_originals() -> None:
    """tortoise-tts 3.0.0's, stored by tests/stock/make_golden.py."""
    stored = json.loads(GOLDEN.read_text())
    assert len(stored) == 400
    for text, tokens in stored:
        assert tokenize(text) == tokens, text


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Dr. Smith", "doctor smith"),
        ("Lt.Col. Mr.St.Co.", "lieutenantcol. misterst.company"),
        ("He paid $3.01 and $1", "he paid three dollars, one cent and one dollar"),
        ("$0 or $.50", "zero dollars or fifty cents"),
        ("in 1,234 of 2005", "in twelve thirty-four of two thousand five"),
        ("1900, 3000 and 21st", "nineteen hundred, three thousand and twenty-first"),
        ("0.5", "zero point five"),
        ("Say “Yes” …", "say yes ..."),
        ("a \n\t b", "a b"),
        ("$,5", "five dollars"),
    ],
)
def test_what_is_written_is_spoken(written: str, spoken: str) -> None:
    assert normalise(written) == spoken


def test_what_has_no_token_is_unknown() -> None:
    assert UNKNOWN in tokenize("[sadly]")
    assert UNKNOWN not in tokenize("Dr. Smith's 3 cats, he said; and so on!")


def test_a_number_without_a_name_is_refused() -> None:
    for number in ("9" * 40, "1" * 5000, "$" + "1" * 5000, "$1." + "1" * 5000, "1" * 5000 + "st", "1." + "2" * 5000):
        with pytest.raises(ValueError, match="a number is too large to be spoken"):
            tokenize(number)
    assert normalise("0" * 5000 + "7") == "seven"


@given(st.text(max_size=60))
def test_every_text_has_tokens(text: str) -> None:
    try:
        tokens = tokenize(text)
    except ValueError as error:
        assert "too large" in str(error)
    else:
        assert all(0 <= token < 255 for token in tokens)


@given(st.text(alphabet="$0123456789.,st ndrh£%-", max_size=30))
def test_every_amount_has_tokens(text: str) -> None:
    assert all(0 <= token < 255 for token in tokenize(text))
