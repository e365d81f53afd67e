"""Guidance of `txt2img`: modes, skip-layer guidance, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peers import opened
from tiny_pipelines import recent

from difftool.core import SAMPLERS, Sampler, State, solve
from difftool.errors import DifftoolError
from difftool.text2img.draw import conditioning, predictor, txt2img
from difftool.text2img.session import Session, plan_prompt_with

Tiny = Callable[[str], Path]
PROMPT = "a red circle on a blue ground"


def test_modes_and_prompt_files(difftool: Callable, tiny_pipeline: Tiny) -> None:
    folder = tiny_pipeline("sd")
    Path("list.txt").write_text(
        f"{PROMPT}\n{PROMPT} --guidance-mode apg --guidance-interval 0.2,1\n"
        f"{PROMPT} --guidance-mode cfg_zero\n{PROMPT} --guidance 1 --guidance-rescale 0.5\n"
    )
    args = ("txt2img", "--model", folder, "--steps", 3, "--guidance", 5, "--prompts", "list.txt", "--output-dir", "d")
    told = difftool(*args, "--json")
    assert told.code == 5
    failed = {row["where"]: row["message"] for row in told.json["data"]["failed"]}
    assert "cfg_zero is for flow models" in failed["line 3"]
    assert "--guidance-rescale has no effect" in failed["line 4"]
    first, second = (output["path"] for output in told.json["data"]["outputs"])
    manifest = difftool("meta", second, "--json").json["data"]["manifest"]["settings"]
    assert (manifest["guidance_mode"], manifest["guidance_interval"]) == ("apg", [0.2, 1.0])
    assert Path(first).read_bytes() != Path(second).read_bytes()
    assert difftool("rerun", second, "-o", "b.png", "--json").json["data"]["identical"] is True


def test_modes_of_flows_and_of_distilled_models(tiny_pipeline: Tiny) -> None:
    session = Session(tiny_pipeline("sd3"), device="cpu")
    plan = plan_prompt_with(session, PROMPT, steps=25, guidance_mode="cfg_zero")
    assert plan.calls == 48  # the first step stands still
    flux = Session(tiny_pipeline("flux"), device="cpu")
    with pytest.raises(DifftoolError, match="no effect without guidance") as caught:
        plan_prompt_with(flux, PROMPT, guidance_mode="apg")
    assert caught.value.hint == "add --true-cfg 2, or leave out --guidance-mode"
    assert plan_prompt_with(flux, PROMPT, guidance_mode="apg", true_cfg=2.0).calls == 56


@pytest.mark.skipif(not recent(), reason="diffusers before 0.32 skips no layers")
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_skip_layer_guidance_is_that_of_diffusers(tiny_pipeline: Tiny, guidance: float) -> None:
    """Its pipeline skips layers only with guidance; there the latents are equal."""
    folder = tiny_pipeline("sd3")
    session, steps = Session(folder, device="cpu"), 25
    size = (32, 32)
    settings: dict[str, Any] = {"steps": steps, "size": size, "sampler": "euler", "guidance": guidance}
    plan = plan_prompt_with(session, PROMPT, skip_layers="1", **settings)
    assert plan.settings.skip_layers == (1,)
    side = 32 // session.pipeline.factor
    start = torch.randn(1, session.pipeline.channels, side, side, generator=torch.Generator().manual_seed(0))
    *_, last = plan.choice.run(predictor(plan, 1, *conditioning(plan)), start, None)
    plain = plan_prompt_with(session, PROMPT, **settings)
    *_, other = plain.choice.run(predictor(plain, 1, *conditioning(plain)), start, None)
    assert not torch.allclose(last.x, other.x, atol=1e-4)
    assert plan.calls == plain.calls + 4  # 1 % to 20 % of 25 steps
    if guidance == 1:
        return
    pipe = opened(folder)
    with torch.no_grad():
        wanted = pipe(
            prompt=PROMPT,
            latents=start.clone(),
            height=32,
            width=32,
            sigmas=_unshifted(plan, pipe),
            num_inference_steps=steps,
            output_type="latent",
            guidance_scale=guidance,
            skip_guidance_layers=[1],
        ).images
    assert (last.x - wanted).norm() / wanted.norm() < 1e-4


def _unshifted(plan: Any, pipe: Any) -> list[float]:
    """The noise that diffusers' scheduler, which shifts them, makes into those of a plan."""
    shift = pipe.scheduler.config.shift
    sigmas = [level.sigma for level in plan.choice.levels[:-1]]
    return [sigma / (shift - (shift - 1) * sigma) for sigma in sigmas]


def test_skipping_is_refused_where_it_has_no_meaning(tiny_pipeline: Tiny) -> None:
    sd3, sd = Session(tiny_pipeline("sd3"), device="cpu"), Session(tiny_pipeline("sd"), device="cpu")
    cases: list[tuple[Session, dict[str, Any], str]] = [
        (sd, {"skip_layers": "1"}, "is for Stable Diffusion 3"),
        (sd3, {"skip_layers": "7,8,9"}, "the network has layers 0 to 1"),
        (sd3, {"skip_layers": "a"}, "must be numbers of layers"),
        (sd3, {"skip_layers": ""}, "must be numbers of layers"),
        (sd3, {"skip_layers": "1", "guidance": 0.0}, "no effect at guidance 0"),
    ]
    for session, settings, says in cases:
        with pytest.raises(DifftoolError, match=says) as caught:
            plan_prompt_with(session, PROMPT, **settings)
        assert caught.value.code == 2


def test_samplers_of_cfg_pp(tiny_pipeline: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """They get both predictions, and their default guidance is 1."""
    seen: list[bool] = []

    def solver(predict: Any, x: Any, levels: Any, plus: bool, **options: Any) -> Iterator[State]:
        def noted(x: torch.Tensor, level: Any) -> Any:
            out = predict(x, level)
            seen.append(out.free is not None and not out.free.equal(out.x0))
            return out

        return solve.first_order(noted, x, levels, **options)

    monkeypatch.setitem(SAMPLERS, "euler_cfg_pp", Sampler(solver, {"plus": True}, "Euler CFG++"))
    session = Session(tiny_pipeline("sd"), device="cpu")
    plan = plan_prompt_with(session, PROMPT, sampler="euler_cfg_pp", steps=3)
    assert (plan.scale, plan.calls) == (1.0, 6)
    seen.clear()
    made = txt2img(PROMPT, session, sampler="euler_cfg_pp", steps=3, negative="blurry")
    assert seen == [True] * 3
    assert not np.array_equal(made, txt2img(PROMPT, session, sampler="euler_cfg_pp", steps=3, guidance=2.0))
