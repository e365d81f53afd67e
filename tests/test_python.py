"""What `import difftool` gives to a program."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

import difftool
from difftool import core, train, voice
from difftool.errors import DifftoolError

HEAVY = ("torch", "numpy", "PIL", "rich", "typer")


def test_names_come_without_what_is_heavy() -> None:
    code = f"""
import sys
import difftool
print(difftool.__version__, difftool.DifftoolError.__name__, "sample" in dir(difftool), "Noise" in dir(difftool.core))
print({{*{HEAVY!r}}} & {{*sys.modules}})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{version('difftool')} DifftoolError True True", "set()"]


def test_what_dir_names_is_there() -> None:
    for module in (difftool, core, train, voice):
        for name in dir(module):
            getattr(module, name)
    assert {"__version__", "DifftoolError", "sample", "voice"} <= {*dir(difftool)}
    assert {"clone", "tts_with_preset"} <= {*dir(voice)}
    with pytest.raises(AttributeError):
        difftool.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_errors_are_caught_by_a_name_at_the_top() -> None:
    assert difftool.DifftoolError is DifftoolError
    with pytest.raises(difftool.DifftoolError) as error:
        difftool.sample("no such folder")
    assert error.value.code == 4


def test_types_are_announced() -> None:
    """Beside the modules, all of which are in the wheel."""
    assert Path(difftool.__file__).with_name("py.typed").is_file()


def test_the_loop_in_the_readme_ends_in_pictures() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    example = re.search(r"^from difftool\.core import START.*?^pictures = state\.x", readme, re.MULTILINE | re.DOTALL)
    assert example is not None
    names = {"net": lambda x, t: torch.zeros_like(x)}
    exec(example[0], names)
    assert names["pictures"].shape == (4, 3, 32, 32)  # type: ignore[attr-defined]
