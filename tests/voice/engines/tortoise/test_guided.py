"""Guidance modes of the diffusion of Tortoise, whose scale grows with the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from difftool.core import SAMPLERS, Sampler, State, solve
from difftool.errors import DifftoolError
from difftool.voice.speak import clone

TEXT = "Hello there."


def said(tortoise: Path, **settings: Any) -> np.ndarray:
    given = {"preset": "draft", "steps": 4, "samples": 1, "models_dir": tortoise, "sampler": "ddim", **settings}
    return clone(TEXT, **given).sounds[0]


def test_modes(tortoise: Path) -> None:
    plain = said(tortoise, guidance=3.0)
    assert np.array_equal(plain, said(tortoise, guidance=3.0, guidance_mode="cfg"))
    others = [
        said(tortoise, guidance=3.0, **settings)
        for settings in ({"guidance_mode": "apg"}, {"guidance_rescale": 0.7}, {"guidance_interval": (0.0, 0.6)})
    ]
    assert len({sound.tobytes() for sound in (plain, *others)}) == 4


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"guidance_mode": "cfg_zero", "guidance": 2.0}, "is for flow models"),
        ({"guidance_mode": "apg", "guidance": 1.0}, "no effect without guidance"),
        (
            {"guidance_mode": "apg", "guidance": 2.0, "sampler": "ddpm", "compat": "stock"},
            "tortoise-tts does not support --guidance-mode",
        ),
    ],
)
def test_what_is_refused(tortoise: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(DifftoolError, match=says) as caught:
        said(tortoise, **settings)
    assert caught.value.code == 2


def test_samplers_of_cfg_pp(tortoise: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def solver(predict: Any, x: Any, levels: Any, plus: bool, **options: Any) -> Iterator[State]:
        def noted(x: Any, level: Any) -> Any:
            out = predict(x, level)
            seen.append(out.free is not None)
            return out

        return solve.first_order(noted, x, levels, **options)

    monkeypatch.setitem(SAMPLERS, "euler_cfg_pp", Sampler(solver, {"plus": True}, "Euler CFG++"))
    said(tortoise, sampler="euler_cfg_pp")
    assert seen and all(seen)


def test_the_manifest(difftool: Callable, tortoise: Path) -> None:
    few = ("--preset", "draft", "--steps", 3, "--samples", 1, "--models-dir", tortoise, "--sampler", "ddim")
    how = ("--guidance", 3, "--guidance-mode", "apg", "--guidance-interval", "0,0.9")
    assert difftool("voice", "clone", TEXT, *few, *how, "-o", "a.wav").code == 0
    settings = difftool("meta", "a.wav", "--json").json["data"]["manifest"]["settings"]
    assert (settings["guidance_mode"], settings["guidance_interval"]) == ("apg", [0, 0.9])
    assert difftool("rerun", "a.wav", "-o", "b.wav", "--json").json["data"]["identical"] is True
