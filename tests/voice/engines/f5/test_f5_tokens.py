"""Tokens of F5-TTS, as f5-tts makes them, and what is said of characters that it does not know."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import GOLDEN
from hypothesis import given
from hypothesis import strategies as st

from difftool.errors import DifftoolError, Exit
from difftool.voice.engines.f5.tokens import HANZI, JIEBA, RJIEBA, readable, spelled, vocabulary

ROWS = json.loads((GOLDEN / "f5_tokens.json").read_text("utf-8"))
CHINESE = [row for row in ROWS if HANZI.search(row["text"])]
TOKENS = [" ", "a", "b", "c", "你", "hao3", "!"]


@pytest.mark.parametrize("cut", [JIEBA, RJIEBA])
@pytest.mark.parametrize("row", [row for row in ROWS if row not in CHINESE], ids=lambda row: row["text"][:20])
def test_text_without_chinese_as_in_f5_tts(row: dict[str, str], cut: str) -> None:
    assert spelled(row["text"], cut) == row[cut]


@pytest.mark.parametrize("cut", [JIEBA, RJIEBA])
def test_chinese_as_in_f5_tts(cut: str) -> None:
    pytest.importorskip("rjieba", reason="rjieba is not installed: pip install pypinyin rjieba")
    pytest.importorskip("pypinyin", reason="pypinyin is not installed: pip install pypinyin rjieba")
    for row in CHINESE:
        assert spelled(row["text"], cut) == row[cut], row["text"]


def test_the_cuts_differ_in_compounds() -> None:
    assert "".join(spelled("a follow-up, 3.5%", JIEBA)) == "a follow- up, 3.5%"
    assert "".join(spelled("a follow-up, 3.5%", RJIEBA)) == "a follow-up, 3.5%"


@given(st.text(st.characters(max_codepoint=0x2FFF)))
def test_nothing_but_spaces_is_added(text: str) -> None:
    replaced = text.replace(";", ",").translate(str.maketrans("“”‘’", "\"\"''"))
    for cut in (JIEBA, RJIEBA):
        assert "".join(spelled(text, cut)).replace(" ", "") == replaced.replace(" ", "")


@pytest.mark.parametrize("package", ["rjieba", "pypinyin"])
def test_chinese_without_its_packages(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rjieba", "pypinyin"):
        monkeypatch.setitem(sys.modules, name, None if name == package else object())
    with pytest.raises(DifftoolError) as caught:
        spelled("Hello 你好")
    assert caught.value.code == Exit.USAGE
    assert caught.value.hint == "run pip install pypinyin rjieba"
    assert spelled("こ, 안, 🎉") == ["こ", ",", " ", "안", ",", " ", "🎉"]


@pytest.mark.parametrize(
    "data",
    [
        "\n".join([*TOKENS, ""]).encode(),
        "\r\n".join([*TOKENS, ""]).encode(),
        "\n".join(TOKENS).encode(),
        "\n".join([*TOKENS, ""]).encode("utf-8-sig"),
    ],
    ids=["LF", "CRLF", "without the last line end", "BOM"],
)
def test_forms_of_a_vocabulary(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(data)
    known = vocabulary(path)
    assert known.size == len(TOKENS)
    assert known.tokens("cab d!") == [3, 1, 2, 0, 0, 6]
    assert known.missing("cab\n d!? d") == ["d", "?"]


def test_lines_that_other_programs_take_for_ends(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text(" \n\u2028\n\x85\n\x0c\n\nz\n", "utf-8")
    assert vocabulary(path).size == 6
    assert vocabulary(path).tokens("z\u2028") == [5, 1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "cannot read"),
        (b"", "is empty"),
        (b"<!DOCTYPE html>\n<html>", "its first line is '<!DOCTYPE html>', not a space"),
        (b"a\n \n", "its first line is 'a', not a space"),
        (b"\n \n", "its first line is '', not a space"),
        ("\n".join(TOKENS).encode("utf-16"), "is not UTF-8"),
    ],
)
def test_what_is_no_vocabulary(data: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DifftoolError) as caught:
        vocabulary(path)
    assert caught.value.code == Exit.FILE
    assert message in caught.value.message and str(path) in caught.value.message


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("他说：“好”；（真）。 走！", '他说，"好"，(真)。走！'),
        ("ＡＢ１　x", "AB1 x"),
        ("‘a’ co‑op soft\u00adhyphen ﬁne", "'a' co-op softhyphen fine"),
        ("e\u0301tude", "étude"),
        ("Œuvre, Éte", "œuvre, Éte"),
        ("This is VERY important, NASA and HTML.", "This is very important, nasa and HTML."),
        ("STOP THE CAR! I am from the USA. A U.S.A. and K.F.C. thing", "stop the car! I am from the USA. A U.S.A. and"
         " K.F.C. thing"),
        ("ÜBER allem, ПРИВЕТ", "über allem, привет"),
        ("NO WAY", "NO WAY"),
    ],
)  # fmt: skip
def test_what_the_vocabulary_would_not_know(text: str, wanted: str) -> None:
    assert readable(text) == wanted
    assert readable(wanted) == wanted
