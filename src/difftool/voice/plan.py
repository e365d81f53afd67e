"""The plan of a run: every default filled in, and everything checked, before anything is spoken."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from ..audio.files import Samples, read_sound
from ..errors import DifftoolError, Exit, pick
from ..files import expanded
from ..settings import checked, from_call, manifest_of
from . import engines
from .documents import Document
from .engines import CLIP_HZ, Reference, Work
from .library import RANDOM, TRAINED, WEIGHTS, Voice, find, trained
from .settings import Settings
from .text import Part
from .tuning.clips import changes_since
from .verify import Verifier, verifier_of

log = logging.getLogger(__name__)

Clip: TypeAlias = Tensor | Samples | str | Path
"""Mono sound at 22,050 Hz, (S,) or (1, S), or the name of its file."""


@dataclass(frozen=True)
class SpeechPlan:
    """A run with every default filled in."""

    work: Work
    """What the engine will do."""
    document: Document | None = None
    """Where the text comes from."""
    verifier: Verifier | None = None
    """Checks what was spoken."""

    @property
    def settings(self) -> Settings:
        return self.work.settings

    @property
    def parts(self) -> list[Part]:
        return self.work.parts

    @property
    def chapters(self) -> list[tuple[int, str]]:
        """The index of the first part of each chapter, and its title."""
        return [(k, part.chapter) for k, part in enumerate(self.parts) if part.chapter is not None]

    @property
    def steps(self) -> int:
        """Steps of one part."""
        return self.work.steps

    @property
    def manifest(self) -> dict[str, object]:
        """The settings and the engine's options that give this plan again."""
        return manifest_of(self.settings) | manifest_of(self.work.options)


def plan_speech_with(
    text: str | Document, voice: str = RANDOM, *, clips: Sequence[Clip] = (), **settings: object
) -> SpeechPlan:
    """`plan_speech` with these `Settings` and options of an engine."""
    document = text if isinstance(text, Document) else None
    words = text if document is None else document.text
    common = {field.name for field in fields(Settings)}
    own = {name: value for name, value in settings.items() if name in common}
    options = {name: value for name, value in settings.items() if name not in common}
    return plan_speech(from_call(Settings, text=words, voice=voice, **own), options, clips, document)


def plan_speech(
    settings: Settings,
    options: Mapping[str, object],
    clips: Sequence[Clip] = (),
    document: Document | None = None,
) -> SpeechPlan:
    """Chooses the engine and checks text, voice and settings without opening a network. `options` are those of the
    engine, None for a default; `clips` are used instead of a voice; `document` is where the text comes from. Raises
    DifftoolError as `clone`."""
    given = {name: value for name, value in options.items() if value is not None}
    settings = checked(settings)
    voices_dir, models_dir = settings.voices_dir, settings.models_dir
    settings = replace(
        settings,
        voices_dir=None if voices_dir is None else expanded(voices_dir),
        models_dir=None if models_dir is None else expanded(models_dir),
    )
    name = engines.choose_engine(settings.engine, given, settings.models_dir, quantised=settings.quantised)
    is_automatic = settings.engine == engines.AUTO
    engine = engines.engine(name)
    pick("preset", settings.preset, {preset: preset for preset in engine.presets()})
    if clips and settings.voice != RANDOM:
        raise DifftoolError(Exit.USAGE, "clips cannot be combined with a voice", "pass either clips or a voice")
    settings, own = engine.filled(replace(settings, engine=name), checked(engine.Options(**given)))
    voices = find(settings.voice, settings.voices_dir, engine.REFERENCES, latents=engine.LATENTS)
    settings = replace(settings, **settings.machine_used())
    learned = trained(voices[0], name) if settings.trained and len(voices) == 1 else None
    work = engine.plan(settings, own, Reference(voices, [_clip(clip) for clip in clips], learned))
    work.check_files()
    if settings.verify and work.one_seed:
        message = "--verify needs other seeds to try, and tortoise-tts and f5-tts have one for all parts"
        raise DifftoolError(Exit.USAGE, message, "leave out --verify, or --compat and --engine stock")
    engines.warn_of_unused(work)
    if is_automatic:
        engines.warn_of_bundled(name, given)
    if learned:
        _warn_of_changes(voices[0], name, learned)
    if settings.trained:
        _tell_of_others(voices, name)
    return SpeechPlan(work, document, verifier_of(settings) if settings.verify else None)


def _warn_of_changes(voice: Voice, engine: str, learned: Path) -> None:
    """Warns where the clips of a voice are no longer those that an engine was trained on."""
    if changes := changes_since(voice, learned):
        again = f"difftool voice train {shlex.quote(voice.name)} --engine {engine} --overwrite"
        log.warning("since %s was trained: %s; to train it again run %s", voice.name, changes, again)


def _tell_of_others(voices: Sequence[Voice], engine: str) -> None:
    """Tells of trained weights that are not used: of another engine, or in a mix of voices."""
    for voice in voices:
        names = [path.parent.name for path in voice.folder.glob(f"{TRAINED}/*/{WEIGHTS}")]
        known = sorted(name for name in names if name in engines.ENGINES)
        if engine in known and len(voices) > 1:
            log.info("a mix of voices is spoken without what voice train learned of %s", voice.name)
        elif known and engine not in known:
            log.info("%s was trained for %s; --engine %s speaks so", voice.name, " and ".join(known), known[0])


def _clip(clip: Clip) -> Tensor:
    """A reference clip as (S,). Raises DifftoolError 2 for another shape, 4 for a file that cannot be read."""
    if isinstance(clip, (str, Path)):
        return torch.from_numpy(read_sound(expanded(clip), CLIP_HZ))
    sound = torch.as_tensor(clip, dtype=torch.float32).detach().cpu()
    flat = sound[0] if sound.ndim == 2 and sound.shape[0] == 1 else sound
    is_mono = flat.ndim == 1 and len(flat) > 0
    if not is_mono or not flat.isfinite().all():
        message = f"a reference clip must be an array (S,) or (1, S) of finite numbers, not {tuple(sound.shape)}"
        raise DifftoolError(Exit.USAGE, message, "pass mono audio at 22,050 Hz")
    return flat
