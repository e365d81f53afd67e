"""The model that listens."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_whisper

from difftool.voice.hearing import whisper_installed


def test_the_model_that_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert whisper_installed(tmp_path) is None
    for size, chosen in (("tiny.en", "tiny.en"), ("large-v3", "large-v3"), ("base", "base")):
        tiny_whisper.save(tmp_path / f"whisper-{size}" / f"{size}.pt")
        assert whisper_installed(tmp_path) == chosen
