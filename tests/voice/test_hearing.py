"""The model that listens."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_whisper
import torch

from difftool.errors import DifftoolError, Exit
from difftool.voice.hearing import listener
from difftool.voice.prep.transcribe import installed_size


def test_the_model_that_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert installed_size(tmp_path) is None
    for size, chosen in (("tiny.en", "tiny.en"), ("large-v3", "large-v3"), ("base", "base")):
        tiny_whisper.save(tmp_path / f"whisper-{size}" / f"{size}.pt")
        assert installed_size(tmp_path) == chosen


@pytest.mark.parametrize(
    ("size", "code", "hint"),
    [
        ("base", Exit.FILE, "run difftool models pull whisper-base --models-dir 'my models', or do without"),
        ("gone.pt", Exit.FILE, "check the path, or do without"),
        ("bsae", Exit.USAGE, "known: "),
    ],
)
def test_one_that_is_not_here(
    size: str, code: Exit, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(DifftoolError) as caught:
        listener(size, torch.device("cpu"), "en", Path("my models"), otherwise="do without")
    assert caught.value.code == code
    assert caught.value.hint.startswith(hint)
