"""How long F5-TTS speaks, and how long texts are cut."""

from __future__ import annotations

import itertools

import pytest
import torch

from difftool.errors import DifftoolError, Exit
from difftool.nets.spectrum import HOP, RATE
from difftool.voice.engines.f5.lengths import frames, pieces
from difftool.voice.engines.f5.pace import letters, spoken_seconds
from difftool.voice.engines.f5.prompt import Prompt

WORDS = "The birch canoe slid on the smooth planks at dawn. "


def prompt(seconds: float, text: str = WORDS, silence: float = 0.0) -> Prompt:
    sound = torch.ones(round(seconds * RATE)) * 0.1
    middle = len(sound) // 2
    return Prompt(torch.cat([sound[:middle], torch.zeros(round(silence * RATE)), sound[middle:]]), text, 1.0)


def test_the_rule_of_f5_tts_with_its_jump() -> None:
    short = prompt(6, "x" * 42 + ". ")
    assert frames(short, "Stop now.", compat=True) == 383
    assert frames(short, "Stop now!!", compat=True) == 127
    assert frames(short, "é" * 40, 2.0, compat=True) == int(562 / 44 * 80 / 2)


def test_no_jump_below_ten_bytes() -> None:
    short = prompt(6, "x" * 43 + ".")
    every = [frames(short, "Stop right now, please, or else."[:k]) for k in range(1, 33)]
    assert every == sorted(every)
    steps = [after - before for before, after in itertools.pairwise(every)]
    assert max(steps) < 28  # a letter, and a space before it, are 13 frames each
    assert every[8] == int(9 * 6 / 44 * RATE / HOP)
    assert frames(short, "No") == int((0.35 + 2 * 0.05) * RATE / HOP)


def test_the_floor_is_for_few_letters_only() -> None:
    fast = prompt(2)
    assert frames(fast, "Yes.") == int((0.35 + 4 * 0.05) * RATE / HOP)
    long = "This sentence has many more letters than a fast voice needs to have room for each."
    assert frames(fast, long) == int(len(long) * 2 / letters(WORDS) * RATE / HOP)


def test_speed() -> None:
    for text in ("Yes.", WORDS.strip()):
        assert frames(prompt(6), text, 0.5) == pytest.approx(2 * frames(prompt(6), text), abs=1)


def test_long_pauses_are_no_part_of_the_pace() -> None:
    assert spoken_seconds(prompt(4, silence=3).sound.numpy()) == pytest.approx(4.4, abs=0.02)
    assert frames(prompt(4, silence=0.3), WORDS) == pytest.approx(4.3 * RATE / HOP, abs=2)
    assert frames(prompt(4, silence=3), WORDS) == pytest.approx(4.4 * RATE / HOP, abs=2)


@pytest.mark.parametrize("compat", [True, False])
def test_every_token_has_a_frame(compat: bool) -> None:
    brief = prompt(0.5, "x. ")
    assert frames(brief, "a" * 400, 100.0, compat) == 3 + 400 + 1 - int(0.5 * RATE / HOP)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("Hello, you", 10),
        ("schön", 5),
        ("Привет", 6),
        ("안녕", 6),
        ("你好。", 7),
        ("かな", 4),
        ("नमस्ते", 6.8),
        ("e\u0301", 1),
    ],
)
def test_the_length_of_other_scripts(text: str, length: float) -> None:
    assert letters(text) == pytest.approx(length)


def test_an_ellipsis_is_a_pause() -> None:
    for dots in ("... ", "… ", " . . . ", "...", "…"):
        first, second = pieces(f"It is 20 past 7{dots}and dark.", prompt(6))
        assert (first.text.replace(" ...", "..."), first.pause) == ("It is twenty past seven...", 0.7)
        assert (second.text, second.pause) == ("and dark.", 0.0)


def test_parts_fit_22_seconds_with_the_reference() -> None:
    for seconds in (3, 11):
        made = prompt(seconds, WORDS * 2)
        every = pieces(WORDS * 40 + "word " * 200, made)
        assert max(frames(made, part.text) for part in every) <= (22 - seconds) * RATE / HOP
        assert " ".join(part.text for part in every).split() == (WORDS * 40 + "word " * 200).split()


def test_chinese_is_cut_at_its_marks() -> None:
    sentence, clause = "今天天气很好，我们去公园玩吧！", "这一句话非常非常的长，"
    every = pieces(sentence * 8 + clause * 20 + "完。", prompt(6, "你好，世界，今天天气很好我们去公园玩吧。"))
    assert "".join(part.text for part in every) == sentence * 8 + clause * 20 + "完。"
    assert all(part.text[-1] in "！，。" for part in every)
    assert {part.pause for part in every} == {0.35, 0.15, 0.0}


def test_numbers_are_spoken_in_the_language_beside_them() -> None:
    (part,) = pieces("他有12本书，I have 12 books.", prompt(6))
    assert part.text == "他有十二本书，I have twelve books."


def test_parts_as_f5_tts_cuts_them() -> None:
    made = prompt(6, "x" * 42 + ".  ")
    text = "One, two; three: four. 20% five?\nSix! seven" * 4
    chunks = [part.text for part in pieces(text, made, compat=True)]
    assert " ".join(chunks) == text.replace("\n", " ")
    assert max(map(len, chunks)) <= int(44 / 6 * 16)
    assert all(part.pause == 0 for part in pieces(text, made, compat=True))
    assert [part.text for part in pieces("好！好。", prompt(20, "x. "), compat=True)] == ["好！", "好。"]
    with pytest.raises(DifftoolError) as caught:
        pieces("...", made, compat=True)
    assert caught.value.code == Exit.USAGE


def test_long_runs_of_marks() -> None:
    """They would take minutes if each of their places were the start of another search."""
    every = pieces("!" * 40_000 + "a. " + "." * 40_000 + " b.", prompt(6))
    assert every[-1].text.endswith("b.")
