"""tortoise-tts 3.0.0 itself, behind the same interface, where it is installed."""

from __future__ import annotations

import contextlib
import io
import sys
import time
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...errors import DifftoolError, Exit, install_extra
from ..plan import Plan
from .tortoise.decoding import Steps
from .tortoise.synthesis import Spoken, Timbre


def speaker(
    plan: Plan, seconds: dict[str, float], clips: Sequence[Tensor], latents: Timbre | None
) -> Callable[..., Steps[list[Spoken]]]:
    """`say` of `tortoise.api.TextToSpeech` in its best form, with a cache of keys and values, for a voice of clips, of
    latents, or a random one. `seconds` takes how long it loads and speaks. Raises DifftoolError 4 where the package is
    not installed."""
    began = time.perf_counter()
    try:
        with warnings.catch_warnings(action="ignore"):
            import tortoise.api as api  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        runs_here = sys.version_info < (3, 12)
        hint = install_extra("stock") if runs_here else "it needs Python 3.11; --engine native runs on any"
        raise DifftoolError(Exit.FILE, f"tortoise-tts cannot be imported: {error}", hint) from error
    # its own models_dir is a cache of the hub, not a folder of files
    api.get_model_path = lambda name, models_dir=None: str(plan.folder / name)
    script, half = plan.script, plan.dtype == torch.float16
    with warnings.catch_warnings(action="ignore"):
        tts = api.TextToSpeech(enable_redaction=False, kv_cache=True, half=half, autoregressive_batch_size=script.block)
    tts.device = plan.device  # it takes no notice of being told
    seconds["load"] = time.perf_counter() - began
    scale = script.guidance - 1

    def say(text: str, seed: int, stages: object = None) -> Steps[list[Spoken]]:
        """In one go: it yields once, and tells nothing of scores or stops."""
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):  # where it complains of samples that do not stop
            sound = tts.tts(
                text,
                voice_samples=[clip[None] for clip in clips] or None,
                conditioning_latents=latents,
                k=script.candidates,
                verbose=False,
                use_deterministic_seed=seed,
                num_autoregressive_samples=script.samples,
                temperature=script.odds.temperature,
                repetition_penalty=script.odds.repetition_penalty,
                top_p=script.odds.top_p,
                top_k=script.odds.top_k,
                max_mel_tokens=script.most,
                diffusion_iterations=script.way.steps,
                cond_free=scale != 0,
                cond_free_k=scale,
                diffusion_temperature=script.warmth,
            )
        seconds["speaking"] = seconds.get("speaking", 0.0) + time.perf_counter() - began
        yield
        sounds = sound if isinstance(sound, list) else [sound]
        return [Spoken(one.flatten().float(), rank, None, True) for rank, one in enumerate(sounds)]

    return say
