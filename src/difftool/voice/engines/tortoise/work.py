"""What Tortoise will do in a run, with everything checked, and its work in a voice."""

from __future__ import annotations

import hashlib
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, cast

import psutil
import torch
from torch import Tensor

from ....audio.files import read
from ....core.noise import START, Noise
from ....errors import DifftoolError, Exit
from ....files import expanded, load_tensors, save_tensors
from ....nets.tortoise.autoregressive import UnifiedVoice
from ....nets.tortoise.diffusion import DiffusionTts
from ....nets.tortoise.mel import CODE_HZ
from ....sampling.choice import choose
from ....store import home as models_home
from ...library import Voice, load_latents
from ...seeds import derived
from ...settings import Settings
from .. import Reference, Speaker, Spoken, Steps, Work
from . import compat
from .decoding import BREATH, ROWS, Odds
from .networks import FILES, empty, hash_of, is_there
from .options import Options, is_plain
from .synthesis import PATH, Networks, Script, Timbre, invent, listen, speak
from .text import token_parts, tokens, unspoken

log = logging.getLogger(__name__)

LONGEST = 500
"""Codes of a sample at most, 23 s, unless told otherwise."""
SHARE = 0.5
"""Of the free memory that the keys and values of the decoder may take."""


@dataclass(frozen=True)
class TortoiseWork(Work):
    """A run of Tortoise."""

    script: Script
    sizes: tuple[int, int]
    """Of what the decoder and the diffusion know of a voice."""
    networks_folder: Path
    checkpoint: Path | None
    """A decoder in the place of the folder's."""

    packages: ClassVar = ("torch", "torchaudio", "tokenizers", "inflect", "unidecode")
    stages: ClassVar = ("load", "conditioning", "autoregressive", "clvp", "diffusion", "vocoder")

    @property
    def folder(self) -> Path:
        return self.networks_folder

    @property
    def plain(self) -> bool:
        """Whether texts are spoken as they stand, by the original or in its ways."""
        return is_plain(self.settings, self.options)

    @property
    def one_seed(self) -> bool:
        return self.plain

    @property
    def steps(self) -> int:
        script = self.script
        return -(-script.samples // script.block) * script.most + script.candidates * script.way.steps

    @property
    def networks(self) -> list[str]:
        """The networks that it needs."""
        invented = not (self.reference.voices or self.reference.clips)
        timbre = ("random_autoregressive", "random_diffusion") if invented else ()
        judge = ("clvp",) if self.script.samples > 1 or self.plain else ()
        return [*timbre, "autoregressive", *judge, "diffusion", "vocoder"]

    @property
    def files(self) -> Sequence[str]:
        return sorted({FILES[name] for name in self.networks})

    @property
    def limit(self) -> str:
        return f"{self.script.most} codes"

    @property
    def summary(self) -> str:
        script, engine = self.script, self.settings.engine
        way = f"{script.way.sampler} with {script.way.steps} steps, guidance {script.guidance:g}"
        label = self.options.compat or (engine if engine == "stock" else self.settings.preset)
        return f"{label}: {script.samples} samples, {way}"

    def source(self, name: str) -> Path | None:
        """The checkpoint of a network, where it is not that of the folder."""
        return self.checkpoint if name == "autoregressive" else None

    def models(self) -> dict[str, str]:
        files = {FILES[name]: name for name in self.networks}
        return {file: hash_of(name, self.folder, self.source(name)) for file, name in files.items()}

    def unspoken(self) -> str:
        return "" if self.plain else unspoken(self.settings.text or "")

    def check_files(self) -> None:
        if self.checkpoint is not None and not self.checkpoint.is_file():
            message = f"there is no checkpoint {self.checkpoint}"
            raise DifftoolError(Exit.FILE, message, "name a decoder with --ar-checkpoint, or leave it out")
        absent = [name for name in self.networks if not is_there(name, self.folder, self.source(name))]
        missing = dict.fromkeys(FILES[name] for name in absent)
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            message = f"{', '.join(missing)} of Tortoise {verb} not in {self.folder}"
            place = self.settings.models_dir
            option = f" --models-dir {shlex.quote(str(place))}" if place else ""
            raise DifftoolError(Exit.FILE, message, f"run difftool models pull tortoise{option}")

    def check_stages(self) -> None:
        if not is_there("clvp", self.folder):
            message = f"--save-stages asks clvp2.pth of Tortoise too, which is not in {self.folder}"
            raise DifftoolError(Exit.FILE, message, "run difftool models pull tortoise")

    def speaker(self) -> Speaker:
        return CompatSpeaker(self) if self.options.compat else TortoiseSpeaker(self)


class TortoiseSpeaker(Speaker):
    """Tortoise in our own way."""

    def __init__(self, work: TortoiseWork) -> None:
        super().__init__()
        self.work = work
        self.nets = Networks(work.folder, work.checkpoint, *work.settings.machine())
        self.seconds = self.nets.seconds

    def prepare(self, reference: Reference) -> Steps[None]:
        if reference.voices:
            known = [_known(self.work, voice, self.nets) for voice in reference.voices]
            self.timbre = _mixed(known, reference.voices)
        elif reference.clips:
            self.timbre = listen(self.nets, reference.clips)
        else:
            own = derived(self.work.settings.seed, "voice")
            self.timbre = invent(self.nets, lambda which, dim: Noise([own], (dim,))(START, which))
        yield from ()

    def say(self, text: str, seed: int, stages: dict[str, Tensor] | None = None) -> Steps[list[Spoken]]:
        self.nets.keep = self.keep
        return (yield from speak(self.nets, self.work.script, self.timbre, tokens(text), seed, stages))


class CompatSpeaker(TortoiseSpeaker):
    """Tortoise as the original does it, which hears its clips anew for each text."""

    def prepare(self, reference: Reference) -> Steps[None]:
        self.clips, self.latents = material(self.work, reference)
        yield from ()

    def say(self, text: str, seed: int, stages: dict[str, Tensor] | None = None) -> Steps[list[Spoken]]:
        self.nets.keep = self.keep
        script, mode = self.work.script, self.work.options.compat
        stream = compat.Stream(seed)
        timbre = self.latents or compat.timbre(self.nets, self.clips, stream)
        every = tokens(text, plain=True)
        return (yield from compat.speak(self.nets, script, timbre, every, stream, mode, stages))


def planned(settings: Settings, options: Options, reference: Reference) -> TortoiseWork:
    """As `Engine.plan`. Raises DifftoolError 4 for a config of networks that does not fit."""
    device, dtype = settings.machine()
    folder = folder_of(settings.models_dir)
    decoder = cast(UnifiedVoice, empty("autoregressive.pth", folder)["autoregressive"])
    diffusion = cast(DiffusionTts, empty("diffusion_decoder.pth", folder)["diffusion"])
    room = decoder.code_positions.num_embeddings - BREATH
    most = min(LONGEST, room) if options.max_mel_tokens is None else options.max_mel_tokens
    if not BREATH <= most <= room:
        message = f"max-mel-tokens must be a number from {BREATH} to {room}, not {most}"
        raise DifftoolError(Exit.USAGE, message, "500 are 23 seconds")
    plain = is_plain(settings, options)
    assert options.samples is not None and options.sampler is not None and options.guidance is not None
    parts = token_parts(settings.text or "", decoder.most_text, plain=plain)
    if plain:
        block = _original_block(options.samples, settings.batch_size)
        settings = replace(settings, batch_size=block)
    else:
        fitting = _fitting(decoder, most, device, dtype)
        block = max(1, min(settings.batch_size or options.samples, options.samples, fitting, ROWS[device.type]))
    script = Script(
        Odds(options.temperature, options.top_p, options.top_k, options.repetition_penalty),
        choose(PATH, options.sampler, options.steps, options.schedule, options.eta, variance="learned"),
        options.samples,
        settings.candidates,
        most,
        options.guidance,
        options.diffusion_temperature,
        block,
    )
    checkpoint = None if options.ar_checkpoint is None else expanded(options.ar_checkpoint)
    used = replace(options, max_mel_tokens=most, ar_checkpoint=checkpoint)
    sizes = (decoder.code_head.in_features, 2 * diffusion.dim)
    return TortoiseWork(settings, used, reference, parts, script, sizes, folder, checkpoint)


def folder_of(models_dir: str | Path | None) -> Path:
    """Where Tortoise's networks are: in the store, or right in a folder of official files."""
    own = None if models_dir is None else expanded(models_dir)
    if own is not None and is_there("autoregressive", own):
        return own
    return models_home(None if models_dir is None else Path(models_dir)) / "tortoise"


def _original_block(samples: int, asked: int | None) -> int:
    """How many samples the original draws at once, which is part of what it says."""
    block = asked or min(compat.AT_ONCE, samples)
    if samples % block:
        message = f"tortoise-tts draws whole batches, and {samples} samples are none of {block}"
        fitting = samples // block * block or block
        raise DifftoolError(Exit.USAGE, message, f"take another --batch-size, or --samples {fitting}")
    return block


def _fitting(decoder: UnifiedVoice, most: int, device: torch.device, dtype: torch.dtype) -> int:
    """How many samples the memory has room for at once."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    values = 2 * len(decoder.blocks) * decoder.code_head.in_features * (decoder.most_text + most + BREATH)
    return int(free * SHARE / (values * dtype.itemsize))


def material(work: TortoiseWork, reference: Reference) -> tuple[Sequence[Tensor], Timbre | None]:
    """The reference clips (S,) at 22,050 Hz, or the mean of the voices' latents, as the original takes them. Raises
    DifftoolError 2 where there are both."""
    kept = [Timbre(*load_latents(voice.latents, work.sizes)) for voice in reference.voices if voice.latents]
    clips = [torch.from_numpy(read(path, CODE_HZ)) for voice in reference.voices for path in voice.clips]
    if kept and clips:
        message = (
            "tortoise-tts mixes voices of clips with each other, and voices of latents, but not one with the other"
        )
        raise DifftoolError(Exit.USAGE, message, "leave out --compat or --engine stock")
    return reference.clips or clips, _mean(kept, [1.0] * len(kept)) if kept else None


def _known(work: TortoiseWork, voice: Voice, nets: Networks) -> Timbre:
    """What the networks know of a voice: from its latents, from what was kept of it, or by listening to its clips."""
    if voice.latents is not None:
        return Timbre(*load_latents(voice.latents, work.sizes))
    cache = work.settings.cache
    made_by = [
        hash_of(name, nets.folder, nets.source(name)) for name in ("conditioning_encoder", "contextual_embedder")
    ]
    key = hashlib.sha256("".join([voice.sha256, *made_by]).encode()).hexdigest()[:16]
    path = voice.folder / "latents" / f"tortoise-{key}.safetensors"
    if cache and path.exists():
        try:
            with nets.timed("conditioning"):
                tensors = load_tensors(path).tensors
                return Timbre(tensors["autoregressive"], tensors["diffusion"])
        except (DifftoolError, KeyError) as error:
            log.warning("%s is damaged, and made again (%s)", path, error)
    timbre = listen(nets, [torch.from_numpy(read(clip, CODE_HZ)) for clip in voice.clips])
    if cache:
        try:
            path.parent.mkdir(exist_ok=True)
            save_tensors(path, timbre._asdict(), {"clips": voice.sha256, "autoregressive": made_by[0]})
        except OSError as error:
            log.warning("what is known of %s cannot be kept in %s: %s", voice.name, path.parent, error.strerror)
    return timbre


def _mixed(timbres: Sequence[Timbre], voices: Sequence[Voice]) -> Timbre:
    """Several voices as one: as if their clips were one voice's, or, where one has only latents, each alike."""
    clips = all(voice.clips for voice in voices)
    return _mean(timbres, [float(len(voice.clips)) if clips else 1.0 for voice in voices])


def _mean(timbres: Sequence[Timbre], weights: Sequence[float]) -> Timbre:
    shares = [weight / sum(weights) for weight in weights]
    parts = zip(*timbres, strict=True)
    return Timbre(*(torch.stack([p.cpu() * s for p, s in zip(part, shares, strict=True)]).sum(0) for part in parts))
