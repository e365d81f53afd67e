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
from typing import Any, NamedTuple

import numpy as np

from .. import files
from ..audio.files import RATE, samples_of, write
from ..audio.joining import gain, join, to_bytes
from ..audio.loudness import loudness
from ..errors import DifftoolError, Exit
from ..files import digest_of, read_json, write_json
from ..progress import Track
from .engines.tortoise.synthesis import Spoken
from .plan import Plan
from .speak import SYNTHETIC, described, networks, seeds, speaker, told_of, typical

log = logging.getLogger(__name__)

SCHEMA = "difftool/parts/1"
LIST = "manifest.json"
FREE = ("text", "batch_size", "device", "threads")
"""Settings that may change while a reading goes on. Of the text only what has changed is said again."""


class Read(NamedTuple):
    """A text that was said part by part."""

    parts: list[dict[str, Any]]
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
    low_vram: bool = False,
    cache: bool = True,
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
    nets, sown = networks(plan), seeds(plan, [part["attempt"] for part in parts])
    todo = [part["number"] - 1 for part in parts if part["state"] != "done"]
    longest = 0.0

    def steps() -> Iterator[None]:
        nonlocal longest
        say = speaker(plan, nets, cache=cache)
        for done, k in enumerate(todo):
            began = time.monotonic()
            if until is not None and done and began + longest > until:
                what = f"time ended: {len(parts) - len(todo) + done} of {len(parts)} parts are said"
                raise DifftoolError(Exit.LATER, what, "run the same command again to go on")
            nets.keep = not low_vram and k != todo[-1]
            try:
                spoken = yield from say(parts[k]["text"], sown[k], None)
            except DifftoolError as error:
                if error.code != Exit.FAILED:
                    raise
                parts[k] |= {"state": "failed", "error": error.message}
            else:
                takes = [_kept(folder, parts[k], rank, one) for rank, one in enumerate(spoken)]
                parts[k] |= {"state": "done", "takes": takes}
            write_json(folder / LIST, book)
            longest = max(longest, time.monotonic() - began)

    try:
        for _ in track(steps(), len(todo) * plan.steps) if track and todo else steps() if todo else ():
            pass
    except BaseException:
        if fresh and all(part["state"] == "waiting" for part in parts):
            (folder / LIST).unlink()  # nothing is there yet to go on from
        raise
    if failed := [part for part in parts if part["state"] == "failed"]:
        which = ", ".join(str(part["number"]) for part in failed)
        what = f"{len(failed)} of {len(parts)} parts failed, {which}: {failed[0]['error']}"
        hint = f"say them in another way with --redo {which.replace(' ', '')}"
        raise DifftoolError(Exit.PARTIAL, what, hint)
    used = {take["file"] for part in parts for take in part["takes"]}
    for path in folder.iterdir():
        if re.fullmatch(r"\d+-[0-9a-f]{8}(-\d+)?\.wav", path.name) and path.name not in used:
            path.unlink()  # of a part that is no more, or was said again
    return Read(parts, len(todo), nets.seconds)


def pieces(folder: Path, parts: Sequence[Mapping[str, Any]], rank: int) -> Iterator[bytes]:
    """The candidates of one rank as one sound, in pieces of 16-bit samples."""
    takes = [part["takes"][rank] for part in parts]
    wanted = typical([take["loudness"] for take in takes])
    return join(
        (samples_of(folder / take["file"]), gain(take["loudness"], take["peak"], wanted), part["pause"])
        for part, take in zip(parts, takes, strict=True)
    )


def brief(take: Mapping[str, Any]) -> dict[str, Any]:
    """What of a take `told_of` had told."""
    return {key: take[key] for key in ("sample", "score", "stopped")}


@contextmanager
def joining(folder: Path, outputs: Sequence[Path]) -> Iterator[None]:
    """Within it the results are written. They are noted as made here, with their hashes when they are whole."""
    book = read_json(folder / LIST)
    keys, before = _keys(book), book["joined"] or {}
    others = before["files"] if before.get("keys") == keys else {}
    write_json(
        folder / LIST, book | {"joined": {"keys": keys, "files": others | {path.name: None for path in outputs}}}
    )
    yield
    files = others | {path.name: digest_of(path) for path in outputs}
    write_json(folder / LIST, book | {"joined": {"keys": keys, "files": files}, "redo": []})


def made_here(plan: Plan, folder: Path, outputs: Sequence[Path]) -> bool:
    """Whether the reading in this folder has made these results, of this text, and those that are there have not been
    changed since."""
    book = _book(folder)
    try:
        joined = book.get("joined")
        if not joined or [part["text"] for part in book["parts"]] != [part.text for part in plan.parts]:
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
    book = read_json(folder / LIST)
    joined = book["joined"] or {}
    if joined.get("keys") != _keys(book):
        return False
    return all(path.exists() and digest_of(path) == joined["files"].get(path.name) for path in outputs)


def _book(folder: Path) -> dict[str, Any]:
    """The manifest of a reading; nothing where there is none. Raises DifftoolError 4 for a file that is none."""
    if not (folder / LIST).exists():
        return {}
    if not files.made_here(folder / LIST):
        raise _damaged(folder)
    return read_json(folder / LIST)


def _keys(book: Mapping[str, Any]) -> list[Any]:
    """What a result is made of."""
    return [[part["key"], part["pause"]] for part in book["parts"]]


def _opened(plan: Plan, folder: Path, redo: Collection[int], *, overwrite: bool) -> dict[str, Any]:
    """The manifest of a reading, written already: what is there of it, and what is to be said."""
    note = described(plan, "")
    config = {key: value for key, value in plan.settings.items() if key not in FREE}
    config |= {key: note[key] for key in ("models", "versions")}
    config["voices"] = [[voice["name"], voice["sha256"]] for voice in note["voices"]]
    before = _book(folder)
    try:
        differing = [key for key, value in config.items() if before and before["config"].get(key) != value]
        if differing and not overwrite:
            what = f"{folder} holds a reading with other settings: {', '.join(differing)}"
            raise DifftoolError(Exit.FILE, what, "say --overwrite to begin anew, or choose another -o")
        # a run that was stopped has said some of these already
        again = () if before.get("redo") == sorted(redo) else redo
        parts = _entries(plan, folder, config, before.get("parts", []), again)
        kept = {take["file"] for part in parts for take in part["takes"]}
        lost = [
            part["number"]
            for part in before.get("parts", [])
            if part["number"] not in again
            and any(take["file"] not in kept for take in part["takes"])
            and all((folder / take["file"]).exists() for take in part["takes"])
            and part["text"] not in _texts(plan)
        ]
        if lost and not before.get("joined") and not overwrite:
            what = f"{folder} holds {len(lost)} parts of another text that was never finished"
            raise DifftoolError(Exit.FILE, what, "say --overwrite to let them go, or choose another -o")
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder) from error
    book = {"schema": SCHEMA, "config": config, "joined": before.get("joined"), "redo": sorted(redo), "parts": parts}
    write_json(folder / LIST, book)
    return book


def _texts(plan: Plan) -> set[str]:
    return {part.text for part in plan.parts}


def _damaged(folder: Path) -> DifftoolError:
    return DifftoolError(
        Exit.FILE, f"{folder / LIST} is damaged, or not of difftool", "move it away: the parts are said again"
    )


def _entries(
    plan: Plan, folder: Path, config: Mapping[str, Any], before: Sequence[Mapping[str, Any]], redo: Collection[int]
) -> list[dict[str, Any]]:
    known = dict(zip(_told_apart([part["text"] for part in before]), before, strict=True))
    made = []
    for k, told in enumerate(_told_apart([part.text for part in plan.parts])):
        was = known.get(told, {"attempt": 0, "state": "waiting", "key": "", "takes": []})
        again = k + 1 in redo and was["state"] != "waiting"
        attempt = was["attempt"] + again
        key = hashlib.sha256(json.dumps([config, told, attempt], sort_keys=True).encode()).hexdigest()
        entry = {"number": k + 1, "text": told[0], "pause": plan.parts[k].pause, "attempt": attempt, "key": key}
        done = not again and was["key"] == key and was["state"] == "done"
        if done and not all(_whole(folder / take["file"], take["sha256"]) for take in was["takes"]):
            log.warning("part %d is not what was written, and is said again", k + 1)
            done = False
        made.append(entry | ({"state": "done", "takes": was["takes"]} if done else {"state": "waiting", "takes": []}))
    return made


def _told_apart(texts: Sequence[str]) -> list[tuple[str, int]]:
    """Each text, and how often it came before."""
    came: Counter[str] = Counter()
    told = []
    for text in texts:
        told.append((text, came[text]))
        came[text] += 1
    return told


def _whole(path: Path, sha256: str) -> bool:
    return path.is_file() and digest_of(path) == sha256


def _kept(folder: Path, part: Mapping[str, Any], rank: int, one: Spoken) -> dict[str, Any]:
    """Writes a candidate of a part to its file, and tells of it."""
    stem, sound = f"{part['number']:04d}-{part['key'][:8]}", one.sound.numpy()
    path = folder / (f"{stem}-{rank}.wav" if rank else f"{stem}.wav")
    write(path, [to_bytes(sound)], {"title": f"{SYNTHETIC}, part {part['number']}"})
    heard = {"loudness": loudness(sound), "peak": float(np.abs(sound).max(initial=0))}
    return {"file": path.name, "sha256": digest_of(path), "seconds": round(len(sound) / RATE, 3)} | told_of(one) | heard
