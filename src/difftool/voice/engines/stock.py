"""The package tortoise-tts 3.0.0 behind the same interface, where it is installed."""

from __future__ import annotations

import contextlib
import io
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DifftoolError, Exit, install_extra
from . import Reference, Speaker, Spoken, Steps
from .tortoise import Options, options, presets
from .tortoise import installed as has_networks

if TYPE_CHECKING:
    from torch import Tensor

    from ..settings import Settings
    from .tortoise.work import TortoiseWork

__all__ = ["AUTOMATIC", "LATENTS", "QUANTISABLE", "REFERENCES", "Options", "filled", "installed", "plan", "presets"]

AUTOMATIC, REFERENCES, LATENTS = False, "tortoise", True
QUANTISABLE = False


def installed(models_dir: str | Path | None) -> bool:
    """Whether the networks that every run needs are installed."""
    return has_networks(models_dir)


def filled(settings: Settings, given: Options) -> tuple[Settings, Options]:
    """As `Engine.filled`."""
    if given.compat is not None:
        raise DifftoolError(Exit.USAGE, "--compat is for --engine tortoise only", "leave out --compat")
    if given.ar_checkpoint is not None:
        raise DifftoolError(Exit.USAGE, "--engine stock does not support --ar-checkpoint", "leave it out")
    if settings.dtype == "bf16":
        raise DifftoolError(Exit.USAGE, "tortoise-tts supports fp32 and fp16 only", "leave out --dtype")
    if settings.dtype == "auto" and not settings.half:
        settings = replace(settings, dtype="fp32")
    return options.filled(settings, given)


def plan(settings: Settings, given: Options, reference: Reference) -> TortoiseWork:
    """As `Engine.plan`."""
    from .tortoise import work

    class StockWork(work.TortoiseWork):
        """A run of tortoise-tts."""

        @property
        def unused(self) -> Sequence[str]:
            return "cache", "low_vram"

        def models(self) -> dict[str, str]:
            from ...files import digest_of

            files = dict.fromkeys(work.FILES[name] for name in self.networks)
            return {file: digest_of(self.folder / file) for file in files}

        def check_stages(self) -> None:
            message = "tortoise-tts does not support --save-stages"
            raise DifftoolError(Exit.USAGE, message, "leave out --save-stages or --engine")

        def speaker(self) -> Speaker:
            return StockSpeaker(self)

    planned = work.plan_work(settings, given, reference)
    return StockWork(**vars(planned))


class StockSpeaker(Speaker):
    """`tortoise.api.TextToSpeech` in its best form, with a cache of keys and values. Raises DifftoolError 4 where the
    package is not installed."""

    def __init__(self, work: TortoiseWork) -> None:
        import torch

        super().__init__()
        began = time.perf_counter()
        try:
            with warnings.catch_warnings(action="ignore"):
                import tortoise.api as api  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            runs_here = sys.version_info < (3, 12)
            hint = (
                install_extra("stock")
                if runs_here
                else "use Python 3.11, or --engine tortoise, which runs on any version"
            )
            raise DifftoolError(Exit.FILE, f"tortoise-tts cannot be imported: {error}", hint) from error
        # its own models_dir is a cache of the hub, not a folder of files
        api.get_model_path = lambda name, models_dir=None: str(work.folder / name)
        device, dtype = work.settings.machine()
        half, block = dtype == torch.float16, work.speech.block
        with warnings.catch_warnings(action="ignore"):
            self.tts = api.TextToSpeech(
                enable_redaction=False, kv_cache=True, half=half, autoregressive_batch_size=block
            )
        self.tts.device = device  # it ignores the argument of this name
        self.work = work
        self.seconds["load"] = time.perf_counter() - began

    def prepare(self, reference: Reference) -> Steps[None]:
        from .tortoise.work import voice_input

        self.clips, self.latents = voice_input(self.work, reference)
        yield from ()

    def say(self, text: str, seed: int, stages: dict[str, Tensor] | None = None) -> Steps[list[Spoken]]:
        """Yields once, and returns candidates without scores."""
        began = time.perf_counter()
        speech = self.work.speech
        scale = speech.guidance - 1
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a warning for samples that do not stop
            sound = self.tts.tts(
                text,
                voice_samples=[clip[None] for clip in self.clips] or None,
                conditioning_latents=self.latents,
                k=speech.candidates,
                verbose=False,
                use_deterministic_seed=seed,
                num_autoregressive_samples=speech.samples,
                temperature=speech.sampling.temperature,
                repetition_penalty=speech.sampling.repetition_penalty,
                top_p=speech.sampling.top_p,
                top_k=speech.sampling.top_k,
                max_mel_tokens=speech.most,
                diffusion_iterations=speech.choice.steps,
                cond_free=scale != 0,
                cond_free_k=scale,
                diffusion_temperature=speech.temperature,
            )
        self.seconds["speaking"] = self.seconds.get("speaking", 0.0) + time.perf_counter() - began
        yield
        tensors = sound if isinstance(sound, list) else [sound]
        sounds = [tensor.flatten().float().numpy() for tensor in tensors]
        return [Spoken(samples, rank, None, True) for rank, samples in enumerate(sounds)]
