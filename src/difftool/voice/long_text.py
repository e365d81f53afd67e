"""Long texts: spoken part by part into a folder beside the result, resumed after an interruption."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict, cast

import numpy as np

from .. import files
from ..audio.files import RATE, length_of, samples_of, write_sound
from ..audio.joining import from_bytes, gain, join, to_bytes
from ..audio.loudness import loudness
from ..errors import DifftoolError, Exit
from ..files import digest_of, read_json, write_json
from ..limits import counted
from ..progress import Track, untracked
from . import engines
from .engines import Speaker, Spoken, Steps
from .plan import SpeechPlan
from .settings import Settings
from .speak import (
    SYNTHETIC,
    CandidateRecord,
    candidate_record,
    say_part,
    seconds_of,
    speech_manifest,
    typical,
)
from .verify import Check, reverified

log = logging.getLogger(__name__)

SCHEMA = "difftool/parts/1"
LIST = "manifest.json"
FREE = ("text", "batch_size", "device", "threads")
"""Settings that may change between runs of a reading. Of a changed text only the changed parts are spoken again."""
EARLIER = {"tortoise": "native"}
"""Names of engines in manifests, where earlier versions wrote another one."""


class Take(CandidateRecord):
    """A candidate of a part, in a file of its own."""

    file: str
    sha256: str
    seconds: float
    loudness: float | None
    peak: float


class Entry(TypedDict):
    """A part in the manifest of a reading."""

    number: int
    text: str
    pause: float
    attempt: int
    key: str
    """Hash of everything that it depends on."""
    state: str
    """waiting, done or failed"""
    takes: list[Take]
    check: NotRequired[Check]
    """How it was verified."""
    error: NotRequired[str]


class Joined(TypedDict):
    """The results of a reading: the parts that they are made of, and their hashes, None while one is written."""

    keys: list[list[object]]
    files: dict[str, str | None]
    document: NotRequired[object]
    """The document and its chapters, where there is one."""


class Book(TypedDict):
    """The manifest of a reading."""

    schema: str
    config: dict[str, object]
    joined: Joined | None
    redo: list[int]
    parts: list[Entry]


class ReadResult(NamedTuple):
    """A text that was spoken part by part."""

    parts: list[Entry]
    """Their entries in the manifest."""
    said: int
    """How many of them were spoken in this run."""
    seconds: dict[str, float]
    """Time of each stage."""


def folder_of(output: Path) -> Path:
    """The folder of the parts of a result."""
    return output.with_suffix(".parts")


def spans(text: str, noun: str = "part") -> list[range]:
    """The parts, or what `noun` says, that a list such as 3,7-9 names, counted from 1. Raises DifftoolError 2 for an
    invalid list."""
    ranges = []
    for piece in text.split(","):
        first, _, last = (word.strip() for word in piece.partition("-"))
        is_open = not first or piece.rstrip().endswith("-")
        if is_open or len(piece) > 20 or not (first + last).isdecimal():
            message = f"{text!r} is not a list of {noun}s"
            raise DifftoolError(Exit.USAGE, message, "use numbers and ranges such as 3,7-9")
        span = range(int(first), int(last or first) + 1)
        if not span or not span[0]:
            raise DifftoolError(Exit.USAGE, f"there is no {noun} {piece.strip()}", f"{noun}s are numbered from 1")
        ranges.append(span)
    return ranges


def numbers(text: str | None, count: int, noun: str = "part") -> set[int]:
    """The parts, or what `noun` says, that a list names. Raises DifftoolError 2 for an invalid list or a part that does
    not exist."""
    ranges = [] if text is None else spans(text, noun)
    beyond = next((span for span in ranges if span[-1] > count), None)
    if beyond:
        first, last = beyond[0], beyond[-1]
        label = str(first) if first == last else f"{first}-{last}"
        message = f"there is no {noun} {label}: the text has only {count}"
        raise DifftoolError(Exit.USAGE, message, f"{noun}s are numbered from 1 to {count}")
    return {number for span in ranges for number in span}


def read_aloud(
    plan: SpeechPlan,
    folder: Path,
    *,
    redo: Collection[int] = (),
    overwrite: bool = False,
    until: float | None = None,
    track: Track | None = None,
) -> ReadResult:
    """Speaks the remaining parts of a text, each into a file of its own in `folder`, which the caller has locked. A
    part that exists, complete and with the same settings, is skipped; those in `redo` are spoken again with another
    seed. `until` is the `time.monotonic()` at which to stop.

    Raises DifftoolError: 4 where the folder holds a reading with other settings (without `overwrite`), 5 where parts
    failed and all others are done, 75 where the time limit was reached.
    """
    fresh = not (folder / LIST).exists()
    book = _opened(plan, folder, redo, overwrite=overwrite)
    parts = book["parts"]
    unverified = [plan.verifier is not None and "check" not in part for part in parts]
    todo = [k for k, part in enumerate(parts) if part["state"] != "done" or unverified[k]]
    before = [part["takes"] for part in parts]
    seconds: dict[str, float] = {}
    try:
        if todo:
            speaker = plan.work.speaker()
            work = _saying(plan, speaker, folder, book, todo, until)
            for _ in (track or untracked)(work, len(todo) * plan.steps):
                pass
            seconds = seconds_of(plan, speaker)
    except BaseException:
        if fresh and all(part["state"] == "waiting" for part in parts):
            (folder / LIST).unlink()  # there is nothing to resume from yet
        raise
    _check_failed(parts)
    _remove_unused(folder, parts)
    said = sum(part["takes"] is not takes for part, takes in zip(parts, before, strict=True))
    return ReadResult(parts, said, seconds)


def _check_failed(parts: Sequence[Entry]) -> None:
    """Raises DifftoolError 5 where parts failed."""
    failed = [part for part in parts if part["state"] == "failed"]
    if not failed:
        return
    numbers = [str(part["number"]) for part in failed]
    reason = failed[0].get("error")
    message = f"{len(failed)} of {len(parts)} parts failed ({', '.join(numbers)}): {reason}"
    raise DifftoolError(Exit.PARTIAL, message, f"retry them with --redo {','.join(numbers)}")


def _remove_unused(folder: Path, parts: Sequence[Entry]) -> None:
    """Removes the files of parts that are no longer in the text or were spoken again."""
    used = {take["file"] for part in parts for take in part["takes"]}
    for path in folder.iterdir():
        is_take = re.fullmatch(r"\d+-[0-9a-f]{8}(-\d+)?\.wav", path.name)
        if is_take and path.name not in used:
            path.unlink()


def _saying(
    plan: SpeechPlan, speaker: Speaker, folder: Path, book: Book, todo: Sequence[int], until: float | None
) -> Iterator[None]:
    """Speaks the parts `todo` of a reading, and records each in the manifest when it is done."""
    parts = book["parts"]
    longest = 0.0
    yield from speaker.prepare(plan.work.reference)
    for done, k in enumerate(todo):
        part = parts[k]
        began = time.monotonic()
        if until is not None and done and began + longest > until:
            ready = len(parts) - len(todo) + done
            message = f"time limit reached: {ready} of {len(parts)} parts are done"
            raise DifftoolError(Exit.LATER, message, "run the same command again to resume")
        speaker.keep = not plan.settings.low_vram and k != todo[-1]
        try:
            yield from _say(plan, speaker, folder, book, k)
        except DifftoolError as error:
            if error.code != Exit.FAILED:
                raise
            part["state"] = "failed"
            part["error"] = error.message
        write_json(folder / LIST, book)
        longest = max(longest, time.monotonic() - began)


def _say(plan: SpeechPlan, speaker: Speaker, folder: Path, book: Book, k: int) -> Steps[None]:
    """Speaks a part into its files. One that was verified before is spoken as it was accepted; one that was only spoken
    stays if it is right."""
    part = book["parts"][k]
    check = part.get("check")
    if part["state"] == "done" and plan.verifier:
        take = part["takes"][0]
        sound = from_bytes(samples_of(folder / take["file"]))
        check = reverified(plan.verifier, part["text"], sound, take["sample"], part["attempt"])
        if check:
            part["check"] = check
            return
    said = yield from say_part(plan, speaker, k, part["attempt"], check["sample"] if check else None)
    if said.check:
        part["attempt"], part["check"] = said.attempt, said.check
        numbered = _numbered([each["text"] for each in book["parts"][: k + 1]])[k]
        part["key"] = _key(book["config"], numbered, said.attempt, said.check)
    part["takes"] = [_write_take(folder, part, rank, spoken) for rank, spoken in enumerate(said.candidates)]
    part["state"] = "done"


def pieces(folder: Path, parts: Sequence[Entry], rank: int) -> Iterator[bytes]:
    """The candidates of one rank as one sound, in pieces of 16-bit samples."""
    takes = [part["takes"][rank] for part in parts]
    target = typical([take["loudness"] for take in takes])

    def sounds() -> Iterator[tuple[bytes, float, float]]:
        for part, take in zip(parts, takes, strict=True):
            samples = samples_of(folder / take["file"])
            yield samples, gain(take["loudness"], take["peak"], target), part["pause"]

    return join(sounds())


def lengths(folder: Path, parts: Sequence[Entry], rank: int) -> list[int]:
    """Samples of the candidate of one rank of each part."""
    return [length_of(folder / part["takes"][rank]["file"]) for part in parts]


def brief(take: Take) -> CandidateRecord:
    """The fields of a take that `candidate` returns."""
    return {"sample": take["sample"], "score": take["score"], "stopped": take["stopped"]}


@contextmanager
def joining(folder: Path, outputs: Sequence[Path], plan: SpeechPlan | None = None) -> Iterator[None]:
    """A context in which the results are written. The manifest lists them, with their hashes once they are complete."""
    book = cast(Book, read_json(folder / LIST))
    of = _joined_of(book, plan)
    before = book["joined"]
    others = before["files"] if before and _is_of(before, of) else {}
    pending = {path.name: None for path in outputs}
    begun: Joined = {**of, "files": others | pending}
    write_json(folder / LIST, book | {"joined": begun})
    yield
    written = {path.name: digest_of(path) for path in outputs}
    complete: Joined = {**of, "files": others | written}
    write_json(folder / LIST, book | {"joined": complete, "redo": []})


def made_here(plan: SpeechPlan, folder: Path, outputs: Sequence[Path]) -> bool:
    """Whether the reading in this folder made these results from this text, and nobody has changed them since."""
    book = _book_of(folder, outputs)
    return book is not None and [part["text"] for part in book["parts"]] == [part.text for part in plan.parts]


def refuse_earlier(plan: SpeechPlan, folder: Path, outputs: Sequence[Path]) -> None:
    """Raises DifftoolError 4 if these results were made with the same settings from an earlier form of the text, of
    which some parts can stay."""
    book = _book_of(folder, outputs)
    if not book or not outputs[0].exists():
        return
    stored = book["config"]
    if _differing(_without_newer(plan, _config(plan), stored), stored):
        return
    known = {*_numbered([part["text"] for part in book["parts"]])}
    new = sum(numbered not in known for numbered in _numbered([part.text for part in plan.parts]))
    if new < len(plan.parts):
        message = f"{outputs[0]} exists already, and {new} of {counted(len(plan.parts), 'part')} of the text are new"
        raise DifftoolError(Exit.FILE, message, "add --overwrite to speak only the new parts and write it again")


def _book_of(folder: Path, outputs: Sequence[Path]) -> Book | None:
    """The manifest of the reading that made these results; None if there is none, or somebody has changed them
    since."""
    book = _book(folder)
    try:
        joined = book and book["joined"]
        if not book or not joined:
            return None
        files = joined["files"]
        if not all(path.name in files and _unchanged(path, files[path.name]) for path in outputs):
            return None
        return book if all(isinstance(part["text"], str) for part in book["parts"]) else None
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder) from error


def _unchanged(path: Path, sha256: str | None) -> bool:
    """Whether a result is missing, was never completed, or is as it was written."""
    return not path.exists() or sha256 in (None, digest_of(path))


def finished(folder: Path, outputs: Sequence[Path], plan: SpeechPlan | None = None) -> bool:
    """Whether the results exist and match the parts."""
    book = cast(Book, read_json(folder / LIST))
    joined = book["joined"]
    if not joined or not _is_of(joined, _joined_of(book, plan)):
        return False
    hashes = joined["files"]
    return all(path.exists() and digest_of(path) == hashes.get(path.name) for path in outputs)


def _book(folder: Path) -> Book | None:
    """The manifest of a reading, in any version's form; None where there is none. Raises DifftoolError 4 for a file of
    another kind."""
    if not (folder / LIST).exists():
        return None
    if not files.made_here(folder / LIST):
        raise _damaged(folder)
    return cast(Book, read_json(folder / LIST))


def _joined_of(book: Book, plan: SpeechPlan | None) -> Joined:
    """What a result is made of: the parts, the pauses and the document."""
    keys: list[list[object]] = [[part["key"], part["pause"]] for part in book["parts"]]
    joined: Joined = {"keys": keys, "files": {}}
    if plan is not None and plan.document is not None:
        chapters = [title for _, title in plan.chapters]
        cover = hashlib.sha256(plan.document.cover or b"").hexdigest()
        joined["document"] = {**plan.document.record, "chapters": chapters, "cover": cover}
    return joined


def _is_of(joined: Joined, other: Joined) -> bool:
    """Whether two results are made of the same."""
    return joined.get("keys") == other["keys"] and joined.get("document") == other.get("document")


def _opened(plan: SpeechPlan, folder: Path, redo: Collection[int], *, overwrite: bool) -> Book:
    """The manifest of a reading, updated on disk: which parts are done, and which are still to be spoken."""
    config = _config(plan)
    before = _book(folder)
    try:
        stored = before["config"] if before else config
        config = _without_newer(plan, config, stored)
        differing = _differing(config, stored)
        if differing and not overwrite:
            message = f"{folder} contains a run with other settings: {', '.join(differing)}"
            raise DifftoolError(Exit.FILE, message, "add --overwrite to start over, or choose another -o")
        # an interrupted run has done some of these already
        again = () if before and before["redo"] == sorted(redo) else redo
        known = before["parts"] if before else []
        parts = _entries(plan, folder, config, known, again)
        lost = _lost(plan, folder, known, parts, again)
        joined = before["joined"] if before else None
        if lost and not joined and not overwrite:
            message = f"{folder} contains {lost} parts of another, unfinished text"
            raise DifftoolError(Exit.FILE, message, "add --overwrite to discard them, or choose another -o")
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder) from error
    book: Book = {"schema": SCHEMA, "config": config, "joined": joined, "redo": sorted(redo), "parts": parts}
    write_json(folder / LIST, book)
    return book


def _differing(config: Mapping[str, object], stored: Mapping[str, object]) -> list[str]:
    return [key for key, value in config.items() if stored.get(key) != value]


def _config(plan: SpeechPlan) -> dict[str, object]:
    """The settings, models and voices that all parts of a reading share."""
    note = speech_manifest(plan, "")
    engine = plan.settings.engine
    config = {key: value for key, value in plan.manifest.items() if key not in FREE}
    config["engine"] = EARLIER.get(engine, engine)
    config |= {"models": note["models"], "versions": note["versions"]}
    config["voices"] = [[voice["name"], voice["sha256"]] for voice in note["voices"]]
    return config


def _without_newer(plan: SpeechPlan, config: dict[str, object], stored: Mapping[str, object]) -> dict[str, object]:
    """The settings without those that are newer than the stored ones and have their defaults: parts that were spoken
    before a setting was added stay valid."""
    options = engines.engine(plan.settings.engine).Options
    defaults = {field.name: field.default for cls in (Settings, options) for field in fields(cls)}
    return {key: value for key, value in config.items() if key in stored or defaults.get(key, MISSING) != value}


def _lost(
    plan: SpeechPlan, folder: Path, before: Sequence[Entry], parts: Sequence[Entry], again: Collection[int]
) -> int:
    """How many finished parts in the folder are not in this text."""
    used = {take["file"] for part in parts for take in part["takes"]}
    texts = {part.text for part in plan.parts}
    lost = 0
    for part in before:
        if part["number"] in again or part["text"] in texts:
            continue
        names = [take["file"] for take in part["takes"]]
        unused = any(name not in used for name in names)
        lost += unused and all((folder / name).exists() for name in names)
    return lost


def _damaged(folder: Path) -> DifftoolError:
    message = f"{folder / LIST} is damaged or was not written by difftool"
    return DifftoolError(Exit.FILE, message, "move it away; all parts will then be spoken again")


def _entries(
    plan: SpeechPlan, folder: Path, config: Mapping[str, object], before: Sequence[Entry], redo: Collection[int]
) -> list[Entry]:
    """The entries of a text, with the takes that are still valid."""
    known_texts = _numbered([part["text"] for part in before])
    known = dict(zip(known_texts, before, strict=True))
    texts = _numbered([part.text for part in plan.parts])
    entries: list[Entry] = []
    for k, numbered in enumerate(texts):
        # 1. the same text in the earlier manifest, and whether it is to be spoken again
        earlier = known.get(numbered)
        again = earlier is not None and k + 1 in redo and earlier["state"] != "waiting"
        check = earlier.get("check") if earlier else None
        attempt = earlier["attempt"] if earlier else 0
        if again:
            attempt = 1 + max(attempt, check["last_attempt"] if check else 0)
            check = None
        # 2. its takes, where nothing that they depend on has changed
        key = _key(config, numbered, attempt, check)
        valid = earlier is not None and not again and earlier["key"] == key
        if check and not valid:
            check, key = None, _key(config, numbered, attempt)
        takes = earlier["takes"] if earlier and valid and earlier["state"] == "done" else []
        if not all(_is_intact(folder / take["file"], take["sha256"]) for take in takes):
            log.warning("part %d was changed after it was written; speaking it again", k + 1)
            takes = []
        entry: Entry = {
            "number": k + 1,
            "text": numbered[0],
            "pause": plan.parts[k].pause,
            "attempt": attempt,
            "key": key,
            "state": "done" if takes else "waiting",
            "takes": takes,
        }
        if check:
            entry["check"] = check
        entries.append(entry)
    return entries


def _key(config: Mapping[str, object], numbered: tuple[str, int], attempt: int, check: Check | None = None) -> str:
    """Hash of everything that a part depends on; a sample that is not the best is named."""
    sample = [check["sample"]] if check and check["rank"] else []
    terms = json.dumps([config, numbered, attempt, *sample], sort_keys=True)
    return hashlib.sha256(terms.encode()).hexdigest()


def _numbered(texts: Sequence[str]) -> list[tuple[str, int]]:
    """Each text, and how often it came before."""
    count: Counter[str] = Counter()
    numbered = []
    for text in texts:
        numbered.append((text, count[text]))
        count[text] += 1
    return numbered


def _is_intact(path: Path, sha256: str) -> bool:
    return path.is_file() and digest_of(path) == sha256


def _write_take(folder: Path, part: Entry, rank: int, spoken: Spoken) -> Take:
    """Writes a candidate of a part to its file, and describes it."""
    number, sound = part["number"], spoken.sound
    stem = f"{number:04d}-{part['key'][:8]}"
    path = folder / (f"{stem}-{rank}.wav" if rank else f"{stem}.wav")
    write_sound(path, [to_bytes(sound)], {"title": f"{SYNTHETIC}, part {number}"})
    return {
        "file": path.name,
        "sha256": digest_of(path),
        "seconds": round(len(sound) / RATE, 3),
        **candidate_record(spoken),
        "loudness": loudness(sound),
        "peak": float(np.abs(sound).max(initial=0)),
    }
