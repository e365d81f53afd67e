"""Guidance of `sample`: modes, autoguidance, CFG++ samplers, and the limits of the data."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import difftool
from difftool.core import SAMPLERS, Sampler, State, solve
from difftool.errors import DifftoolError
from difftool.pixels.plan import plan_samples_with

Make = Callable[..., Path]
FEW: dict[str, Any] = {"count": 2, "steps": 5}


def worse(folder: Path, name: str = "worse") -> Path:
    """A copy of a model with other weights."""
    copy = shutil.copytree(folder, folder.parent / name)
    tensors = load_file(copy / "model.safetensors")
    save_file({key: value * 0.8 for key, value in tensors.items()}, copy / "model.safetensors")
    return copy


@pytest.mark.parametrize("mode", ["apg", "cfg_zero", "tcfg", "cfg_norm"])
def test_a_mode_draws_other_pictures_and_the_same_again(tiny_model: Make, mode: str) -> None:
    folder = tiny_model(target="flow")
    plain = difftool.sample(folder, guidance=6.0, **FEW)
    drawn = difftool.sample(folder, guidance=6.0, guidance_mode=mode, **FEW)
    assert plain.manifest["settings"]["guidance_mode"] == "cfg"
    assert drawn.manifest["settings"]["guidance_mode"] == mode
    assert not np.array_equal(plain.pixels, drawn.pixels)
    assert np.array_equal(difftool.sample(**drawn.manifest["settings"]).pixels, drawn.pixels)


def test_calls_where_guidance_does_not_act(tiny_model: Make) -> None:
    """Nothing is called twice outside the interval, nor once where CFG-Zero* stands still."""
    folder = tiny_model(target="flow")
    calls = lambda **settings: plan_samples_with(folder, **{"steps": 25, **settings}).calls  # noqa: E731
    assert calls() == 25
    assert calls(guidance=2.0) == 50
    assert calls(guidance=2.0, guidance_mode="cfg_zero") == 48
    plan = plan_samples_with(folder, steps=25, guidance=2.0, guidance_interval=(0.25, 0.75))
    inside = [0.25 <= level.sigma / (level.alpha + level.sigma) <= 0.75 for level in plan.choice.levels[:-1]]
    assert plan.calls == 25 + sum(inside) < 50


def test_autoguidance(tiny_model: Make) -> None:
    """With itself it changes nothing, with a worse version it does; no label is needed for it."""
    folder = tiny_model(classes=())
    other = worse(folder)
    off = difftool.sample(folder, **FEW).pixels.astype(int)
    same = difftool.sample(folder, guidance=3.0, autoguide=folder, **FEW).pixels
    assert np.abs(same - off).max() <= 1
    drawn = difftool.sample(folder, guidance=3.0, autoguide=other, **FEW)
    assert np.abs(drawn.pixels - off).max() > 1
    assert drawn.manifest["settings"]["autoguide"] == str(other)
    assert set(drawn.manifest["models"]) == {"autoguide"}
    assert np.array_equal(difftool.sample(**drawn.manifest["settings"]).pixels, drawn.pixels)


def test_a_model_of_another_kind_cannot_guide(tiny_model: Make) -> None:
    folder = tiny_model()
    others = {
        "size": tiny_model("large", channels=3),
        "classes": tiny_model("plain", classes=()),
        "path": tiny_model("flow", target="flow"),
    }
    for says, other in others.items():
        with pytest.raises(DifftoolError, match=f"cannot guide tiny: .*{says}") as caught:
            plan_samples_with(folder, guidance=2.0, autoguide=other)
        assert caught.value.code == 4
    with pytest.raises(DifftoolError, match="--autoguide has no effect") as caught:
        plan_samples_with(folder, autoguide=folder)
    assert caught.value.code == 2


def test_autoguidance_is_made_again(difftool: Callable, refused: Callable, tiny_model: Make) -> None:
    folder = tiny_model()
    other = worse(folder)
    args = ("sample", folder, "--guidance", 2, "--autoguide", other, "--count", 2, "--steps", 3, "-o", "a.png")
    assert difftool(*args).code == 0
    assert str(folder.parent) not in difftool("meta", "a.png").out
    assert difftool("rerun", "a.png", "-o", "b.png", "--json").json["data"]["identical"] is True
    tensors = load_file(other / "model.safetensors")
    save_file({key: value * 2 for key, value in tensors.items()}, other / "model.safetensors")
    refused(4, "rerun", "a.png", "-o", "c.png", says="worse is not the model that made a.png")


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_samplers_of_cfg_pp_get_both_predictions(
    tiny_model: Make, monkeypatch: pytest.MonkeyPatch, guidance: float
) -> None:
    seen: list[bool] = []

    def solver(predict: Any, x: Any, levels: Any, plus: bool, **options: Any) -> Iterator[State]:
        def noted(x: torch.Tensor, level: Any) -> Any:
            out = predict(x, level)
            seen.append(out.free is not None and not out.free.equal(out.x0))
            return out

        return solve.first_order(noted, x, levels, **options)

    monkeypatch.setitem(SAMPLERS, "euler_cfg_pp", Sampler(solver, {"plus": True}, "Euler CFG++"))
    plan = plan_samples_with(tiny_model(), sampler="euler_cfg_pp", guidance=guidance, **FEW)
    assert plan.calls == 10
    seen.clear()
    difftool.pixels.draw.draw_samples(plan)  # type: ignore[attr-defined]
    assert seen[:5] == [True] * 5  # then the calls are counted for the manifest
    with pytest.raises(DifftoolError, match="has no labels for guidance") as caught:
        plan_samples_with(tiny_model("plain", classes=()), sampler="euler_cfg_pp")
    assert caught.value.hint == "leave out --sampler euler_cfg_pp"


def test_dynamic_threshold_takes_the_place_of_clipping(tiny_model: Make) -> None:
    folder = tiny_model()
    clipped, threshold = (
        difftool.sample(folder, guidance=20.0, dynamic_threshold=q, **FEW).pixels for q in (None, 0.9)
    )
    assert not np.array_equal(clipped, threshold)
    with pytest.raises(DifftoolError, match="dynamic-threshold must be above 0 and at most 1"):
        difftool.sample(folder, dynamic_threshold=0.0, **FEW)


def test_settings_for_other_tools(difftool: Callable) -> None:
    few = ("--steps", 5, "--count", 1, "--sampler", "heun", "--churn", 2, "-o", "a.png")
    how = ("--guidance-mode", "apg", "--guidance-interval", "0.1,0.9", "--guidance-rescale", 0.5)
    assert difftool("sample", *few, "--guidance", 3, *how, "--dynamic-threshold", 0.99).code == 0
    text = difftool("meta", "a.png").out
    for field in ("Guidance mode: apg", "CFG Interval Low: 0.1", "CFG Interval High: 0.9", "CFG Rescale: 0.5"):
        assert field in text
    assert "Sigma churn: 2.0" in text and "Dynamic threshold: 0.99" in text
    assert difftool("rerun", "a.png", "-o", "b.png", "--json").json["data"]["identical"] is True
    assert difftool("sample", "--steps", 2, "--count", 1, "-o", "c.png").code == 0
    assert "Guidance mode" not in difftool("meta", "c.png").out.split("{")[0]
