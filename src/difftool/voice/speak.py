"""Saying a text in somebody's voice."""

from __future__ import annotations

import hashlib
import logging
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..audio.files import Samples, read
from ..audio.joining import from_bytes, gain, join, to_bytes
from ..audio.loudness import loudness
from ..core.noise import START, Noise
from ..errors import DifftoolError, Exit
from ..files import digest_of, load_tensors, manifest, run_id, save_tensors
from ..nets.tortoise.mel import CODE_HZ
from ..progress import Track
from .engines import stock
from .engines.tortoise import compat
from .engines.tortoise.decoding import Steps
from .engines.tortoise.networks import FILES, hash_of
from .engines.tortoise.synthesis import Networks, Spoken, Timbre, derived, invent, listen, speak
from .library import Voice, load_latents
from .plan import Clip, Plan, plan
from .text import tokens

log = logging.getLogger(__name__)

Say: TypeAlias = Callable[[str, int, "dict[str, Tensor] | None"], Steps[list[Spoken]]]
"""Speaks a text from a seed, and notes on the way what the networks said: the candidates, the best first."""
PACKAGES = ("torch", "torchaudio", "tokenizers", "inflect", "unidecode")
"""What the result depends on."""


SYNTHETIC = "Synthetic speech"
"""What every file says of itself."""


class Cloned(NamedTuple):
    """Speech and how it came to be."""

    sounds: list[Samples]
    """The candidates, the best first: (S,) float32 within [-1, 1] at 24 kHz"""
    manifest: dict[str, Any]
    seconds: dict[str, float]
    """How long each stage took."""


def clone(text: str, voice: str = "random", *, track: Track | None = None, **settings: Any) -> Cloned:
    """Says a text in a voice of the library: its name, several mixed as ``a&b``, or ``random``.

    `settings` are the arguments of `plan`: `preset` (draft, ultra_fast, fast, standard, high_quality), and in its
    place `samples` of the decoder, of which CLVP takes the best, `sampler`, `steps`, `schedule`, `eta` and `guidance`
    of the diffusion; `candidates` (how many are kept), `temperature`, `top_p`, `top_k`, `repetition_penalty`,
    `max_mel_tokens` (of 46 ms), `diffusion_temperature`, `seed`, `clips` (reference clips in the place of a voice),
    `compat` ("stock", "stock-kv": as tortoise-tts 3.0.0 does it), `engine` ("stock": tortoise-tts itself),
    `batch_size` (samples at once, which changes nothing but for the original), `device`, `dtype`, `threads`,
    `ar_checkpoint`, `voices_dir`, `models_dir`, `low_vram` (one network at a time) and `cache` (keep what the networks
    know of a voice beside it).

    Raises DifftoolError: 1 where a network returns NaN, 2 for settings that do not fit or a text that cannot be
    spoken, 3 for a device that is not there, 4 for a voice or a model that is missing or damaged, 6 where memory ends,
    7 where no consent is recorded for the voice.
    """
    own = {key: settings.pop(key) for key in ("low_vram", "cache") if key in settings}
    planned = plan(text, voice, **settings)
    return perform(planned, track=track, **own)


def tts_with_preset(
    text: str, reference_clips: Sequence[Clip], preset: str = "fast", *, track: Track | None = None, **settings: Any
) -> Tensor:
    """As tortoise-tts has it: the speech (1, 1, S) at 24 kHz from reference clips, (S,) or (1, S) each at 22,050 Hz, or
    their files; of several `candidates` (k, 1, S), silence after those that are shorter. `settings` as for `clone`.
    Whose voice it is, and whether they agreed, is for the caller to know."""
    if not reference_clips:
        raise DifftoolError(Exit.USAGE, "there are no reference clips", "give at least one, or call clone")
    sounds = clone(text, clips=reference_clips, preset=preset, track=track, **settings).sounds
    longest = max(map(len, sounds))
    return torch.from_numpy(np.stack([np.pad(sound, (0, longest - len(sound))) for sound in sounds]))[:, None]


def perform(
    plan: Plan,
    *,
    track: Track | None = None,
    low_vram: bool = False,
    cache: bool = True,
    attempts: Sequence[int] = (),
    stages: dict[str, Tensor] | None = None,
) -> Cloned:
    """Says all that was planned. `attempts` are those of the parts, where some were said again; `stages` takes what the
    networks said for the last of them."""
    nets = networks(plan)
    says: list[list[Spoken]] = []

    def steps() -> Iterator[None]:
        say = speaker(plan, nets, cache=cache)
        for k, (part, seed) in enumerate(zip(plan.parts, seeds(plan, attempts), strict=True)):
            nets.keep = not low_vram and k + 1 < len(plan.parts)
            says.append((yield from say(part.text, seed, stages)))

    total = plan.steps * len(plan.parts)
    for _ in steps() if track is None else track(steps(), total):
        pass
    takes = [[spoken[rank].sound.numpy() for spoken in says] for rank in range(plan.script.candidates)]
    sounds = [take[0] if len(take) == 1 else _joined(plan, take) for take in takes]
    note = described(plan, run_id()) | {"said": [[told_of(one) for one in spoken] for spoken in says]}
    return Cloned(sounds, note, nets.seconds)


def networks(plan: Plan) -> Networks:
    """The networks of a plan, none of which is open yet."""
    return Networks(plan.folder, plan.checkpoint, plan.device, plan.dtype)


def seeds(plan: Plan, attempts: Sequence[int] = ()) -> list[int]:
    """A seed for each part, from its text, how often that came before, and how often it was said before. The original
    has one for all."""
    if plan.plain:
        return [plan.settings["seed"]] * len(plan.parts)
    came: Counter[str] = Counter()
    found = []
    for k, part in enumerate(plan.parts):
        attempt = attempts[k] if k < len(attempts) else 0
        found.append(derived(plan.settings["seed"], "part", part.text, came[part.text], attempt))
        came[part.text] += 1
    return found


def speaker(plan: Plan, nets: Networks, *, cache: bool = True) -> Say:
    """The engine that was asked for, ready to speak in the voice that was asked for."""
    script, mode = plan.script, plan.settings["compat"]
    if plan.plain:
        clips, latents = _material(plan)
        if mode is None:
            return stock.speaker(plan, nets.seconds, clips, latents)

        def say(text: str, seed: int, stages: dict[str, Tensor] | None = None) -> Steps[list[Spoken]]:
            stream = compat.Stream(seed)
            timbre = latents or compat.timbre(nets, clips, stream)
            return compat.speak(nets, script, timbre, tokens(text, plain=True), stream, mode, stages)

        return say
    if plan.voices:
        timbre = _mixed([_known(plan, voice, nets, cache=cache) for voice in plan.voices], plan.voices)
    elif plan.clips:
        timbre = listen(nets, plan.clips)
    else:
        own = derived(plan.settings["seed"], "voice")
        timbre = invent(nets, lambda which, dim: Noise([own], (dim,))(START, which))
    return lambda text, seed, stages=None: speak(nets, script, timbre, tokens(text), seed, stages)


def _material(plan: Plan) -> tuple[list[Tensor], Timbre | None]:
    """The reference clips (S,) of a plan at 22,050 Hz, or the mean of its voices' latents, as the original takes them.
    Raises DifftoolError 2 where there are both."""
    kept = [Timbre(*load_latents(voice.latents, plan.sizes)) for voice in plan.voices if voice.latents]
    clips = [torch.from_numpy(read(path, CODE_HZ)) for voice in plan.voices for path in voice.clips]
    if kept and clips:
        what = "tortoise-tts mixes voices of clips with each other, and voices of latents, but not one with the other"
        raise DifftoolError(Exit.USAGE, what, "leave out --compat or --engine stock")
    return plan.clips or clips, _mean(kept, [1.0] * len(kept)) if kept else None


def _known(plan: Plan, voice: Voice, nets: Networks, *, cache: bool) -> Timbre:
    """What the networks know of a voice: from its latents, from what was kept of it, or by listening to its clips."""
    if voice.latents is not None:
        return Timbre(*load_latents(voice.latents, plan.sizes))
    made_by = [
        hash_of(name, nets.folder, nets.source(name)) for name in ("conditioning_encoder", "contextual_embedder")
    ]
    key = hashlib.sha256("".join([voice.sha256, *made_by]).encode()).hexdigest()[:16]
    path = voice.folder / "latents" / f"tortoise-{key}.safetensors"
    if cache and path.exists():
        try:
            with nets.timed("conditioning"):
                found = load_tensors(path).tensors
                return Timbre(found["autoregressive"], found["diffusion"])
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


def typical(loud: Sequence[float | None]) -> float | None:
    """The loudness that parts are brought to: their median."""
    known = [one for one in loud if one is not None]
    return statistics.median(known) if known else None


def _joined(plan: Plan, take: Sequence[Samples]) -> Samples:
    loud = [loudness(sound) for sound in take]
    wanted = typical(loud)
    pieces = (
        (to_bytes(sound), gain(own, float(np.abs(sound).max()), wanted), part.pause)
        for sound, own, part in zip(take, loud, plan.parts, strict=True)
    )
    return from_bytes(b"".join(join(pieces)))


def described(plan: Plan, run: str) -> dict[str, Any]:
    """How speech comes to be: enough to make it again, and that it is synthetic."""
    original = plan.settings["engine"] == "stock"
    files = {FILES[name]: name for name in plan.networks}

    def digest(file: str, name: str) -> str:
        own = plan.checkpoint if name == "autoregressive" else None
        return digest_of(plan.folder / file) if original else hash_of(name, plan.folder, own)

    return manifest("voice clone", run, plan.settings, PACKAGES) | {
        "synthetic": True,
        "voices": [{"name": v.name, "sha256": v.sha256, "consent": v.consent} for v in plan.voices],
        "models": {file: digest(file, name) for file, name in files.items()},
    }


def told_of(one: Spoken) -> dict[str, Any]:
    """What is kept of how a candidate came to be."""
    return {"sample": one.sample, "score": one.score, "stopped": one.stopped}
