"""The work of Tortoise in a run, with everything checked, and its speakers."""

from __future__ import annotations

import hashlib
import logging
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, cast

import psutil
import torch
from torch import Tensor

from ....audio.files import read_sound
from ....core.noise import START, Noise
from ....errors import DifftoolError, Exit
from ....files import expanded, load_tensors, save_tensors
from ....nets.tortoise.autoregressive import UnifiedVoice
from ....nets.tortoise.diffusion import DiffusionTts
from ....nets.tortoise.mel import CODE_HZ
from ....sampling.choice import choose_sampler
from ...library import PACKAGE, Voice, load_latents
from ...seeds import derived
from ...settings import Settings
from .. import Reference, Speaker, Spoken, Steps, Work, finished
from . import compat
from .decoding import BREATH, ROWS, TokenSampling
from .files import folder_of, is_stored
from .networks import FILES, empty, hash_of
from .options import Options, is_plain
from .synthesis import PATH, Networks, SpeechSettings, Timbre, draw, random_timbre, synthesise, timbre_of
from .text import token_parts, tokens, unspoken

log = logging.getLogger(__name__)

LONGEST = 500
"""Default maximum of codes per sample, 23 s."""
SHARE = 0.5
"""Share of the free memory that the keys and values of the decoder may take."""


@dataclass(frozen=True)
class TortoiseWork(Work):
    """A run of Tortoise."""

    speech: SpeechSettings
    sizes: tuple[int, int]
    """Sizes of the conditioning latents of the decoder and the diffusion."""
    networks_folder: Path
    checkpoint: Path | None
    """A decoder that replaces the folder's."""

    packages: ClassVar = ("torch", "torchaudio", "tokenizers", "inflect", "unidecode")
    stages: ClassVar = ("load", "conditioning", "autoregressive", "clvp", "diffusion", "vocoder")

    @property
    def folder(self) -> Path:
        return self.networks_folder

    @property
    def plain(self) -> bool:
        """Whether texts are spoken unchanged, as tortoise-tts does."""
        return is_plain(self.settings, self.options)

    @property
    def one_seed(self) -> bool:
        return self.plain

    @property
    def steps(self) -> int:
        speech = self.speech
        batches = math.ceil(speech.samples / speech.block)
        return batches * speech.most + speech.candidates * speech.choice.steps

    @property
    def networks(self) -> list[str]:
        """The networks that it needs."""
        is_random = not (self.reference.voices or self.reference.clips)
        timbre = ("random_autoregressive", "random_diffusion") if is_random else ()
        judge = ("clvp",) if self.speech.samples > 1 or self.plain else ()
        return [*timbre, "autoregressive", *judge, "diffusion", "vocoder"]

    @property
    def files(self) -> Sequence[str]:
        return sorted({FILES[name] for name in self.networks})

    @property
    def limit(self) -> str:
        return f"{self.speech.most} codes"

    @property
    def summary(self) -> str:
        speech, engine = self.speech, self.settings.engine
        choice = speech.choice
        diffusion = f"{choice.sampler} with {choice.steps} steps, guidance {speech.guidance:g}"
        label = self.options.compat or (engine if engine == "stock" else self.settings.preset)
        return f"{label}: {speech.samples} samples, {diffusion}"

    def source(self, name: str) -> Path | None:
        """The checkpoint of a network, where it is not in the folder."""
        return self.checkpoint if name == "autoregressive" else None

    def models(self) -> dict[str, str]:
        files = {FILES[name]: name for name in self.networks}
        return {file: hash_of(name, self.folder, self.source(name)) for file, name in files.items()}

    def unspoken(self) -> str:
        return "" if self.plain else unspoken(self.settings.text or "")

    def check_files(self) -> None:
        if self.checkpoint is not None and not self.checkpoint.is_file():
            message = f"no such checkpoint: {self.checkpoint}"
            raise DifftoolError(Exit.FILE, message, "check the path of --ar-checkpoint, or leave it out")
        absent = [name for name in self.networks if not is_stored(self.source(name) or self.folder / FILES[name])]
        missing = dict.fromkeys(FILES[name] for name in absent)
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            message = f"{', '.join(missing)} of Tortoise {verb} not in {self.folder}"
            place = self.settings.models_dir
            option = f" --models-dir {shlex.quote(str(place))}" if place else ""
            raise DifftoolError(Exit.FILE, message, f"run difftool models pull tortoise{option}")

    def check_stages(self) -> None:
        if not is_stored(self.folder / FILES["clvp"]):
            message = f"--save-stages needs clvp2.pth of Tortoise, which is not in {self.folder}"
            raise DifftoolError(Exit.FILE, message, "run difftool models pull tortoise")

    def speaker(self) -> Speaker:
        return CompatSpeaker(self) if self.options.compat else TortoiseSpeaker(self)


class TortoiseSpeaker(Speaker):
    """Tortoise as implemented here."""

    def __init__(self, work: TortoiseWork) -> None:
        super().__init__()
        self.work = work
        settings, learned = work.settings, work.reference.trained
        machine = settings.machine()
        self.nets = Networks(work.folder, work.checkpoint, *machine, learned, quantised=settings.quantised)
        self.seconds = self.nets.seconds

    def prepare(self, reference: Reference) -> Steps[None]:
        if reference.voices:
            timbres = [_timbre_of(self.work, voice, self.nets) for voice in reference.voices]
            self.timbre = _mixed(timbres, reference.voices)
        elif reference.clips:
            self.timbre = timbre_of(self.nets, reference.clips)
        else:
            own = derived(self.work.settings.seed, "voice")
            self.timbre = random_timbre(self.nets, lambda which, dim: Noise([own], (dim,))(START, which))
        yield from ()

    def say(self, text: str, seed: int, stages: dict[str, Tensor] | None = None) -> Steps[list[Spoken]]:
        self.nets.keep = self.keep
        speech = self.work.speech
        drawing = draw(self.nets, speech, self.timbre, tokens(text), seed, score=stages is not None)
        self.samples = yield from drawing
        best, self.others = self.samples.ranked(speech.candidates)
        return (yield from synthesise(self.nets, speech, self.timbre, self.samples, best, stages))

    def make(self, sample: int) -> Spoken:
        (made,) = finished(synthesise(self.nets, self.work.speech, self.timbre, self.samples, [sample]))
        return made


class CompatSpeaker(TortoiseSpeaker):
    """Tortoise as in tortoise-tts, which encodes the clips again for each text."""

    def prepare(self, reference: Reference) -> Steps[None]:
        self.clips, self.latents = voice_input(self.work, reference)
        yield from ()

    def say(self, text: str, seed: int, stages: dict[str, Tensor] | None = None) -> Steps[list[Spoken]]:
        self.nets.keep = self.keep
        speech, mode = self.work.speech, self.work.options.compat
        stream = compat.Stream(seed)
        timbre = self.latents or compat.timbre(self.nets, self.clips, stream)
        every = tokens(text, plain=True)
        return (yield from compat.synthesise(self.nets, speech, timbre, every, stream, mode, stages))


def plan_work(settings: Settings, options: Options, reference: Reference) -> TortoiseWork:
    """As `Engine.plan`. Raises DifftoolError 4 for a config of networks that does not match the files."""
    device, dtype = settings.machine()
    folder = folder_of(settings.models_dir)
    decoder = cast(UnifiedVoice, empty("autoregressive.pth", folder)["autoregressive"])
    diffusion = cast(DiffusionTts, empty("diffusion_decoder.pth", folder)["diffusion"])
    room = decoder.code_positions.num_embeddings - BREATH
    most = min(LONGEST, room) if options.max_mel_tokens is None else options.max_mel_tokens
    if not BREATH <= most <= room:
        message = f"max-mel-tokens must be a number from {BREATH} to {room}, not {most}"
        raise DifftoolError(Exit.USAGE, message, "500 codes are about 23 seconds")
    plain = is_plain(settings, options)
    assert options.samples is not None and options.sampler is not None and options.guidance is not None
    parts = token_parts(settings.text or "", decoder.most_text, plain=plain)
    if plain:
        if settings.quantised:
            raise DifftoolError(Exit.USAGE, "tortoise-tts has no int8", "leave out --dtype or --compat")
        block = _original_block(options.samples, settings.batch_size)
        settings = replace(settings, batch_size=block)
    else:
        fitting = _fitting(decoder, most, device, torch.float32 if settings.quantised else dtype)
        requested = settings.batch_size or options.samples
        block = max(1, min(requested, options.samples, fitting, ROWS[device.type]))
    sampling = TokenSampling(options.temperature, options.top_p, options.top_k, options.repetition_penalty)
    diffusion_choice = choose_sampler(
        PATH, options.sampler, options.steps, options.schedule, options.eta, variance="learned"
    )
    speech = SpeechSettings(
        sampling,
        diffusion_choice,
        options.samples,
        settings.candidates,
        most,
        options.guidance,
        options.diffusion_temperature,
        block,
        options,
    )
    checkpoint = None if options.ar_checkpoint is None else expanded(options.ar_checkpoint)
    if checkpoint is not None:  # what was learned belongs to the folder's decoder
        reference = reference._replace(trained=None)
    used = replace(options, max_mel_tokens=most, ar_checkpoint=checkpoint)
    sizes = (decoder.code_head.in_features, 2 * diffusion.dim)
    return TortoiseWork(settings, used, reference, parts, speech, sizes, folder, checkpoint)


def _original_block(samples: int, asked: int | None) -> int:
    """How many samples tortoise-tts draws at once; its result depends on it."""
    block = asked or min(compat.AT_ONCE, samples)
    if samples % block:
        message = f"tortoise-tts draws whole batches: {samples} samples are not a multiple of {block}"
        fitting = samples // block * block or block
        raise DifftoolError(Exit.USAGE, message, f"use another --batch-size, or --samples {fitting}")
    return block


def _fitting(decoder: UnifiedVoice, most: int, device: torch.device, dtype: torch.dtype) -> int:
    """How many samples fit in memory at once."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    positions = decoder.most_text + most + BREATH
    values = 2 * len(decoder.blocks) * decoder.code_head.in_features * positions
    return int(free * SHARE / (values * dtype.itemsize))


def voice_input(work: TortoiseWork, reference: Reference) -> tuple[Sequence[Tensor], Timbre | None]:
    """The reference clips (S,) at 22,050 Hz, or the mean of the voices' latents, as tortoise-tts takes them. Raises
    DifftoolError 2 where there are both."""
    voices = reference.voices
    latents = [Timbre(*load_latents(voice.latents, work.sizes)) for voice in voices if voice.latents]
    clips = [torch.from_numpy(read_sound(path, CODE_HZ)) for voice in voices for path in voice.clips]
    if latents and clips:
        message = "tortoise-tts cannot mix voices that have clips with voices that have only latents"
        raise DifftoolError(Exit.USAGE, message, "leave out --compat or --engine stock")
    mean = _mean(latents, [1.0] * len(latents)) if latents else None
    return reference.clips or clips, mean


def _timbre_of(work: TortoiseWork, voice: Voice, nets: Networks) -> Timbre:
    """The conditioning of a voice: its own latents, the cached ones, or computed from its clips."""
    if voice.latents is not None:
        return Timbre(*load_latents(voice.latents, work.sizes))
    cache = work.settings.cache and voice.folder.parent != PACKAGE
    encoders = ("conditioning_encoder", "contextual_embedder")
    made_by = [hash_of(name, nets.folder, nets.source(name)) for name in encoders]
    hashes = "".join([voice.sha256, *made_by])
    key = hashlib.sha256(hashes.encode()).hexdigest()[:16]
    path = voice.folder / "latents" / f"tortoise-{key}.safetensors"
    if cache and path.exists():
        try:
            with nets.timed("conditioning"):
                tensors = load_tensors(path).tensors
                return Timbre(tensors["autoregressive"], tensors["diffusion"])
        except (DifftoolError, KeyError) as error:
            log.warning("%s is damaged; creating it again (%s)", path, error)
    timbre = timbre_of(nets, [torch.from_numpy(read_sound(clip, CODE_HZ)) for clip in voice.clips])
    if cache:
        try:
            path.parent.mkdir(exist_ok=True)
            save_tensors(path, timbre._asdict(), {"clips": voice.sha256, "autoregressive": made_by[0]})
        except OSError as error:
            log.warning("cannot cache the latents of %s in %s: %s", voice.name, path.parent, error.strerror)
    return timbre


def _mixed(timbres: Sequence[Timbre], voices: Sequence[Voice]) -> Timbre:
    """Several voices as one, weighted by their numbers of clips, or equally where one has only latents."""
    have_clips = all(voice.clips for voice in voices)
    return _mean(timbres, [float(len(voice.clips)) if have_clips else 1.0 for voice in voices])


def _mean(timbres: Sequence[Timbre], weights: Sequence[float]) -> Timbre:
    total = sum(weights)
    shares = [weight / total for weight in weights]

    def mean(tensors: Sequence[Tensor]) -> Tensor:
        scaled = [tensor.cpu() * share for tensor, share in zip(tensors, shares, strict=True)]
        return torch.stack(scaled).sum(0)

    return Timbre(*(mean(tensors) for tensors in zip(*timbres, strict=True)))
