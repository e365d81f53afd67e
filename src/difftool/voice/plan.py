"""What a run of speaking will be: every default filled in, and everything checked, before anything is spoken."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import psutil
import torch
from torch import Tensor

from ..audio.files import Samples, read
from ..device import choose, name_of
from ..errors import DifftoolError, Exit, pick
from ..files import expanded
from ..limits import GUIDANCE
from ..nets.tortoise.autoregressive import UnifiedVoice
from ..nets.tortoise.diffusion import DiffusionTts
from ..nets.tortoise.mel import CODE_HZ
from ..presets import preset as row_of
from ..sampling import aliases
from ..sampling.choice import choose as choose_sampler
from ..sampling.choice import preset_steps
from ..store import home as models_home
from . import ENGINES, MODES
from .engines.tortoise.compat import AT_ONCE
from .engines.tortoise.decoding import BREATH, ROWS, Odds
from .engines.tortoise.networks import FILES, empty, is_there
from .engines.tortoise.synthesis import PATH, Script
from .library import RANDOM, Voice, find
from .text import Part, parts

Clip: TypeAlias = Tensor | Samples | str | Path
"""Mono sound at 22,050 Hz, (S,) or (1, S), or the name of its file."""
LONGEST = 500
"""Codes of a sample at most, 23 s, unless told otherwise."""
MOST = 4096
"""Samples at most."""
SHARE = 0.5
"""Of the free memory that the keys and values of the decoder may take."""


class Plan(NamedTuple):
    """A run with every default filled in."""

    parts: list[Part]
    voices: list[Voice]
    """One, several that are mixed, or none for a random one or for `clips`."""
    clips: list[Tensor]
    """Reference clips (S,) at 22,050 Hz that were given in the place of a voice."""
    sizes: tuple[int, int]
    """Of what the decoder and the diffusion know of a voice."""
    script: Script
    folder: Path
    """Where the networks are."""
    checkpoint: Path | None
    """A decoder to be taken in the place of the folder's."""
    device: torch.device
    dtype: torch.dtype
    settings: dict[str, Any]
    """The arguments of `plan` that give this plan again."""

    @property
    def plain(self) -> bool:
        """Whether texts are spoken as they stand, by the original or in its ways."""
        return bool(self.settings["compat"]) or self.settings["engine"] == "stock"

    @property
    def steps(self) -> int:
        """Steps of the decoder and of the diffusion for one part."""
        script = self.script
        return -(-script.samples // script.block) * script.most + script.candidates * script.way.steps

    @property
    def networks(self) -> list[str]:
        """The networks that it needs."""
        invented = not (self.voices or self.clips)
        timbre = ("random_autoregressive", "random_diffusion") if invented else ()
        judge = ("clvp",) if self.script.samples > 1 or self.plain else ()
        return [*timbre, "autoregressive", *judge, "diffusion", "vocoder"]


def plan(
    text: str,
    voice: str = RANDOM,
    *,
    clips: Sequence[Clip] = (),
    preset: str = "fast",
    engine: str = "native",
    compat: str | None = None,
    samples: int | None = None,
    candidates: int = 1,
    temperature: float = 0.8,
    top_p: float = 0.8,
    top_k: int = 50,
    repetition_penalty: float = 2.0,
    max_mel_tokens: int | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    schedule: str | None = None,
    eta: float | None = None,
    guidance: float | None = None,
    diffusion_temperature: float = 1.0,
    seed: int = 0,
    batch_size: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    ar_checkpoint: str | Path | None = None,
    voices_dir: str | Path | None = None,
    models_dir: str | Path | None = None,
) -> Plan:
    """Checks what is to be spoken and how, without opening a network. The arguments are those of `clone`."""
    row: dict[str, Any] = {"sampler": "ddpm"} | row_of("voice", preset)
    pick("engine", engine, dict.fromkeys(ENGINES))
    original = compat is not None or engine == "stock"
    if compat is not None:
        pick("compat", compat, dict.fromkeys(MODES))
        if engine == "stock":
            raise DifftoolError(Exit.USAGE, "--engine stock is the original itself", "leave out --compat")
    drawn = row["samples"] if samples is None else samples
    ranges = {
        "samples": (drawn, 1, MOST),
        "candidates": (candidates, 1, drawn),
        "temperature": (temperature, 0, 100),
        "top-p": (top_p, 0, 1),
        "top-k": (top_k, 0, 10**6),
        "repetition-penalty": (repetition_penalty, 1e-3, 1e3),
        "diffusion-temperature": (diffusion_temperature, 0, 10),
        "batch-size": (batch_size or 1, 1, MOST),
    }
    for name, (value, least, largest) in ranges.items():
        if not least <= value <= largest:
            what = f"{name} must be a number from {least:g} to {largest:g}, not {value}"
            raise DifftoolError(Exit.USAGE, what, "see difftool voice clone --help")
    scale = row["guidance"] if guidance is None else guidance
    if not GUIDANCE["least"] <= scale <= GUIDANCE["most"]:
        raise DifftoolError(Exit.USAGE, f"guidance must be a number, not {guidance}", "leave out --guidance")
    named = aliases.sampler(row["sampler"] if sampler is None else sampler)
    if schedule is None and named.schedule is None and named.row == "ddpm":
        schedule = "openai"
    if steps is None:
        steps = preset_steps(sampler, row["sampler"], row["steps"], like=None)
    way = choose_sampler(PATH, row["sampler"] if sampler is None else sampler, steps, schedule, eta, variance="learned")
    if original and (way.sampler, way.schedule) != ("ddpm", "openai"):
        what = f"tortoise-tts has no {way.sampler} on {way.schedule}"
        raise DifftoolError(Exit.USAGE, what, "leave out --schedule, and say --sampler ddpm")
    if original and ar_checkpoint is not None and engine == "stock":
        raise DifftoolError(Exit.USAGE, "--engine stock takes no other decoder", "leave out --ar-checkpoint")
    if clips and voice != RANDOM:
        raise DifftoolError(Exit.USAGE, "clips stand in the place of a voice", "give one of them")
    if original and (way.eta != 1 or not -(2**63) <= seed < 2**64):
        raise DifftoolError(Exit.USAGE, "tortoise-tts knows no eta, and no seed beyond 64 bits", "leave it out")
    if engine == "stock" and dtype in ("auto", "bf16"):
        if dtype == "bf16":
            raise DifftoolError(Exit.USAGE, "tortoise-tts knows fp32 and fp16 only", "leave out --dtype")
        dtype = "fp32"
    voices = find(voice, None if voices_dir is None else expanded(voices_dir))
    where, number = choose(device, dtype, threads)
    folder = _folder(models_dir)
    decoder = cast(UnifiedVoice, empty("autoregressive.pth", folder)["autoregressive"])
    diffusion = cast(DiffusionTts, empty("diffusion_decoder.pth", folder)["diffusion"])
    room = decoder.code_positions.num_embeddings - BREATH
    most = min(LONGEST, room) if max_mel_tokens is None else max_mel_tokens
    if not BREATH <= most <= room:
        what = f"max-mel-tokens must be a number from {BREATH} to {room}, not {most}"
        raise DifftoolError(Exit.USAGE, what, "500 are 23 seconds")
    made = parts(text, decoder.most_text, plain=original)
    block = _block(decoder, drawn, most, batch_size, where, number, original)
    script = Script(
        Odds(temperature, top_p, top_k, repetition_penalty),
        way,
        drawn,
        candidates,
        most,
        float(scale),
        diffusion_temperature,
        block,
    )
    checkpoint = None if ar_checkpoint is None else expanded(ar_checkpoint)
    settings = {
        "text": text,
        "voice": voice,
        "preset": preset,
        "engine": engine,
        "compat": compat,
        "samples": drawn,
        "candidates": candidates,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "repetition_penalty": repetition_penalty,
        "max_mel_tokens": most,
        **way.settings,
        "guidance": float(scale),
        "diffusion_temperature": diffusion_temperature,
        "seed": seed,
        "batch_size": block if original else batch_size,
        "device": str(where),
        "dtype": name_of(number),
        "threads": torch.get_num_threads(),
        "ar_checkpoint": None if checkpoint is None else str(checkpoint.absolute()),
        "voices_dir": None if voices_dir is None else str(expanded(voices_dir).absolute()),
        "models_dir": None if models_dir is None else str(expanded(models_dir).absolute()),
    }
    sizes = (decoder.code_head.in_features, 2 * diffusion.dim)
    heard = [_clip(clip) for clip in clips]
    planned = Plan(made, voices, heard, sizes, script, folder, checkpoint, where, number, settings)
    _are_there(planned)
    return planned


def _clip(clip: Clip) -> Tensor:
    """A reference clip as (S,). Raises DifftoolError 2 for another shape, 4 for a file that is no sound."""
    if isinstance(clip, (str, Path)):
        return torch.from_numpy(read(expanded(clip), CODE_HZ))
    sound = torch.as_tensor(clip, dtype=torch.float32).detach().cpu()
    flat = sound[0] if sound.ndim == 2 and sound.shape[0] == 1 else sound
    if flat.ndim != 1 or not len(flat) or not flat.isfinite().all():
        what = f"a reference clip is (S,) or (1, S) finite numbers, not {tuple(sound.shape)}"
        raise DifftoolError(Exit.USAGE, what, "give mono sound at 22,050 Hz")
    return flat


def _folder(models_dir: str | Path | None) -> Path:
    """Where Tortoise's networks are: in the store, or right in a folder of official files."""
    if models_dir is not None and is_there("autoregressive", own := expanded(models_dir)):
        return own
    return models_home(None if models_dir is None else Path(models_dir)) / "tortoise"


def _are_there(plan: Plan) -> None:
    if plan.checkpoint is not None and not plan.checkpoint.is_file():
        what = f"there is no checkpoint {plan.checkpoint}"
        raise DifftoolError(Exit.FILE, what, "name a decoder with --ar-checkpoint, or leave it out")
    sources = {name: plan.checkpoint if name == "autoregressive" else None for name in plan.networks}
    missing = dict.fromkeys(FILES[name] for name, own in sources.items() if not is_there(name, plan.folder, own))
    if missing:
        what = f"{', '.join(missing)} of Tortoise {'is' if len(missing) == 1 else 'are'} not in {plan.folder}"
        where = plan.settings["models_dir"]
        hint = "run difftool models pull tortoise" + (f" --models-dir {shlex.quote(where)}" if where else "")
        raise DifftoolError(Exit.FILE, what, hint)


def _block(
    decoder: UnifiedVoice,
    samples: int,
    most: int,
    asked: int | None,
    device: torch.device,
    dtype: torch.dtype,
    original: bool,
) -> int:
    """How many samples the decoder draws at once. For the original that is part of what it says."""
    if original:
        block = asked or min(AT_ONCE, samples)
        if samples % block:
            what = f"tortoise-tts draws whole batches, and {samples} samples are none of {block}"
            raise DifftoolError(
                Exit.USAGE, what, f"take another --batch-size, or --samples {samples // block * block or block}"
            )
        return block
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    values = 2 * len(decoder.blocks) * decoder.code_head.in_features * (decoder.most_text + most + BREATH)
    fits = int(free * SHARE / (values * dtype.itemsize))
    return max(1, min(asked or samples, samples, fits, ROWS[device.type]))
