"""What was heard, compared with a text."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_whisper

from difftool.voice.hearing import compared, whisper_installed

TEXT = "The wood was damp, the water was cold, and 2 of us still remember the smell of smoke."


@pytest.mark.parametrize(
    ("heard", "errors", "run", "missing"),
    [
        (TEXT, 0, 0, 0),
        ("the wood was damp the water was cold and two of us still remember the smell of smoke", 0, 0, 0),
        ("The wood was damp, and 2 of us still remember the smell of smoke.", 4, 4, 0),
        ("The wood was damp, the water was cold, and 2 of us still remember the", 3, 3, 3),
        ("The wood was damp, the water was cold, and 2 of us still remember this mall of", 3, 2, 1),
        (f"{TEXT} The smell of smoke.", 4, 4, 0),
        (TEXT.replace("water", "water the water the water"), 4, 4, 0),
        ("The hood was damp, a water was cold, and 2 of us will remember the bell of smoke.", 4, 1, 0),
        ("", 18, 18, 18),
    ],
)
def test_words(heard: str, errors: int, run: int, missing: int) -> None:
    found = compared(heard, TEXT, "en")
    assert found.word_error_rate == pytest.approx(errors / 18)
    assert (found.longest_run, found.missing_end) == (run, missing)
    assert (found.character_error_rate == 0) == (errors == 0)


def test_a_script_without_spaces_is_compared_by_characters() -> None:
    found = compared("今天天气好", "今天天气很好。", "zh")
    assert found.word_error_rate == pytest.approx(1 / 6)


def test_the_model_that_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert whisper_installed(tmp_path) is None
    for size, chosen in (("tiny.en", "tiny.en"), ("large-v3", "large-v3"), ("base", "base")):
        tiny_whisper.save(tmp_path / f"whisper-{size}" / f"{size}.pt")
        assert whisper_installed(tmp_path) == chosen
