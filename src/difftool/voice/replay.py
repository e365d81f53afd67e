"""Speech made again from the manifest in a sound file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..audio.files import RATE, Samples, cover_of, read_sound
from ..audio.notes import load
from ..errors import DifftoolError, Exit
from ..files import writable
from ..limits import MAX_COUNT
from ..progress import Track
from ..provenance import beside, located, settings_of
from ..settings import from_manifest, options
from . import engines
from .documents import Document, is_cover
from .library import TRAINED, WEIGHTS
from .output import Written, write
from .plan import SpeechPlan, plan_speech
from .settings import Settings
from .speak import speak_plan, speech_manifest


@dataclass(frozen=True)
class Replay:
    """The plan to make a sound again."""

    file: Path
    plan: SpeechPlan
    attempts: list[int]
    """Of the parts."""
    accepted: list[int | None]
    """The samples of the parts that were verified."""
    index: int
    """The rank of the candidate."""
    before: Samples
    """The samples in the file."""
    versions: tuple[Mapping[str, str], Mapping[str, str]]
    """Package versions: those that made the file, and the installed ones."""

    def identical(self, path: Path) -> bool:
        """Whether the sound in another file has the same samples."""
        after = read_sound(path, RATE)
        if len(after) != len(self.before):
            return False
        return bool((after == self.before).all())


def replay(file: Path) -> Replay:
    """The plan of a sound that `voice clone` made. Raises DifftoolError 4 for one without settings, with damaged ones,
    or made from models or voices that have changed, and otherwise as `clone`."""
    _, note = load(file)
    if note is None:
        raise DifftoolError(Exit.FILE, f"{file} has no settings of difftool", "pass a sound file made by difftool")
    before = read_sound(file, RATE)
    if (note.get("schema"), note.get("command")) != ("difftool/manifest/1", "voice clone"):
        message = f"{file} was made by a command that this version cannot rerun"
        raise DifftoolError(Exit.FILE, message, "see difftool meta FILE")
    made = _read(file, note)
    with settings_of(file):
        plan = plan_speech(made.settings, made.options, document=_document(file, note))
    now = speech_manifest(plan, "")
    for kind in ("models", "voices"):
        if [*_hashes(now[kind])] != [*_hashes(note[kind])]:
            raise DifftoolError(
                Exit.FILE, f"the {kind} have changed since {file} was made", "restore the original files"
            )
    if [*now.get("files", {}).values()] != [*note.get("files", {}).values()]:
        message = f"the recording has changed since {file} was made"
        raise DifftoolError(Exit.FILE, message, "restore the original file")
    if now.get("trained") != note.get("trained"):
        message = f"what voice train learned of the voice has changed since {file} was made"
        where = f"{TRAINED}/{plan.settings.engine}/{WEIGHTS}"
        raise DifftoolError(Exit.FILE, message, f"restore {where} in the folder of the voice")
    if note.get("words", now.get("words")) != now.get("words"):
        message = f"the words of the reference have changed since {file} was made"
        raise DifftoolError(Exit.FILE, message, "restore them in the file beside the recording")
    both = note["versions"], now["versions"]
    return Replay(file, plan, made.attempts, made.accepted, made.rank, before, both)


def respeak(replay: Replay, path: Path, *, track: Track | None = None) -> Written:
    """Speaks a sound again and writes it to a file."""
    with writable(path.parent):
        cloned = speak_plan(replay.plan, track=track, attempts=replay.attempts, accepted=replay.accepted)
        return write(replay.plan, cloned, [path], only=replay.index)


def _document(file: Path, note: Mapping[str, Any]) -> Document | None:
    """The document of a manifest, whose text is the setting of that name. Its cover is in the file itself. Raises
    TypeError where it is damaged."""
    if "document" not in note:
        return None
    about = {key: note["document"].get(key) for key in ("title", "author", "language")}
    if not all(value is None or isinstance(value, str) for value in about.values()):
        raise TypeError("not a document")
    cover = cover_of(file)
    return Document(**about, cover=cover if cover and is_cover(cover) else None)


class Recorded(NamedTuple):
    """How a sound was made, from its manifest."""

    settings: Settings
    options: dict[str, object]
    """Of the engine."""
    attempts: list[int]
    """Of the parts."""
    accepted: list[int | None]
    """The sample of each part where it is not the best."""
    rank: int
    """The rank of the candidate."""


def _read(file: Path, note: Mapping[str, Any]) -> Recorded:
    """Reads a manifest. Raises DifftoolError 4 where it is not what `voice clone` writes, or the text is missing."""
    has_settings = isinstance(note.get("settings"), Mapping)
    if has_settings and "text" not in note["settings"] and "text_sha256" in note:
        message = (
            f"the long text of {file} is not in {beside(file).name}: that file is missing or belongs to another sound"
        )
        raise DifftoolError(Exit.FILE, message, f"restore {beside(file).name}")
    with settings_of(file):
        values, common = located(note, file), options(Settings)
        settings = from_manifest(Settings, {name: value for name, value in values.items() if name in common})
        engine = engines.engine(engines.known_engine(settings.engine))
        rest = {name: value for name, value in values.items() if name not in common}
        own = from_manifest(engine.Options, rest)
        attempts, accepted, index = note.get("attempts", []), note.get("accepted", []), note["item"]["index"]
        known = [*attempts, *(sample for sample in accepted if sample is not None)]
        valid_attempts = all(type(number) is int and 0 <= number <= MAX_COUNT for number in known)
        valid_index = type(index) is int and 0 <= index < settings.candidates
        versions, models, voices = note["versions"].values(), _hashes(note["models"]), _hashes(note["voices"])
        files = note.get("files", {}).values()
        trained = note.get("trained", {})
        settings = replace(settings, trained=bool(trained))
        valid_texts = all(isinstance(text, str) for text in (*versions, *models, *voices, *files, *trained.values()))
        if settings.text is None or not (valid_attempts and valid_index and valid_texts):
            raise ValueError("not a manifest of voice clone")
    return Recorded(settings, {name: getattr(own, name) for name in rest}, attempts, accepted, index)


def _hashes(files: Any) -> Iterator[str]:
    """The hashes of a manifest's models, or of its voices."""
    return iter(files.values()) if isinstance(files, Mapping) else (voice["sha256"] for voice in files)
