"""The manifest of a text that is spoken in parts: which are done, and what the results were made of."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from .. import files
from ..errors import DifftoolError, Exit
from ..files import digest_of, read_json, write_json
from ..limits import counted
from . import engines
from .plan import SpeechPlan
from .settings import Settings
from .speak import CandidateRecord, speech_manifest
from .verify import Check

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


def folder_of(output: Path) -> Path:
    """The folder of the parts of a result."""
    return output.with_suffix(".parts")


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
    known = {*numbered_texts([part["text"] for part in book["parts"]])}
    new = sum(numbered not in known for numbered in numbered_texts([part.text for part in plan.parts]))
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


def opened(plan: SpeechPlan, folder: Path, redo: Collection[int], *, overwrite: bool) -> Book:
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
    if "words" in note:
        config["words"] = note["words"]
    if "trained" in note:
        config["trained"] = note["trained"]
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
    known_texts = numbered_texts([part["text"] for part in before])
    known = dict(zip(known_texts, before, strict=True))
    texts = numbered_texts([part.text for part in plan.parts])
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
        key = key_of(config, numbered, attempt, check)
        valid = earlier is not None and not again and earlier["key"] == key
        if check and not valid:
            check, key = None, key_of(config, numbered, attempt)
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


def key_of(config: Mapping[str, object], numbered: tuple[str, int], attempt: int, check: Check | None = None) -> str:
    """Hash of everything that a part depends on; a sample that is not the best is named."""
    sample = [check["sample"]] if check and check["rank"] else []
    terms = json.dumps([config, numbered, attempt, *sample], sort_keys=True)
    return hashlib.sha256(terms.encode()).hexdigest()


def numbered_texts(texts: Sequence[str]) -> list[tuple[str, int]]:
    """Each text, and how often it came before."""
    count: Counter[str] = Counter()
    numbered = []
    for text in texts:
        numbered.append((text, count[text]))
        count[text] += 1
    return numbered


def _is_intact(path: Path, sha256: str) -> bool:
    return path.is_file() and digest_of(path) == sha256
