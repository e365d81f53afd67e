"""Voices of takes and uploaded recordings: the command line of `voice prep`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from .. import store
from ..errors import DifftoolError, Exit, unknown
from ..files import read_json
from ..limits import counted
from ..voice import library
from ..voice.prep.settings import WHISPER
from .commands import Line, prep_line
from .shapes import Settings, Take
from .takes import LONGEST_READ, REFUSED, Shelf, passage

if TYPE_CHECKING:
    from .studio import Studio

SETTINGS = ("name", "consent", "takes", "uploads")
LONGEST_LICENSE = 200
"""Characters."""
CUT = "cut at pauses, without words, since Whisper is not installed; difftool models pull whisper-base brings it"
HEARD = f"cut by the words of Whisper {WHISPER}"


async def voice_line(settings: Settings, studio: Studio) -> tuple[Line, list[str]]:
    """The command line that makes a voice, and what the user should know of it. Raises DifftoolError 2 for settings
    that are missing or malformed, Refused 404 for recordings that are not there."""
    if other := next((name for name in settings if name not in SETTINGS), None):
        raise unknown("setting", other, SETTINGS)
    name = settings.get("name")
    if not isinstance(name, str) or not name:
        raise DifftoolError(Exit.USAGE, "the voice has no name", "give it a name")
    takes, uploads, root = studio.takes, studio.uploads, studio.root
    spoken = [cast(Take, takes.note(each)) for each in _list(settings, "takes")]
    sent = [uploads.note(each) for each in _list(settings, "uploads")]
    options = [f"--voice={library.named(name)}", f"--consent={_consent(settings.get('consent'), uploads, root)}"]
    good = [note for note in spoken if note["grade"] != REFUSED]
    if not sent and _is_within(name, {note["id"] for note in good}, studio):
        options.append("--overwrite")
    if not good and not sent:
        raise DifftoolError(Exit.USAGE, "there are no good recordings", "record some sentences, or upload a recording")
    warnings = [f"{counted(len(spoken) - len(good), 'take')} of grade {REFUSED} left out"] if spoken != good else []
    recordings, transcripts = [uploads.path(note) for note in sent], []
    if good:
        recordings.insert(0, await _passage(good, studio))
    if sent:
        whisper = store.held(store.entry(f"whisper-{WHISPER}"))
        has_whisper = all(file.state in ("whole", "unchecked") for file in whisper)
        options += [] if has_whisper else ["--slice=vad"]
        warnings.append(HEARD if has_whisper else CUT)
    else:
        transcripts = [recordings[0].with_suffix(".json")]
    recordings, transcripts = ([path.relative_to(root) for path in paths] for paths in (recordings, transcripts))
    return prep_line(recordings, transcripts, options), warnings


def _is_within(name: str, takes: set[str], studio: Studio) -> bool:
    """Whether a voice was made of some of these takes and of nothing else, so that it can be made anew of all."""
    sources = library.note_of(library.home(None) / name).get("sources")
    before: set[str] = set()
    for source in sources if isinstance(sources, list) else []:
        path = Path(source["path"])
        words = path.with_suffix(".json")
        if path.parent != studio.takes.passages or not words.exists():
            return False
        before |= {*read_json(words)["takes"]}
    return bool(before) and before <= takes


async def _passage(notes: Sequence[Take], studio: Studio) -> Path:
    """The sound of several takes: a sentence alone is too short for a reference of an engine."""
    key = hashlib.sha256(" ".join(note["id"] for note in notes).encode()).hexdigest()[:32]
    path = studio.takes.passages / f"{key}.wav"
    if not path.with_suffix(".json").exists():
        path.parent.mkdir(exist_ok=True)
        takes = [(studio.takes.path(note), note) for note in notes]
        async with studio.reading:
            await studio.nursery.call(LONGEST_READ, passage, takes, path)
    return path


def _list(settings: Settings, name: str) -> list[str]:
    value = settings.get(name) or []
    if not isinstance(value, list):
        raise DifftoolError(Exit.USAGE, f"{name} must be a list of IDs", "send those that the studio returned")
    return list(dict.fromkeys(map(str, value)))


def _consent(value: object, uploads: Shelf, root: Path) -> str:
    """A consent as the command line has it; the file of written:FILE is the ID of an upload. Raises DifftoolError 2 for
    one that is missing or incomplete, Refused 404 for an agreement that was not uploaded."""
    kind, _, detail = value.partition(":") if isinstance(value, str) else ("", "", "")
    if kind not in library.CONSENTS:
        hint = f"say whose voice it is: {', '.join(library.CONSENTS)}"
        raise DifftoolError(Exit.USAGE, "the consent is missing", hint)
    if kind == "written":
        return f"written:{uploads.path(uploads.note(detail)).relative_to(root)}"
    if kind == "license" and not (detail.strip().isprintable() and 0 < len(detail.strip()) <= LONGEST_LICENSE):
        raise DifftoolError(Exit.USAGE, "the license has no name", "name it, such as license:CC-BY-4.0")
    return f"{kind}:{detail.strip()}" if kind == "license" else kind
