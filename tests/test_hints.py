"""What hints tell to type can be typed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from difftool.cli import COMMANDS
from difftool.cli.app import load

SOURCE = Path(__file__).parents[1] / "src" / "difftool"
OPTIONS = {
    name: {"--help", *(opt for param in load(name, *row).params for opt in param.opts + param.secondary_opts)}
    for name, row in COMMANDS.items()
}
OF_A_FILE = {
    "cli/voice_clone": ["voice clone"],
    "cli/voice_prep": ["voice prep"],
    "cli/voice_judge": ["voice judge"],
    "cli/voice_library": ["voice rm", "voice list", "voice show", "voice export"],
    "cli/speech": ["voice clone"],
    "cli/train": ["train"],
    "cli/sample": ["sample"],
    "cli/evaluate": ["eval"],
    "cli/txt2img": ["txt2img"],
    "cli/models": ["models pull", "models verify", "models rm"],
    "cli/lab": ["lab check"],
    "voice/prep/": ["voice prep"],
    "voice/judging/": ["voice judge"],
    "voice/tuning/": ["voice train"],
    "voice/export": ["voice export"],
    "voice/": ["voice clone", "voice rm"],
    "train/": ["train", "eval"],
    "learning/": ["train", "eval"],
    "pixels/compare": ["sample"],
    "pixels/": ["sample", "eval"],
    "text2img/": ["txt2img"],
    "store": ["models pull"],
    "download": ["models pull"],
    "lab/": ["lab check"],
}
"""Which commands have the errors of a file, by the longest beginning of its name; all others are anybody's."""


OF_OTHERS = {"--repo-type", "--reinstall-package", "--torch-backend", "--python"}
"""Options of uv and of the hub's own program."""


def hints() -> Iterator[tuple[str, str]]:
    """(file, hint), with * in the place of what is filled in."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            told = None
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "DifftoolError" and len(node.args) == 3:
                told = node.args[2]
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("hint", "again"):
                told = node.value
            if told is not None:
                text = re.sub(r"\{[^{}]*\}", "*", ast.unparse(told))
                yield str(path.relative_to(SOURCE).with_suffix("")), text


def commands(file: str, hint: str) -> list[str]:
    named = [name for name in COMMANDS if f"difftool {name}" in hint]
    begins = [begin for begin in OF_A_FILE if file.startswith(begin)]
    return named + (OF_A_FILE[max(begins, key=len)] if begins else [*COMMANDS])


def test_no_hint_names_an_option_that_its_command_lacks() -> None:
    wrong = []
    for file, hint in hints():
        known = set().union(*(OPTIONS[name] for name in commands(file, hint)), OF_OTHERS)
        wrong += [(file, hint, opt) for opt in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", hint) if opt not in known]
    assert wrong == []


@pytest.mark.parametrize("command", [*COMMANDS])
def test_out_of_memory_advises_what_the_command_has(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from difftool.cli.app import _unexpected
    from difftool.cli.console import Console

    console = Console()
    console.options = {param.name for param in load(command, *COMMANDS[command]).params}
    error = _unexpected(MemoryError(), console)
    assert error.code == 6
    assert set(re.findall(r"--[a-z-]+", error.hint)) <= OPTIONS[command]
