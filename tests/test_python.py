"""What `import difftool` gives to a program."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

import difftool
from difftool import core, train, voice
from difftool.errors import DifftoolError
from difftool.pixels.compare import compare
from difftool.settings import checked
from difftool.text2img.session import Session
from difftool.text2img.settings import Settings as WordSettings
from difftool.train.settings import Settings as TrainSettings
from difftool.voice.prep.settings import Settings as PrepSettings

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


@pytest.mark.parametrize("size", ["32x40", (32, 40), [32, 40]])
def test_a_size_is_text_or_a_pair(tiny_pipeline: Callable[[str], Path], size: Any) -> None:
    assert difftool.txt2img("a", tiny_pipeline("sd"), size=size, steps=1).shape == (1, 40, 32, 3)
    assert checked(TrainSettings(size=size)).size == (32, 40)


@pytest.mark.parametrize("size", ["32", 32, (32,), (32, -8), (32.0, 40), "axb"])
def test_what_is_no_size(tiny_pipeline: Callable[[str], Path], size: Any) -> None:
    for call in (partial(difftool.txt2img, "a", tiny_pipeline("sd"), steps=1), difftool.train.train):
        with pytest.raises(DifftoolError, match="invalid size") as error:
            call(size=size)
        assert error.value.code == 2


def test_loras_and_reasons_are_given_one_by_one_or_as_text() -> None:
    pairs = ((Path("a.safetensors"), 0.5),)
    for loras in ("a.safetensors:0.5", ["a.safetensors:0.5"], [("a.safetensors", 0.5)], pairs):
        assert checked(WordSettings(loras=loras)).loras == pairs  # type: ignore[arg-type]
    assert checked(WordSettings(loras=[Path("b:1")])).loras == ((Path("b:1"), 1.0),)  # type: ignore[arg-type]
    with pytest.raises(DifftoolError, match="not a LoRA"):
        checked(WordSettings(loras=("a.safetensors", 0.5)))  # type: ignore[arg-type]
    for reasons in ("noise,low-level", ["noise", "low-level"]):
        assert checked(PrepSettings(allow=reasons)).allow == ("noise", "low_level")


CALLS: dict[str, Callable[..., object]] = {
    "sample": difftool.sample,
    "compare": partial(compare, ["ddim"]),
    "txt2img": partial(difftool.txt2img, "a"),
    "an open model": Session,
    "draw_prompts": partial(difftool.draw_prompts, "nothing.txt"),
    "evaluate": difftool.evaluate,
    "clone": partial(difftool.voice.clone, "Hello."),
}


@pytest.mark.parametrize("name", CALLS)
def test_settings_that_exclude_each_other(name: str) -> None:
    for dtype in ("bf16", "auto"):
        excluded(CALLS[name], "--dtype and --half", half=True, dtype=dtype)


def test_other_settings_that_exclude_each_other(tmp_path: Path) -> None:
    for name in ("sample", "txt2img", "draw_prompts", "clone"):
        excluded(CALLS[name], "--batch-size and --low-vram", batch_size=2, low_vram=True)
    places = {"output": tmp_path / "a.png", "output_dir": tmp_path}
    excluded(partial(difftool.rerun, "a.png"), "--output and --output-dir", **places)
    excluded(CALLS["draw_prompts"], "--output and --output-dir", **places)


def excluded(call: Callable[..., object], names: str, **settings: Any) -> None:
    with pytest.raises(DifftoolError, match=f"{names} cannot be used together") as error:
        call(**settings)
    assert error.value.code == 2


def test_types_are_announced() -> None:
    """Beside the modules, all of which are in the wheel."""
    assert Path(difftool.__file__).with_name("py.typed").is_file()


def test_the_loop_in_the_docs_ends_in_pictures() -> None:
    page = (Path(__file__).parents[1] / "docs" / "python.md").read_text()
    example = re.search(r"^from difftool\.core import START.*?^pictures = state\.x", page, re.MULTILINE | re.DOTALL)
    assert example is not None
    names = {"net": lambda x, t: torch.zeros_like(x)}
    exec(example[0], names)
    assert names["pictures"].shape == (4, 3, 32, 32)  # type: ignore[attr-defined]
