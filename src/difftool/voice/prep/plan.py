"""The plan of a preparation: checked settings and recordings, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ... import device as devices
from ...audio.files import KINDS
from ...errors import DifftoolError, Exit, pick
from ...files import digest_of, expanded
from ...settings import checked, from_call
from ..library import Consent, agreed, home, named, work_of
from .gates import GATES
from .settings import WHISPER, Settings
from .transcribe import Transcriber, Transcript, Whisper, known_language
from .transcripts import bases


class Source(NamedTuple):
    """A recording to take clips from."""

    path: Path
    sha256: str
    transcriber: Transcriber | None

    @property
    def key(self) -> str | None:
        """Key of its transcriber."""
        return self.transcriber.key if self.transcriber else None


class PrepPlan(NamedTuple):
    """A voice to be prepared."""

    name: str
    folder: Path
    work: Path
    """The folder beside it with the results kept of each recording"""
    sources: tuple[Source, ...]
    consent: Consent
    settings: Settings
    """As they are used: without a Whisper size where nothing is transcribed"""
    verifier: Whisper | None
    """Transcribes each clip a second time"""

    @staticmethod
    @cache
    def net() -> Any:
        """The network for voice activity."""
        from . import activity

        return activity.network()


def plan_prep_with(sources: Sequence[str | Path], voice: str, consent: str, **settings: Any) -> PrepPlan:
    """`plan_prep` with these `Settings`."""
    return plan_prep(sources, voice, consent, from_call(Settings, **settings))


def plan_prep(sources: Sequence[str | Path], voice: str, consent: str, settings: Settings) -> PrepPlan:
    """Checks the settings of a preparation: `sources` are recordings, or folders of them, `voice` is the voice to make
    or to add to, `consent` is self, written:FILE, license:ID or synthetic. Raises DifftoolError: 2 for invalid
    settings, 3 for a device that is not available, 4 for recordings, transcripts or a Whisper model that are
    missing."""
    settings = checked(settings)
    for reason in settings.allow:
        pick("reason", reason, GATES)
    if settings.slice == "vad" and settings.transcripts:
        raise DifftoolError(Exit.USAGE, "--slice vad cannot use a transcript", "leave out one or the other")
    name = named(voice)
    needs_whisper = settings.slice == "words" and not settings.transcripts
    size = settings.whisper or WHISPER
    if needs_whisper:
        known_language(settings.language)
    terms = agreed(consent)
    paths = recordings_in(sources)
    device, _ = devices.choose(settings.device, "fp32", settings.threads)
    language = known_language(settings.language)
    models_dir = None if settings.models_dir is None else expanded(settings.models_dir)
    model = Whisper(size, device, language, models_dir) if needs_whisper else None
    transcripts = [expanded(path) for path in settings.transcripts]
    transcribers = _paired(paths, transcripts, language) if transcripts else {}
    voices_dir = None if settings.voices_dir is None else Path(settings.voices_dir)
    folder = home(voices_dir) / name
    used = replace(
        settings,
        whisper=size if model else None,
        language=language,
        verify=settings.verify and needs_whisper,
        allow=sorted(settings.allow),
    )
    recordings = [Source(path, digest_of(path), transcribers.get(path, model)) for path in paths]
    verifier = model if used.verify else None
    return PrepPlan(name, folder, work_of(folder), tuple(recordings), terms, used, verifier)


def recordings_in(sources: Sequence[str | Path]) -> list[Path]:
    """The recordings in files and folders, in order, each once. Raises DifftoolError 2 for an empty name, 4 for a path
    that does not exist, and for a folder without recordings."""

    def is_hidden(path: Path, folder: Path) -> bool:
        return any(part.startswith(".") for part in path.relative_to(folder).parts)

    if "" in sources:  # of a variable that is not set: it would be the working folder
        raise DifftoolError(Exit.USAGE, "the name of a recording is empty", "pass recordings or folders of recordings")
    paths: list[Path] = []
    for source in map(expanded, sources):
        if source.is_dir():
            sounds = [path for path in source.rglob("*") if path.suffix.lower() in KINDS]
            visible = sorted(path for path in sounds if path.is_file() and not is_hidden(path, source))
            if not visible:
                hint = f"supported suffixes: {' '.join(KINDS[:6])} and others"
                raise DifftoolError(Exit.FILE, f"no recordings in {source}", hint)
            paths += visible
        elif source.is_file():
            paths.append(source)
        else:
            raise DifftoolError(Exit.FILE, f"no such recording: {source}", "pass recordings or folders of recordings")
    return list({path.resolve(): path for path in paths}.values())


def _paired(paths: Sequence[Path], transcripts: Sequence[Path], language: str | None) -> dict[Path, Transcript]:
    """The transcript of each recording: the only one of the only recording, or the one of the same name, which may end
    in a language; among several of that name the one in the same folder."""
    if len(paths) == len(transcripts) == 1:
        return {paths[0]: Transcript(transcripts[0], language)}
    stems = {path.stem for path in paths}
    stem_of: dict[Path, str] = {}
    for transcript in transcripts:
        known = (stem for stem in bases(transcript) if stem in stems)
        stem_of[transcript] = next(known, transcript.stem)
    # first those in the same folder, then all others
    pairs: dict[Path, Path] = {}
    for beside in (True, False):
        for transcript, stem in stem_of.items():
            fitting = [path for path in paths if path.stem == stem and path not in pairs]
            if beside:
                folder = transcript.absolute().parent
                fitting = [path for path in fitting if path.absolute().parent == folder]
            if len(fitting) == 1 and transcript not in pairs.values():
                pairs[fitting[0]] = transcript
    lost = next((path for path in paths if path not in pairs), None)
    if lost or len(pairs) < len(stem_of):
        raise _unpaired(lost, paths)
    return {path: Transcript(pairs[path], language) for path in paths}


def _unpaired(lost: Path | None, paths: Sequence[Path]) -> DifftoolError:
    """The error for a recording without a transcript, or where that is None, a transcript without a recording."""
    hint = "pass one for each recording, with the same name: talk.srt for talk.mp3"
    if lost is None:
        return DifftoolError(Exit.USAGE, "a transcript has no recording", hint)
    if any(path != lost and path.stem == lost.stem for path in paths):
        return DifftoolError(Exit.USAGE, f"{lost} has no transcript", f"{hint}, each in the folder of its recording")
    return DifftoolError(Exit.USAGE, f"{lost.name} has no transcript", hint)
