"""A setting that is added to a command: all that it needs is a field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import difftool.cli.sample
import difftool.cli.txt2img
from difftool import replay
from difftool.errors import DifftoolError, Exit
from difftool.pictures.png import read_png
from difftool.settings import checked, setting
from difftool.text2img.settings import Settings

Difftool = Callable


@pytest.mark.parametrize("command", ["sample", "txt2img"])
def test_a_setting_needs_a_field(
    difftool: Difftool,
    refused: Callable,
    tiny_model: Callable[..., Path],
    tiny_pipeline: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    given = ["sample", tiny_model()]
    if command == "txt2img":
        given = ["txt2img", "a red circle", "--model", tiny_pipeline("sd")]
    given += ["--steps", 2, "--count", 2]
    assert difftool(*given, "-o", "before.png").code == 0

    widen(monkeypatch, command)
    assert "--warmth" in difftool(command, "--help").out
    refused(2, *given, "--warmth", 9, says="--warmth")
    for name in ("before.png", "before-00001-1.png"):  # of yesterday
        again = difftool("rerun", name, "--json")
        assert again.code == 0 and again.json["data"]["identical"] is True, again.err
    assert difftool(*given, "--warmth", 3, "-o", "after.png").code == 0
    assert settings_in(tmp_path / "after.png")["warmth"] == 3
    again = difftool("rerun", "after.png", "-o", "again.png", "--json")
    assert again.json["data"]["identical"] is True
    assert settings_in(tmp_path / "again.png")["warmth"] == 3


def test_a_setting_may_stand_beside_a_prompt(
    difftool: Difftool, tiny_pipeline: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    widen(monkeypatch, "txt2img")
    (tmp_path / "list.txt").write_text('a circle\na star --warmth 2\n{"prompt": "a ring", "warmth": 5}\na --warmth x')
    given = ["txt2img", "--prompts", "list.txt", "--model", tiny_pipeline("sd"), "--steps", 1, "--warmth", 1]
    done = difftool(*given, "--output-dir", "out", "--json")
    assert [(item["where"], item["code"]) for item in done.json["data"]["failed"]] == [("line 4", 2)]
    drawn = sorted((tmp_path / "out").glob("0*.png"))
    assert [settings_in(path)["warmth"] for path in drawn] == [1, 2, 5]


def widen(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Adds a setting to a command."""
    module = {"sample": difftool.cli.sample, "txt2img": difftool.cli.txt2img}[command]
    settings: type = replay.COMMANDS[command]

    @dataclass(frozen=True)
    class Wider(settings):
        warmth: int = setting(0, "Warmth.", least=0, most=5, per_prompt=True)

    monkeypatch.setattr(module, "Settings", Wider)
    monkeypatch.setitem(replay.COMMANDS, command, Wider)


def settings_in(path: Path) -> dict:
    manifest = read_png(path)[2]
    assert manifest is not None
    return manifest["settings"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"strength": float("nan")}, "--strength must be a number, not nan"),
        ({"guidance": float("inf")}, "--guidance must be a number, not inf"),
        ({"guidance": 1e31}, "--guidance must be from -1e+30 to 1e+30, not 1e+31"),
        ({"steps": 2.5}, "--steps must be a whole number, not 2.5"),
        ({"count": 0}, "--count must be from 1 to 1,000,000, not 0"),
        ({"preset": "scnell"}, "unknown preset 'scnell'; did you mean 'schnell'?"),
    ],
)
def test_a_wrong_value_is_told_in_words(values: dict, says: str) -> None:
    with pytest.raises(DifftoolError) as error:
        checked(Settings(**values))
    assert (error.value.code, error.value.message) == (Exit.USAGE, says)
