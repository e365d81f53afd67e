"""What a result that is shared tells of the files it was made from, and how they are found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from difftool import provenance


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def note(folder: Path) -> dict[str, Any]:
    settings = {
        "model": str(folder / "model"),
        "models_dir": str(folder / "models"),
        "init": str(folder / "a" / "x.png"),
        "mask": str(folder / "b" / "x.png"),
        "loras": [[str(folder / "l.safetensors"), 0.5]],
        "prompt": f"a picture of {folder.name}",
    }
    files = {settings["init"]: "11", settings["mask"]: "22", settings["loras"][0][0]: "33"}
    voice = {"name": "me", "sha256": "44", "consent": {"kind": "written", "file": str(folder / "paper.pdf")}}
    return {"settings": settings, "files": files, "model": {"sha256": "55"}, "voices": [voice]}


def test_a_path_is_told_to_nobody_and_found_again(tmp_path: Path) -> None:
    full = note(tmp_path)
    for name in ("model", "models", "a", "b"):
        (tmp_path / name).mkdir()
    for name in ("a/x.png", "b/x.png", "l.safetensors"):
        (tmp_path / name).touch()
    provenance.remember(full)
    told = provenance.shared(full)
    assert str(tmp_path) not in repr(told)
    assert told["settings"].keys() == full["settings"].keys()
    assert told["settings"]["init"] != told["settings"]["mask"]
    assert told["settings"]["prompt"] == full["settings"]["prompt"]
    assert told["files"].keys() == {"11-x.png", "22-x.png", "l.safetensors"}
    assert told["voices"][0]["consent"]["file"] == "paper.pdf"
    assert provenance.located(told, Path("elsewhere.png")) == full["settings"]
    assert provenance.located(full, Path("elsewhere.png")) == full["settings"]  # as files of yesterday have it
    assert provenance.shared(told) == told


def test_without_memory_names_are_looked_for_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = provenance.shared(note(tmp_path / "gone"))
    (tmp_path / "runs" / "model").mkdir(parents=True)
    settings = provenance.located(told, tmp_path / "runs" / "model" / "samples" / "a.png")
    assert settings["model"] == str(tmp_path / "runs" / "model")
    assert settings["models_dir"] is None
    monkeypatch.chdir(tmp_path / "runs")
    assert provenance.located(told, Path("/a.png"))["model"] == str(tmp_path / "runs" / "model")


def test_names_of_the_package_and_the_store_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    bundled = {"settings": {"model": "digits"}, "model": {"sha256": "1"}}
    assert provenance.shared(bundled) == bundled
    assert provenance.located(bundled, Path("a.png")) == bundled["settings"]


def test_a_cache_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    provenance.remember(note(tmp_path))
    assert provenance.shared(note(tmp_path))["settings"]["model"] == "./model"


@pytest.mark.parametrize("odd", [{}, {"settings": 3}, {"settings": {"loras": [3]}, "files": 3, "voices": [None]}])
def test_odd_notes(odd: dict[str, Any]) -> None:
    provenance.remember(odd)
    provenance.shared(odd)
    if isinstance(odd.get("settings"), dict):
        provenance.located(odd, Path("a.png"))
