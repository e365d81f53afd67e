"""Texts in parts that can be spoken."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from difftool.errors import DifftoolError, Exit
from difftool.voice.engines.tortoise.text import token_parts as parts
from difftool.voice.engines.tortoise.text import tokens, unspoken
from difftool.voice.text import (
    BETWEEN_CHAPTERS,
    BETWEEN_SCENES,
    CHAPTER,
    MOST,
    PARAGRAPH,
    PAUSES,
    SCENE,
    Part,
    spoken,
    written_out,
)

ROOM = 398


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "It cost 1,234,567 euros.",
            "It cost one million, two hundred thirty-four thousand, five hundred sixty-seven euros.",
        ),
        ("€5.50 & 20%", "five euros fifty cents  and  twenty percent"),
        ("Cats, dogs, etc. They came.", "Cats, dogs, et cetera. They came."),
        ("Cities, e.g. Paris vs. Rome", "Cities, for example Paris versus Rome"),
        ("Prof. Smith, Fig. 3", "professor Smith, figure three"),
        (
            "€5, then £1 and £3.5m, £2 million or ¥10",
            "five euros, then one pound and three point five million pounds, two million pounds or ten yen",
        ),
        ("End.\n\n— Who is there?\n— But I—\n\nNext", "End.\n\nWho is there?\nBut I\n\nNext"),
        ("e.g. this, i.e. that, etc. and more", "for example this, that is that, et cetera and more"),
        ("“Well…” — she said – ‘no’", "\"Well...\", she said, 'no'"),
        ("$1,234.50 in 1984", "one thousand, two hundred thirty-four dollars fifty cents in nineteen eighty-four"),
        ("lives in Main St. and", "lives in Main Street and"),
        ("12 Main St. He is at St. Mary's.", "twelve Main Street. He is at St. Mary's."),
        ("# Chapter 1 #\nIt was late.", "\n\nChapter one\n\n\nIt was late."),
        ("Title\n=====\nText", "Title\n\n\n\n\n\nText"),
        ("C# and #MeToo", "C sharp and hashtag MeToo"),
        ("# 5 is #5", "\n\nfive is  number five\n\n"),
        ("twenty-one well-known", "twenty-one well-known"),
    ],
)
def test_what_the_tokenizer_misreads_is_in_words(text: str, wanted: str) -> None:
    assert spoken(text) == wanted


def test_a_short_text_is_one_part() -> None:
    assert parts("  Hello\n there. ", ROOM) == [Part("Hello there.", 0.0)]


def test_chapters_and_scenes_of_a_document() -> None:
    text = (
        f"Before.\n\n{CHAPTER}Chapter 1\n\nIt was late.\n\n{SCENE}\n\nLater.\n\n{CHAPTER}…\n\n{CHAPTER}End [1\n\nOver."
    )
    assert parts(text.replace("[", ""), ROOM) == [
        Part("Before.", BETWEEN_CHAPTERS),
        Part("Chapter one", PARAGRAPH, "Chapter 1"),
        Part("It was late.", BETWEEN_SCENES),
        Part("Later.", BETWEEN_CHAPTERS),
        Part("End one", PARAGRAPH, "End 1"),
        Part("Over.", 0.0),
    ]
    assert parts("A\x1c b\f\n\nc.", ROOM) == [Part("A b", PARAGRAPH), Part("c.", 0.0)]  # white space, as ever


def test_sentences_are_not_cut_at_abbreviations_and_decimals() -> None:
    sentence = "Dr. Smith and J. R. Hartley paid $3.50 for 2.5 pounds at St. Mary."
    made = parts(" ".join([sentence] * 6), ROOM)
    said = sentence.replace("$3.50", "three dollars fifty cents").replace("2.5", "two point five")
    assert [part.text for part in made] == [" ".join([said] * 3)] * 2
    assert [part.pause for part in made] == [PAUSES["."], 0.0]


def test_pauses() -> None:
    made = parts('Wait... what? Yes.\n\nThen: "no" | he said\n\n* * *\n\nEnd', ROOM)
    assert made == [
        Part("Wait...", PAUSES["..."]),
        Part("what? Yes.", PARAGRAPH),
        Part('Then: "no"', 0.0),
        Part("he said", PARAGRAPH),
        Part("End", 0.0),
    ]


def test_a_heading_is_a_paragraph_of_its_own() -> None:
    assert parts("# Chapter One\nIt was late.", ROOM) == [Part("Chapter One", PARAGRAPH), Part("It was late.", 0.0)]


def test_an_hour_ends_no_sentence() -> None:
    text = " ".join(["He ate at seven p.m. and left the house before nine in the morning of the day."] * 4)
    assert [part.text[-8:] for part in parts(text, ROOM)] == ["the day."] * 2


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Mrs. O'Neil and Mr. Smith Jr.", "Missus O'Neil and Mister Smith Junior."),
        ("“Well” — the Café’s 10,000 &c…", "“Well” — the Café’s ten thousand and c…"),
        ("e.g. 50% of Dr. No", "for example fifty percent of Doctor No"),
        ("Nothing is said here.", "Nothing is said here."),
        ("9" * 50, "9" * 50),
    ],
)
def test_the_normalised_column_keeps_case_and_accents(text: str, wanted: str) -> None:
    assert written_out(text) == wanted


def test_a_long_sentence_is_cut_at_a_clause_else_at_a_word() -> None:
    clause = "and then he went on and on about the weather in the north of the country"
    made = parts(", ".join([clause] * 6) + ".", ROOM)
    assert len(made) == 2
    assert made[0].text.endswith("country,")
    assert made[0].pause == PAUSES[","]
    words = parts("word " * 150, ROOM)
    assert all(re.fullmatch("(word ?)+", part.text) for part in words)
    assert sum(part.text.count("word") for part in words) == 150
    assert "".join(part.text for part in parts("x" * 1000, ROOM)) == "x" * 1000


@given(
    st.text(alphabet=st.sampled_from("abcXYZ 09.,;:!?'\"-—…|()%€\n\t*ß中é"), max_size=900),
    st.sampled_from([60, 98, ROOM]),
)
def test_every_part_can_be_spoken_and_nothing_is_lost(text: str, room: int) -> None:
    try:
        made = parts(text, room)
    except DifftoolError as error:
        assert error.code == Exit.USAGE
        assert "nothing in the text" in error.message or "too large" in error.message
        return
    for part in made:
        assert 0 < len(part.text) <= MOST
        assert 0 < len(tokens(part.text)) <= room
    assert made[-1].pause == 0.0
    letters = "".join(part.text for part in made)
    assert re.sub(r"[\W_]", "", letters) == re.sub(r"[\W_]", "", spoken(text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[I am really sad,] hello", "brackets"),
        ("hello ]", "brackets"),
        ("", "nothing"),
        ("... !!! *", "nothing"),
        ("9" * 50, "too large"),
        (",".join(["100"] * 20), "too large"),
        ("a\0b", "null bytes"),
        ("caf\udce9", "not valid UTF-8"),
    ],
)
@pytest.mark.parametrize("plain", [False, True])
def test_what_cannot_be_spoken(text: str, says: str, plain: bool) -> None:
    with pytest.raises(DifftoolError, match=says) as error:
        parts(text, ROOM, plain=plain)
    assert error.value.code == Exit.USAGE


def test_the_original_takes_a_text_as_it_is() -> None:
    assert parts("1,234 ...  & so", ROOM, plain=True) == [Part("1,234 ... & so", 0.0)]
    with pytest.raises(DifftoolError, match="too long"):
        parts("word " * 400, ROOM, plain=True)


def test_signs_without_a_sound_are_named() -> None:
    assert unspoken("a~b {c} 50% 中") == "~{}"
    assert unspoken("Well 😀, “yes” 🇩🇪") == "😀🇩🇪"
    assert unspoken("plain") == ""
