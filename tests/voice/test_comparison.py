"""What was heard, compared with the text."""

import pytest

from difftool.voice.comparison import compare, words_of

SENTENCE = "The house stands on a hill above the river, and nobody has lived there for years."


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("Good bye, Dr. Smith!", "Goodbye doctor smith"),
        ("Nevertheless, he went.", "Never the less he went."),
        ("A well-known place.", "a well known place"),
        ("The colour of the theatre is grey.", "The color of the theater is gray"),
        ("He paid twenty-one dollars at 7:20 p.m.", "He paid $21 at 7.20 PM."),
        ("In 1984 it rained.", "In nineteen eighty-four, it rained."),
        ("It's late, I won't go, and we can't stay.", "It is late I will not go and we cannot stay"),
        ("“Nobody’s here,” she said…", '"nobody\'s here" she said'),
    ],
)
def test_ways_to_write_the_same(text: str, heard: str) -> None:
    assert compare(text, heard).errors == 0
    assert compare(heard, text).errors == 0
    assert compare(text, heard).right


@pytest.mark.parametrize(
    ("heard", "errors", "run", "misses", "right"),
    [
        (SENTENCE, 0, 0, False, True),
        (SENTENCE.replace("river", "liver").replace("hill", "heel"), 2, 1, False, True),
        (SENTENCE.replace("on a hill ", ""), 3, 3, False, False),
        (SENTENCE.replace("on a ", ""), 2, 2, False, True),
        (SENTENCE.replace("on a hill", "on a hill on a hill"), 3, 3, False, False),
        (SENTENCE.replace("on a hill", "under blue trees"), 3, 3, False, False),
        (SENTENCE.replace(" years.", ""), 1, 1, True, False),
        (SENTENCE.replace("years.", "ears."), 1, 1, False, True),
        (SENTENCE.replace("years.", "y."), 1, 1, True, False),
        (SENTENCE.replace("on a hill above", "in a heel about"), 3, 3, False, False),
        (f"{SENTENCE} Thanks for watching.", 3, 3, False, False),
        ("", 16, 16, True, False),
    ],
)
def test_what_counts(heard: str, errors: int, run: int, misses: bool, right: bool) -> None:
    words = compare(SENTENCE, heard)
    assert (words.errors, words.longest_run, words.misses_end, words.right) == (errors, run, misses, right)
    assert words.count == 16
    assert words.word_error_rate == errors / 16


@pytest.mark.parametrize(
    ("text", "heard", "right"),
    [
        ("Yes.", "yes", True),
        ("Yes.", "Nothing", False),
        ("Yes.", "", False),
        ("Ms. Smyth", "Miss Smith", True),
        ("Good night.", "Good", False),
        ("Chapter 2", "Chapter two", True),
        ("Chapter 2", "Chapter two thanks for watching", False),
    ],
)
def test_one_or_two_words(text: str, heard: str, right: bool) -> None:
    assert compare(text, heard).right is right


def test_character_error_rate() -> None:
    assert compare("a house", "a mouse").character_error_rate == pytest.approx(1 / 7)
    assert compare("", "").word_error_rate == 0
    assert words_of("!") == []


SMOKE = "The wood was damp, the water was cold, and 2 of us still remember the smell of smoke."


@pytest.mark.parametrize(
    ("heard", "errors", "run", "missing"),
    [
        (SMOKE, 0, 0, 0),
        ("the wood was damp the water was cold and two of us still remember the smell of smoke", 0, 0, 0),
        ("The wood was damp, and 2 of us still remember the smell of smoke.", 4, 4, 0),
        ("The wood was damp, the water was cold, and 2 of us still remember the", 3, 3, 3),
        ("The wood was damp, the water was cold, and 2 of us still remember this mall of", 3, 3, 1),
        (f"{SMOKE} The smell of smoke.", 4, 4, 0),
        (SMOKE.replace("water", "water the water the water"), 4, 4, 0),
        ("The hood was damp, a water was cold, and 2 of us will remember the bell of smoke.", 4, 1, 0),
        ("", 18, 18, 18),
    ],
)
def test_what_is_wrong(heard: str, errors: int, run: int, missing: int) -> None:
    found = compare(SMOKE, heard)
    assert found.word_error_rate == pytest.approx(errors / 18)
    assert (found.longest_run, found.missing_end) == (run, missing)
    assert (found.character_error_rate == 0) == (errors == 0)


def test_a_script_without_spaces_is_compared_by_characters() -> None:
    found = compare("今天天气很好。", "今天天气好", "zh")
    assert found.word_error_rate == pytest.approx(1 / 6)
