"""What a terminal shows: colours, a first sign of life, pictures."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Callable
from pathlib import Path

import pytest
from terminals import on_terminal

XTERM = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}


@pytest.mark.parametrize("name", ["NO_COLOR", "TERM"])
def test_errors_and_verdicts_have_colours(name: str, tmp_path: Path) -> None:
    plain = {**XTERM, **({"NO_COLOR": "1"} if name == "NO_COLOR" else {"TERM": "dumb"})}
    error = on_terminal("sample", "--steps", "0", cwd=tmp_path, env=XTERM)
    assert error.startswith("\x1b[1;31merror:\x1b[0m ")
    assert "\n\x1b[36mhint:\x1b[0m " in error
    assert on_terminal("sample", "--steps", "0", cwd=tmp_path, env=plain).startswith("error: ")
    checked = on_terminal("lab", "check", "digits", cwd=tmp_path, env=XTERM)
    assert "\x1b[32mfits\x1b[0m" in checked
    assert "\x1b" not in on_terminal("lab", "check", "digits", cwd=tmp_path, env=plain)


def test_a_file_name_brings_no_colour(tmp_path: Path) -> None:
    error = on_terminal("meta", "\x1b[31mred.png", cwd=tmp_path, env=XTERM)
    assert "\x1b[31m" not in error
    assert "\\x1b[31mred.png" in error


def test_a_command_says_at_once_that_it_loads(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    command = ("sample", "--count", "1", "-o", "a.png")
    seen = on_terminal(*command, cwd=tmp_path, env=XTERM)
    assert seen.startswith("sample: loading ...\r\x1b[K\x1b[1;31merror:")
    assert on_terminal(*command, "-q", cwd=tmp_path, env=XTERM).startswith("\x1b[1;31merror:")
    assert "loading" not in on_terminal(*command, cwd=tmp_path, env={**XTERM, "TERM": "dumb"})


def test_a_report_opens_in_the_browser(difftool: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    assert difftool("train", "moons", "--steps", 2, "--output-dir", "run", "--open").code == 0
    assert opened == [(tmp_path / "run" / "report.html").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    ended = difftool("train", "moons", "--steps", 2, "--output-dir", "run", "--open")
    assert ended.code == 0
    assert "no web browser found" in ended.err


def test_a_picture_is_shown_in_the_terminal(difftool: Callable, tmp_path: Path) -> None:
    command = ("sample", "--steps", "1", "--count", "2", "--show")
    seen = on_terminal(*command, cwd=tmp_path, env=XTERM)
    assert seen.count("\u2580") > 50  # half blocks, where the terminal has no graphics
    for option in ("--json", "-q"):
        ended = difftool(*command, option)
        assert ended.code == 0
        assert "--show needs a terminal" in ended.err
    assert difftool(*command).err.count("--show needs a terminal") == 1
