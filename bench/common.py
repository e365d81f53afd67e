"""What several benchmarks share: architectures with random weights as opened pipelines, what diffusers is given of
them, and the machine."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests")]
PACKAGES = ("difftool", "torch", "torchaudio", "diffusers", "transformers", "tortoise-tts", "openai-whisper")


def machine() -> dict[str, Any]:
    """The system, its GPUs, and the versions of what counts, without importing PyTorch."""
    from difftool.lab.probes import probe

    found = probe()
    gpus = [{"name": gpu.name, "memory": gpu.total, "capability": list(gpu.capability)} for gpu in found.gpus]
    driver = ".".join(map(str, found.driver)) if found.driver else None
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": found.cores,
        "ram": found.ram,
        "gpus": gpus,
        "driver": driver,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def rows_of(line: Sequence[object], limit: float | None, env: Mapping[str, str] | None = None) -> tuple[list[Any], str]:
    """What a process prints, an object of JSON a line, and how it failed, if it did or did not end within so many
    seconds."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen([str(word) for word in line], env=env, **pipes) as process:
        try:
            out, err = process.communicate(timeout=limit)
            failed = f"ended with {process.returncode}: {last_error(err.decode(errors='replace'))}"
            failed = failed if process.returncode else ""
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # with what it started
            out, err = process.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            failed = f"no end within {limit:.0f} s"
    rows = [json.loads(one) for one in out.decode(errors="replace").splitlines() if one.startswith('{"what"')]
    return rows, failed


def said(error: BaseException) -> str:
    """The kind and the first line of an error: what PyTorch adds below is advice."""
    return f"{type(error).__name__}: {next((line for line in str(error).splitlines() if line.strip()), 'no message')}"


def last_error(text: str) -> str:
    """The line of a traceback that says what was wrong, or the last one of another text."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(error: |[\w.]*(Error|Exception)\b)", line)]
    return (errors or lines or ["no message"])[-1]


@contextmanager
def made_on(device: Any, dtype: Any) -> Iterator[None]:
    """Within it networks are made on a device and in a number format, without a copy elsewhere."""
    import torch

    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(usual)


def random_parts(kind: str, device: Any, dtype: Any, *, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    """The networks of an architecture in assets/single, or of a pipeline in assets, by their names in its index, with
    random weights."""
    from counting import architecture, built

    from difftool.text2img.pipeline import quiet

    quiet()
    about, made = architecture(kind), {}
    with made_on(device, dtype):
        for name, row in about["model_index"].items():
            if name in about and name.startswith(("text_encoder", "unet", "transformer", "vae")) and name not in skip:
                made[name] = built(row[1], about[name]).to(dtype).eval().requires_grad_(False)
    return made


def random_pipeline(kind: str, device: Any, dtype: Any, place: Path, *, skip: tuple[str, ...] = ()) -> Any:
    """An architecture in assets/single as an opened pipeline with random weights, without those text encoders that are
    to be skipped. Its tokenizers, where it has CLIP's, are written to `place`."""
    from counting import architecture

    from difftool.text2img.pipeline import ENCODERS, TOKENIZERS, Pipeline, class_of, family_of
    from difftool.train.text2img.tokenizer import write_tokenizer

    about, parts = architecture(kind), random_parts(kind, device, dtype, skip=skip)
    index = about["model_index"]

    def tokenizer(name: str) -> Any:
        if index[name][1] != "CLIPTokenizer":
            return None
        write_tokenizer(place / name, ["a red circle"], 77)
        return class_of("CLIPTokenizer").from_pretrained(str(place / name))

    return Pipeline(
        name=kind,
        source=f"random {kind}",
        sha256="",
        family=family_of(index, place),
        tokenizers=[tokenizer(name) for name in TOKENIZERS if name in index],
        encoders=[parts.get(name) for name in ENCODERS if name in index],
        net=parts.get("unet") or parts["transformer"],
        vae=parts["vae"],
        scheduler=about["scheduler"],
        zeros_for_nothing=False,
        device=device,
        dtype=dtype,
    )


def studio_of(pipeline: Any) -> Any:
    """A session around an opened pipeline."""
    from difftool.device import name_of
    from difftool.text2img.session import Session

    with mock.patch("difftool.text2img.session.open_pipeline", lambda *_: pipeline):
        return Session(pipeline.source, device=str(pipeline.device), dtype=name_of(pipeline.dtype))


def peer_of(pipeline: Any, scheduler: str, **more: Any) -> Any:
    """diffusers' pipeline of the same network and autoencoder, with a scheduler of its own; it reads no words."""
    import diffusers

    from difftool.text2img.single_file import PIPELINES

    network = "transformer" if pipeline.family == "flux" else "unet"
    parts: dict[str, Any] = {network: pipeline.net, "vae": pipeline.vae}
    parts |= {"scheduler": getattr(diffusers, scheduler).from_config({**pipeline.scheduler, **more})}
    parts |= dict.fromkeys(("tokenizer", "text_encoder"))
    if pipeline.family != "sd":
        parts |= dict.fromkeys(("tokenizer_2", "text_encoder_2"))
    else:
        parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipe = getattr(diffusers, PIPELINES[pipeline.family])(**parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def start_of(plan: Any, seed: int) -> Any:
    """The latents that a run of `txt2img` starts from, as `states` draws them."""
    from difftool.core.noise import START, Noise

    pipeline = plan.session.pipeline
    shape = (pipeline.channels, plan.height // pipeline.factor, plan.width // pipeline.factor)
    return plan.choice.levels[0].sigma * Noise([seed], shape, pipeline.device)(START)


def given_to(pipe: Any, x: Any, plan: Any) -> Any:
    """The same start as diffusers' pipeline takes it."""
    name, x = type(pipe.scheduler).__name__, x.to(pipe.dtype)
    if "Flow" in name:
        return pipe._pack_latents(x, 1, *x.shape[1:])
    if "Euler" not in name:
        return x
    pipe.scheduler.set_timesteps(plan.choice.steps)
    return x / plan.choice.levels[0].alpha / float(pipe.scheduler.init_noise_sigma)


def as_ours(pipe: Any, latents: Any, plan: Any) -> Any:
    """The latents that diffusers' pipeline returns, in our shape."""
    if latents.ndim == 4:
        return latents
    return pipe._unpack_latents(latents, plan.height, plan.width, pipe.vae_scale_factor)


def off(found: Any, wanted: Any) -> float:
    """L2 of the difference over L2 of what was wanted."""
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())
