"""Parity with diffusers' pipelines: the same parts, start noise and grid give the same latents and pictures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peers import levels_of, opened
from tiny_pipelines import recent

from difftool.errors import DifftoolError
from difftool.models import ASSETS
from difftool.pictures.sheets import to_pixels
from difftool.text2img.conditioning import encode_prompts
from difftool.text2img.draw import decoded, predictor
from difftool.text2img.prompts import parse_prompt
from difftool.text2img.session import Session, plan_prompt_with

Tiny = Callable[[str], Path]
PROMPT, NEGATIVE = "a red circle on a blue ground", "blurry"
STEPS = 5

SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"timestep_spacing": "trailing", "set_alpha_to_one": True}),
    "euler": ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "heun": ("HeunDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True, "algorithm_type": "dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {"solver_order": 2, "solver_type": "bh2", "final_sigmas_type": "zero"}),
}


def compared(folder: Path, pipe: Any, sampler: str, *, flow: bool = False, clock: float = 1.0, **settings: Any) -> None:
    session = Session(folder, device="cpu", prediction=settings.pop("prediction", None))
    pipeline = session.pipeline
    size = (40, 32)
    ours = plan_prompt_with(session, PROMPT, sampler=sampler, steps=STEPS, size=size, schedule="trailing", **settings)
    noise = torch.randn(
        1, pipeline.channels, 32 // pipeline.factor, 40 // pipeline.factor, generator=torch.Generator().manual_seed(0)
    )
    theirs: dict[str, Any] = {"height": 32, "width": 40, "num_inference_steps": STEPS, "output_type": "latent"}
    given = noise
    if pipeline.family == "flux":
        theirs |= {
            "true_cfg_scale": settings.get("true_cfg", 1.0),
            "guidance_scale": settings.get("guidance", 3.5),
            "max_sequence_length": 512 if pipeline.embedded else 256,
        }
        given = pipe._pack_latents(noise, 1, pipeline.channels, *noise.shape[2:])
    else:
        theirs |= {"guidance_scale": settings["guidance"]}
    if settings.get("clip_skip", 1) > 1:
        theirs["clip_skip"] = settings["clip_skip"] - 2
    if settings.get("negative"):
        theirs["negative_prompt"] = settings["negative"]
    with torch.no_grad():
        wanted = pipe(prompt=PROMPT, latents=given.clone(), **theirs).images
    if pipeline.family == "flux":
        wanted = pipe._unpack_latents(wanted, 32, 40, pipe.vae_scale_factor)
    levels = levels_of(pipe.scheduler, ours.choice.path, flow=flow, clock=clock)
    scale = 1.0 if flow else float(pipe.scheduler.init_noise_sigma)
    start = noise if flow or sampler in ("ddim",) else levels[0].alpha * scale * noise
    if sampler in ("dpmpp_2m", "unipc"):  # these begin from unit noise in the coordinates of VP
        start = noise
    prompts = [parse_prompt(PROMPT)] if ours.scale == 1 else [parse_prompt(PROMPT), ours.negative]
    said = encode_prompts(pipeline, prompts, settings.get("clip_skip", 1))
    predict = predictor(ours, 1, said[0], said[1] if len(said) > 1 else None)
    *_, last = ours.choice._replace(levels=levels).run(predict, start, None)
    assert (last.x - wanted).norm() / wanted.norm() < 1e-4
    with torch.no_grad():
        shift = getattr(pipe.vae.config, "shift_factor", None) or 0.0
        picture = pipe.vae.decode(wanted / pipe.vae.config.scaling_factor + shift, return_dict=False)[0]
    one = to_pixels(decoded(session, last.x)).astype(int)
    assert np.abs(one - to_pixels(picture).astype(int)).max() <= 1


@pytest.mark.parametrize("guidance", [1.0, 6.0])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("kind", ["sd", "v", "sdxl"])
def test_a_unet_draws_what_its_pipeline_draws(tiny_pipeline: Tiny, kind: str, sampler: str, guidance: float) -> None:
    name, more = SAMPLERS[sampler]
    folder = tiny_pipeline(kind)
    negative = NEGATIVE if kind != "v" else None
    compared(folder, opened(folder, name, **more), sampler, guidance=guidance, negative=negative)


def test_from_python(tiny_pipeline: Tiny) -> None:
    import difftool

    several = difftool.txt2img(PROMPT, tiny_pipeline("sd"), count=2, steps=2, size=(40, 32))
    assert several.shape == (2, 32, 40, 3) and several.dtype == np.uint8
    alone = difftool.txt2img(PROMPT, Session(tiny_pipeline("sd")), seed=1, steps=2, size=(40, 32))
    assert np.abs(alone[0].astype(int) - several[1]).max() <= 1


def test_a_layer_of_clip_is_counted_as_in_automatic1111(tiny_pipeline: Tiny) -> None:
    """There 1 is the last, and SDXL reads none after the last but one. The library counts from what a family reads, and
    only for the prompt, not for the negative one."""
    folder = tiny_pipeline("sdxl")
    pipe = opened(folder, "DDIMScheduler", **SAMPLERS["ddim"][1])
    compared(folder, pipe, "ddim", guidance=1.0, clip_skip=3)
    folder = tiny_pipeline("sd3")
    compared(folder, opened(folder), "euler", flow=True, clock=1000.0, guidance=1.0, clip_skip=3)
    xl = Session(folder, device="cpu").pipeline
    assert torch.equal(
        encode_prompts(xl, [parse_prompt(PROMPT)], 1)[0].words, encode_prompts(xl, [parse_prompt(PROMPT)], 2)[0].words
    )
    pipeline = Session(tiny_pipeline("sd"), device="cpu").pipeline  # with which the library's own count fails
    encoder, ids = pipeline.encoders[0], pipeline.tokenizers[0](PROMPT, padding="max_length").input_ids
    hidden = encoder(torch.tensor([ids]), output_hidden_states=True).hidden_states
    norm = dict(encoder.named_modules())[next(name for name, _ in encoder.named_modules() if "final_layer" in name)]
    assert torch.allclose(encode_prompts(pipeline, [parse_prompt(PROMPT)], 3)[0].words, norm(hidden[-3]), atol=1e-6)


def test_another_prediction_than_the_config_says(tiny_pipeline: Tiny) -> None:
    pipe = opened(tiny_pipeline("sd"), "DDIMScheduler", **SAMPLERS["ddim"][1], prediction_type="v_prediction")
    compared(tiny_pipeline("sd"), pipe, "ddim", guidance=3.0, prediction="v")
    with pytest.raises(DifftoolError, match="flow"):
        Session(tiny_pipeline("flux"), device="cpu", prediction="v")


def test_zero_snr(tiny_pipeline: Tiny) -> None:
    folder = tiny_pipeline("zero")
    compared(
        folder,
        opened(folder, "DDIMScheduler", rescale_betas_zero_snr=True, set_alpha_to_one=True),
        "ddim",
        guidance=6.0,
    )


def test_a_consistency_model_is_told_its_guidance(tiny_pipeline: Tiny) -> None:
    folder = tiny_pipeline("lcm")
    compared(
        folder,
        opened(folder, "DDIMScheduler", timestep_spacing="trailing", set_alpha_to_one=True),
        "ddim",
        guidance=4.0,
    )


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_sd3(tiny_pipeline: Tiny, guidance: float) -> None:
    folder = tiny_pipeline("sd3")
    compared(folder, opened(folder), "euler", flow=True, clock=1000.0, guidance=guidance, negative=NEGATIVE)


flux_works = pytest.mark.skipif(not recent(), reason="this old pipeline of FLUX fails with these transformers")


@flux_works
@pytest.mark.parametrize("true_cfg", [1.0, 3.0])
def test_flux(tiny_pipeline: Tiny, true_cfg: float) -> None:
    folder = tiny_pipeline("flux")
    compared(folder, opened(folder), "euler", flow=True, guidance=3.5, true_cfg=true_cfg, negative=NEGATIVE)


@flux_works
def test_schnell(tiny_pipeline: Tiny) -> None:
    folder = tiny_pipeline("schnell")
    compared(folder, opened(folder), "euler", flow=True)


def test_a_pipe_in_the_place_of_weights_is_not_waited_for(tmp_path: Path) -> None:
    folder = shutil.copytree(ASSETS / "shapes", tmp_path / "shapes")
    weights = next((folder / "unet").glob("*.safetensors"))
    weights.unlink()
    os.mkfifo(weights)
    with pytest.raises(DifftoolError, match="not a regular file"):
        Session(folder, device="cpu")
