"""What is to be prepared: settings that have been checked, before any work."""

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
from ...settings import checked
from ..library import Consent, agreed, home, named, work_of
from .gates import GATES
from .settings import WHISPER, Settings
from .transcribe import Transcriber, Transcript, Whisper, known_language, known_size
from .transcripts import bases


class Source(NamedTuple):
    """A recording to take clips from."""

    path: Path
    sha256: str
    transcriber: Transcriber | None

    @property
    def key(self) -> str | None:
        """Of who says what is said in it."""
        return self.transcriber.key if self.transcriber else None


class Plan(NamedTuple):
    """A voice to be prepared."""

    name: str
    folder: Path
    work: Path
    """Beside it, for what is kept of each recording"""
    sources: tuple[Source, ...]
    consent: Consent
    settings: Settings
    """As they are used: without a Whisper where nothing is heard"""
    verifier: Whisper | None
    """Transcribes each clip once more"""

    @staticmethod
    @cache
    def net() -> Any:
        """The network that hears where somebody speaks."""
        from . import activity

        return activity.network()


def plan(sources: Sequence[str | Path], voice: str, consent: str, **settings: Any) -> Plan:
    """`planned` with these `Settings`."""
    return planned(sources, voice, consent, Settings(**settings))


def planned(sources: Sequence[str | Path], voice: str, consent: str, settings: Settings) -> Plan:
    """Settings of a preparation, checked: `sources` are recordings, or folders of them, `voice` is the voice to make or
    to add to, `consent` is self, written:FILE, license:ID or synthetic. Raises DifftoolError: 2 for settings that do
    not fit, 3 for a device that is not there, 4 for recordings, transcripts or a Whisper that are not there."""
    settings = checked(settings)
    for reason in settings.allow:
        pick("reason", reason, GATES)
    if settings.slice == "vad" and settings.transcripts:
        raise DifftoolError(Exit.USAGE, "--slice vad needs no transcript", "leave out one or the other")
    name = named(voice)
    hears = settings.slice == "words" and not settings.transcripts
    size = settings.whisper or WHISPER
    if hears:
        known_size(size)
        known_language(settings.language)
    terms = agreed(consent)
    paths = found(sources)
    device, _ = devices.choose(settings.device, "fp32", settings.threads)
    language = known_language(settings.language)
    models_dir = None if settings.models_dir is None else expanded(settings.models_dir)
    model = Whisper(size, device, language, models_dir) if hears else None
    transcripts = [expanded(path) for path in settings.transcripts]
    transcribers = _paired(paths, transcripts, language) if transcripts else {}
    folder = home(None if settings.voices_dir is None else Path(settings.voices_dir)) / name
    used = replace(
        settings,
        whisper=size if model else None,
        language=language,
        verify=settings.verify and model is not None,
        allow=sorted(settings.allow),
    )
    return Plan(
        name,
        folder,
        work_of(folder),
        tuple(Source(path, digest_of(path), transcribers.get(path, model)) for path in paths),
        terms,
        used,
        model if used.verify else None,
    )


def found(sources: Sequence[str | Path]) -> list[Path]:
    """The recordings that files and folders name, in order, each once. Raises DifftoolError 4 for what is not there,
    and for a folder without any."""
    paths: list[Path] = []
    for source in map(expanded, sources):
        if source.is_dir():
            inside = [path for path in source.rglob("*") if path.suffix.lower() in KINDS and path.is_file()]
            shown = sorted(
                path for path in inside if not any(part.startswith(".") for part in path.relative_to(source).parts)
            )
            if not shown:
                hint = f"files that end in {' '.join(KINDS[:6])} and such are looked for"
                raise DifftoolError(Exit.FILE, f"there is no recording in {source}", hint)
            paths += shown
        elif source.is_file():
            paths.append(source)
        else:
            raise DifftoolError(Exit.FILE, f"there is no recording {source}", "name files or folders of recordings")
    return list({path.resolve(): path for path in paths}.values())


def _paired(paths: Sequence[Path], transcripts: Sequence[Path], language: str | None) -> dict[Path, Transcript]:
    """Which transcript is whose: the only one of the only recording, or of the same name, which may end in a language;
    among several of that name it is that in its own folder."""
    if len(paths) == len(transcripts) == 1:
        return {paths[0]: Transcript(transcripts[0], language)}
    stems = {path.stem for path in paths}
    stem_of = {path: next((stem for stem in bases(path) if stem in stems), path.stem) for path in transcripts}
    made: dict[Path, Path] = {}
    for beside in (True, False):
        for transcript, stem in stem_of.items():
            fit = [path for path in paths if path.stem == stem and path not in made]
            fit = [path for path in fit if path.absolute().parent == transcript.absolute().parent] if beside else fit
            if len(fit) == 1 and transcript not in made.values():
                made[fit[0]] = transcript
    lost = next((path for path in paths if path not in made), None)
    if lost or len(made) < len(stem_of):
        several = lost and any(path != lost and path.stem == lost.stem for path in paths)
        what = (
            f"{lost if several else lost.name} has no transcript"
            if lost
            else "there are transcripts without a recording"
        )
        where = ", each in the folder of its own" if several else ""
        hint = f"give one for each recording, of its name: talk.srt for talk.mp3{where}"
        raise DifftoolError(Exit.USAGE, what, hint)
    return {path: Transcript(made[path], language) for path in paths}
