"""What is to be prepared: settings that have been checked, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ... import device as devices
from ...audio.files import KINDS
from ...errors import DifftoolError, Exit, pick
from ...files import expanded
from .. import SLICES
from ..library import Consent, agreed, digest_of, home, named, work_of
from .gates import GATES
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
    settings: dict[str, Any]
    verifier: Whisper | None
    """Transcribes each clip once more"""

    @staticmethod
    @cache
    def net() -> Any:
        """The network that hears where somebody speaks."""
        from . import activity

        return activity.network()


def plan(
    sources: Sequence[str | Path],
    voice: str,
    consent: str,
    *,
    slice: str = "words",
    whisper: str = "base",
    language: str | None = None,
    transcripts: Sequence[str | Path] = (),
    verify: bool = True,
    high_pass: float = 0.0,
    allow: Sequence[str] = (),
    device: str = "auto",
    threads: int | None = None,
    voices_dir: Path | None = None,
    models_dir: Path | None = None,
) -> Plan:
    """Settings of a preparation, checked. Raises DifftoolError: 2 for settings that do not fit, 3 for a device that is
    not there, 4 for recordings, transcripts or a Whisper that are not there."""
    pick("way to cut", slice, dict.fromkeys(SLICES))
    for reason in allow:
        pick("reason", reason, GATES)
    if high_pass and not 10 <= high_pass <= 1000:
        what = f"a high-pass of {high_pass:g} Hz takes no rumble away, or takes the voice"
        raise DifftoolError(Exit.USAGE, what, "try --high-pass 80")
    if slice == "vad" and transcripts:
        raise DifftoolError(Exit.USAGE, "--slice vad needs no transcript", "leave out one or the other")
    name = named(voice)
    if slice == "words" and not transcripts:
        known_size(whisper)
        known_language(language)
    terms = agreed(consent)
    paths = found(sources)
    place, _ = devices.choose(device, "fp32", threads)
    language = known_language(language)
    model = Whisper(whisper, place, language, models_dir) if slice == "words" and not transcripts else None
    told = _paired(paths, [expanded(path) for path in transcripts], language) if transcripts else {}
    folder = home(voices_dir) / name
    settings = {
        "slice": slice,
        "whisper": whisper if model else None,
        "language": language,
        "verify": verify and model is not None,
        "high_pass": high_pass,
        "allow": sorted(allow),
    }
    return Plan(
        name,
        folder,
        work_of(folder),
        tuple(Source(path, digest_of(path), told.get(path, model)) for path in paths),
        terms,
        settings,
        model if verify else None,
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
