"""Where the values of options come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from difftool.cli import COMMANDS
from difftool.presets import family


@pytest.fixture
def shown(difftool: Callable) -> Callable[..., dict[str, tuple[Any, str]]]:
    def run(*args: str) -> dict[str, tuple[Any, str]]:
        ended = difftool("config", "show", "--json", *args)
        assert ended.code == 0, ended.err
        (values,) = ended.json["data"]["commands"].values()
        return {key: (row["value"], row["source"]) for key, row in values.items()}

    return run


def test_every_source(shown: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = tmp_path / "home" / ".config" / "difftool" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text("[sample]\ncount = 3\nsteps = 5\n")
    (tmp_path / "difftool.toml").write_text("[sample]\nsteps = 6\neta = 0\n[train]\nminutes = 1\n")
    (tmp_path / "mine.toml").write_text("[sample]\nguidance = 0\n")
    monkeypatch.setenv("DIFFTOOL_SEED", "4")
    monkeypatch.setenv("DIFFTOOL_SAMPLE_THREADS", "1")
    values = shown("sample", "--config", "mine.toml")
    assert values["count"] == (3, str(user))
    assert values["steps"] == (6, "difftool.toml")
    assert values["eta"] == (0, "difftool.toml")
    assert values["guidance"] == (0, "mine.toml")
    assert values["seed"] == (4, "DIFFTOOL_SEED")
    assert values["threads"] == (1, "DIFFTOOL_SAMPLE_THREADS")
    assert values["device"] == ("auto", "built-in")
    assert values["label"] == (None, "built-in")
    assert values["quiet"] == (False, "built-in")
    typed = shown("--", "sample", "--steps", "9", "--config", "mine.toml")
    assert typed["steps"] == (9, "command line")
    assert typed["guidance"] == (0, "mine.toml")


def test_presets(shown: Callable) -> None:
    values = shown("--", "voice", "clone", "--preset", "standard", "--samples", "5")
    assert values["steps"] == (200, "preset standard")
    assert values["samples"] == (5, "command line")
    assert shown("--", "train", "--preset", "digits")["minutes"] == (2, "preset digits")


def test_presets_of_the_engine_that_speaks(shown: Callable, tortoise: Path, refused: Callable) -> None:
    small, large = family("mini"), family("voice")
    values = shown("voice", "clone")
    assert (values["steps"], values["samples"]) == ((small["fast"]["steps"], "preset fast"), (None, "built-in"))
    assert shown("--", "voice", "clone", "--models-dir", str(tortoise))["samples"] == (96, "preset fast")
    for engine, steps in (("mini", small["draft"]["steps"]), ("f5", 7), ("tortoise", 12), ("stock", 12)):
        values = shown("--", "voice", "clone", "--engine", engine, "--preset", "draft")
        assert values["steps"] == (steps, "preset draft")
    assert shown("--", "voice", "clone", "--top-k", "9")["steps"] == (large["fast"]["steps"], "preset fast")
    ended = refused(2, "config", "show", "--", "voice", "clone", "--top-k", 9, "--speed", 2, says="no engine has all")
    assert "warning" not in ended.err


def test_what_is_overridden_is_not_shown(shown: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "difftool.toml").write_text("[train]\nepochs = 3\n")
    monkeypatch.setenv("DIFFTOOL_STEPS", "10")
    values = shown("--", "train", "--preset", "digits")
    assert values["steps"] == (10, "DIFFTOOL_STEPS")
    assert values["epochs"] == (None, "built-in")
    assert values["minutes"] == (None, "built-in")


def test_all_commands(difftool: Callable) -> None:
    assert [*difftool("config", "show", "--json").json["data"]["commands"]] == [*COMMANDS]
    lines = difftool("config", "show", "models").out.splitlines()
    assert [line for line in lines if line.startswith("[")] == [f"[models.{name}]" for name in COMMANDS_OF_MODELS]
    assert 'device            = "auto"  (built-in)' in difftool("config", "show", "sample").out.splitlines()


COMMANDS_OF_MODELS = ("ls", "pull", "verify", "rm")


def test_errors_are_those_of_the_command(refused: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(2, "config", "show", "smaple", says="did you mean 'sample'?")
    refused(2, "config", "show", "voice", "clne", says="did you mean 'voice clone'?")
    refused(2, "config", "show", "--", "sample", "--steps", "0", says="--steps must be from 1")
    (tmp_path / "difftool.toml").write_text("[sample]\nstepz = 6\n")
    refused(2, "config", "show", "sample", says="no key 'stepz'; did you mean 'steps'?")
    (tmp_path / "difftool.toml").unlink()
    monkeypatch.setenv("DIFFTOOL_COUNT", "x")
    refused(2, "config", "show", "sample", says="--count")
