"""Long texts: said part by part into a folder beside the result, and gone on with after whatever stopped it."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict, cast

import numpy as np

from .. import files
from ..audio.files import RATE, samples_of, write
from ..audio.joining import gain, join, to_bytes
from ..audio.loudness import loudness
from ..errors import DifftoolError, Exit
from ..files import read_json, write_json
from ..progress import Track, untracked
from .engines import Speaker, Spoken
from .library import digest_of
from .plan import Plan
from .speak import SYNTHETIC, Candidate, candidate, described, seeds, typical

log = logging.getLogger(__name__)

SCHEMA = "difftool/parts/1"
LIST = "manifest.json"
FREE = ("text", "batch_size", "device", "threads")
"""Settings that may change while a reading goes on. Of the text only what has changed is said again."""
EARLIER = {"tortoise": "native"}
"""Names of engines in readings, which go on whatever version began them."""


class Take(Candidate):
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
    """Of everything that it is made of."""
    state: str
    """waiting, done or failed"""
    takes: list[Take]
    error: NotRequired[str]


class Joined(TypedDict):
    """The results of a reading: of which parts, and their hashes, None while one is written."""

    keys: list[list[object]]
    files: dict[str, str | None]


class Book(TypedDict):
    """The manifest of a reading."""

    schema: str
    config: dict[str, object]
    joined: Joined | None
    redo: list[int]
    parts: list[Entry]


class Read(NamedTuple):
    """A text that was said part by part."""

    parts: list[Entry]
    """What the manifest tells of each."""
    said: int
    """How many of them were said in this run."""
    seconds: dict[str, float]
    """How long each stage of it took."""


def folder_of(output: Path) -> Path:
    """The folder of the parts of a result."""
    return output.with_suffix(".parts")


def spans(text: str) -> list[range]:
    """The parts that a list such as 3,7-9 names, counted from 1. Raises DifftoolError 2 for what is no list."""
    found = []
    for piece in text.split(","):
        first, _, last = (word.strip() for word in piece.partition("-"))
        if not (first + last).isdecimal() or len(piece) > 20 or not first or piece.rstrip().endswith("-"):
            raise DifftoolError(Exit.USAGE, f"{text!r} is no list of parts", "give numbers and spans such as 3,7-9")
        found.append(range(int(first), int(last or first) + 1))
        if not found[-1] or not found[-1][0]:
            raise DifftoolError(Exit.USAGE, f"there is no part {piece.strip()}", "they are numbered from 1")
    return found


def numbers(text: str | None, count: int) -> set[int]:
    """The parts that a list names. Raises DifftoolError 2 for what is no list, or a part that is not there."""
    found = [] if text is None else spans(text)
    if beyond := next((span for span in found if span[-1] > count), None):
        which = f"{beyond[0]}-{beyond[-1]}" if len(beyond) > 1 else str(beyond[0])
        what = f"there is no part {which}: the text has {count}"
        raise DifftoolError(Exit.USAGE, what, f"they are numbered from 1 to {count}")
    return {number for span in found for number in span}


def read(
    plan: Plan,
    folder: Path,
    *,
    redo: Collection[int] = (),
    overwrite: bool = False,
    until: float | None = None,
    track: Track | None = None,
) -> Read:
    """Says what is still to be said of a text, each part into a file of its own in `folder`, which the caller has
    locked. A part that is there, whole and of the same settings, is not said again, but for those of `redo`, which are
    said in another way. `until` is the `time.monotonic()` at which to stop.

    Raises DifftoolError: 4 where the folder holds a reading with other settings (without `overwrite`), 5 where parts
    failed and all others are said, 75 where time ended.
    """
    fresh = not (folder / LIST).exists()
    book = _opened(plan, folder, redo, overwrite=overwrite)
    parts = book["parts"]
    todo = [part["number"] - 1 for part in parts if part["state"] != "done"]
    seconds: dict[str, float] = {}
    try:
        if todo:
            speaker = plan.work.speaker()
            seconds = speaker.seconds
            for _ in (track or untracked)(_saying(plan, speaker, folder, book, todo, until), len(todo) * plan.steps):
                pass
    except BaseException:
        if fresh and all(part["state"] == "waiting" for part in parts):
            (folder / LIST).unlink()  # nothing is there yet to go on from
        raise
    if failed := [part for part in parts if part["state"] == "failed"]:
        which = ", ".join(str(part["number"]) for part in failed)
        message = f"{len(failed)} of {len(parts)} parts failed, {which}: {failed[0].get('error')}"
        hint = f"say them in another way with --redo {which.replace(' ', '')}"
        raise DifftoolError(Exit.PARTIAL, message, hint)
    used = {take["file"] for part in parts for take in part["takes"]}
    for path in folder.iterdir():
        if re.fullmatch(r"\d+-[0-9a-f]{8}(-\d+)?\.wav", path.name) and path.name not in used:
            path.unlink()  # of a part that is no more, or was said again
    return Read(parts, len(todo), seconds)


def _saying(
    plan: Plan, speaker: Speaker, folder: Path, book: Book, todo: Sequence[int], until: float | None
) -> Iterator[None]:
    """Says parts of a book, and notes each in it when it is said."""
    parts = book["parts"]
    sown = seeds(plan, [part["attempt"] for part in parts])
    longest = 0.0
    yield from speaker.prepare(plan.work.reference)
    for done, k in enumerate(todo):
        began = time.monotonic()
        if until is not None and done and began + longest > until:
            message = f"time ended: {len(parts) - len(todo) + done} of {len(parts)} parts are said"
            raise DifftoolError(Exit.LATER, message, "run the same command again to go on")
        speaker.keep = not plan.settings.low_vram and k != todo[-1]
        try:
            spoken = yield from speaker.say(parts[k]["text"], sown[k])
        except DifftoolError as error:
            if error.code != Exit.FAILED:
                raise
            parts[k]["state"], parts[k]["error"] = "failed", error.message
        else:
            parts[k]["takes"] = [_kept(folder, parts[k], rank, take) for rank, take in enumerate(spoken)]
            parts[k]["state"] = "done"
        write_json(folder / LIST, book)
        longest = max(longest, time.monotonic() - began)


def pieces(folder: Path, parts: Sequence[Entry], rank: int) -> Iterator[bytes]:
    """The candidates of one rank as one sound, in pieces of 16-bit samples."""
    takes = [part["takes"][rank] for part in parts]
    wanted = typical([take["loudness"] for take in takes])
    return join(
        (samples_of(folder / take["file"]), gain(take["loudness"], take["peak"], wanted), part["pause"])
        for part, take in zip(parts, takes, strict=True)
    )


def brief(take: Take) -> Candidate:
    """What of a take `candidate` gave."""
    return {"sample": take["sample"], "score": take["score"], "stopped": take["stopped"]}


@contextmanager
def joining(folder: Path, outputs: Sequence[Path]) -> Iterator[None]:
    """Within it the results are written. They are noted as made here, with their hashes when they are whole."""
    book = cast(Book, read_json(folder / LIST))
    keys, before = _keys(book), book["joined"]
    others = before["files"] if before and before.get("keys") == keys else {}
    begun: Joined = {"keys": keys, "files": others | {path.name: None for path in outputs}}
    write_json(folder / LIST, book | {"joined": begun})
    yield
    whole: Joined = {"keys": keys, "files": others | {path.name: digest_of(path) for path in outputs}}
    write_json(folder / LIST, book | {"joined": whole, "redo": []})


def made_here(plan: Plan, folder: Path, outputs: Sequence[Path]) -> bool:
    """Whether the reading in this folder has made these results, of this text, and those that are there have not been
    changed since."""
    book = _book(folder)
    try:
        joined = book and book["joined"]
        if not book or not joined or [part["text"] for part in book["parts"]] != [part.text for part in plan.parts]:
            return False
        files = joined["files"]
        return all(
            path.name in files and (not path.exists() or files[path.name] in (None, digest_of(path)))
            for path in outputs
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder) from error


def finished(folder: Path, outputs: Sequence[Path]) -> bool:
    """Whether the results are there and are what the parts are."""
    book = cast(Book, read_json(folder / LIST))
    joined = book["joined"]
    if not joined or joined.get("keys") != _keys(book):
        return False
    return all(path.exists() and digest_of(path) == joined["files"].get(path.name) for path in outputs)


def _book(folder: Path) -> Book | None:
    """The manifest of a reading, which may be of another form; None where there is none. Raises DifftoolError 4 for a
    file that is none."""
    if not (folder / LIST).exists():
        return None
    if not files.made_here(folder / LIST):
        raise _damaged(folder)
    return cast(Book, read_json(folder / LIST))


def _keys(book: Book) -> list[list[object]]:
    """What a result is made of."""
    return [[part["key"], part["pause"]] for part in book["parts"]]


def _opened(plan: Plan, folder: Path, redo: Collection[int], *, overwrite: bool) -> Book:
    """The manifest of a reading, written already: what is there of it, and what is to be said."""
    note = described(plan, "")
    config = {key: value for key, value in plan.manifest.items() if key not in FREE}
    config["engine"] = EARLIER.get(plan.settings.engine, plan.settings.engine)
    config |= {"models": note["models"], "versions": note["versions"]}
    config["voices"] = [[voice["name"], voice["sha256"]] for voice in note["voices"]]
    before = _book(folder)
    try:
        differing = [key for key, value in config.items() if before and before["config"].get(key) != value]
        if differing and not overwrite:
            message = f"{folder} holds a reading with other settings: {', '.join(differing)}"
            raise DifftoolError(Exit.FILE, message, "say --overwrite to begin anew, or choose another -o")
        # a run that was stopped has said some of these already
        again = () if before and before["redo"] == sorted(redo) else redo
        known = before["parts"] if before else []
        parts = _entries(plan, folder, config, known, again)
        lost = _lost(plan, folder, known, parts, again)
        joined = before["joined"] if before else None
        if lost and not joined and not overwrite:
            message = f"{folder} holds {lost} parts of another text that was never finished"
            raise DifftoolError(Exit.FILE, message, "say --overwrite to let them go, or choose another -o")
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder) from error
    book: Book = {"schema": SCHEMA, "config": config, "joined": joined, "redo": sorted(redo), "parts": parts}
    write_json(folder / LIST, book)
    return book


def _lost(plan: Plan, folder: Path, before: Sequence[Entry], parts: Sequence[Entry], again: Collection[int]) -> int:
    """How many parts that were said, and are whole, are none of this text."""
    kept = {take["file"] for part in parts for take in part["takes"]}
    others = [part for part in before if part["number"] not in again and part["text"] not in _texts(plan)]
    return sum(
        any(take["file"] not in kept for take in part["takes"])
        and all((folder / take["file"]).exists() for take in part["takes"])
        for part in others
    )


def _texts(plan: Plan) -> set[str]:
    return {part.text for part in plan.parts}


def _damaged(folder: Path) -> DifftoolError:
    return DifftoolError(
        Exit.FILE, f"{folder / LIST} is damaged, or not of difftool", "move it away: the parts are said again"
    )


def _entries(
    plan: Plan, folder: Path, config: Mapping[str, object], before: Sequence[Entry], redo: Collection[int]
) -> list[Entry]:
    known = dict(zip(_numbered([part["text"] for part in before]), before, strict=True))
    made: list[Entry] = []
    for k, numbered in enumerate(_numbered([part.text for part in plan.parts])):
        was = known.get(numbered)
        again = was is not None and k + 1 in redo and was["state"] != "waiting"
        attempt = was["attempt"] + again if was else 0
        key = hashlib.sha256(json.dumps([config, numbered, attempt], sort_keys=True).encode()).hexdigest()
        takes = was["takes"] if was and not again and was["key"] == key and was["state"] == "done" else []
        if not all(_whole(folder / take["file"], take["sha256"]) for take in takes):
            log.warning("part %d is not what was written, and is said again", k + 1)
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
        made.append(entry)
    return made


def _numbered(texts: Sequence[str]) -> list[tuple[str, int]]:
    """Each text, and how often it came before."""
    came: Counter[str] = Counter()
    numbered = []
    for text in texts:
        numbered.append((text, came[text]))
        came[text] += 1
    return numbered


def _whole(path: Path, sha256: str) -> bool:
    return path.is_file() and digest_of(path) == sha256


def _kept(folder: Path, part: Entry, rank: int, spoken: Spoken) -> Take:
    """Writes a candidate of a part to its file, and tells of it."""
    stem, sound = f"{part['number']:04d}-{part['key'][:8]}", spoken.sound
    path = folder / (f"{stem}-{rank}.wav" if rank else f"{stem}.wav")
    write(path, [to_bytes(sound)], {"title": f"{SYNTHETIC}, part {part['number']}"})
    return {
        "file": path.name,
        "sha256": digest_of(path),
        "seconds": round(len(sound) / RATE, 3),
        **candidate(spoken),
        "loudness": loudness(sound),
        "peak": float(np.abs(sound).max(initial=0)),
    }
