"""Long texts: spoken part by part into a folder beside the result, resumed after an interruption."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import processes
from ..audio.files import RATE, length_of, samples_of, write_sound
from ..audio.joining import from_bytes, gain, join, to_bytes
from ..audio.loudness import loudness
from ..errors import DifftoolError, Exit
from ..files import digest_of, write_json
from ..progress import Track, untracked
from .engines import Speaker, Spoken, Steps
from .plan import SpeechPlan
from .reading import LIST, Book, Entry, Take, key_of, numbered_texts, opened
from .speak import (
    SYNTHETIC,
    CandidateRecord,
    candidate_record,
    say_part,
    seconds_of,
    typical,
)
from .verify import reverified


class ReadResult(NamedTuple):
    """A text that was spoken part by part."""

    parts: list[Entry]
    """Their entries in the manifest."""
    said: int
    """How many of them were spoken in this run."""
    seconds: dict[str, float]
    """Time of each stage."""


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
    seed. `until` is the `time.monotonic()` at which to stop. Several processes share out the parts, and the first one
    keeps the manifest.

    Raises DifftoolError: 4 where the folder holds a reading with other settings (without `overwrite`), 5 where parts
    failed and all others are done, 75 where the time limit was reached.
    """
    fresh, book = processes.agreed(
        lambda: (not (folder / LIST).exists(), opened(plan, folder, redo, overwrite=overwrite))
    )
    parts = book["parts"]
    unverified = [plan.verifier is not None and "check" not in part for part in parts]
    todo = [k for k, part in enumerate(parts) if part["state"] != "done" or unverified[k]]
    if processes.count() > 1:  # which wait for each other: parts of one length at a time
        todo.sort(key=lambda k: -len(parts[k]["text"]))
    said: list[int] = []
    seconds: dict[str, float] = {}
    try:
        if todo:
            with processes.together():
                speaker = plan.work.speaker()
            work = _saying(plan, speaker, folder, book, todo, until, said)
            own = todo[processes.rank() :: processes.count()]
            for _ in (track or untracked)(work, len(own) * plan.steps):
                pass
            seconds = seconds_of(plan, speaker)
    except BaseException:
        if fresh and not processes.rank() and all(part["state"] == "waiting" for part in parts):
            (folder / LIST).unlink()  # there is nothing to resume from yet
        raise

    def close() -> None:
        _check_failed(parts)
        _remove_unused(folder, parts)

    processes.agreed(close)
    return ReadResult(parts, len(said), seconds)


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
    plan: SpeechPlan,
    speaker: Speaker,
    folder: Path,
    book: Book,
    todo: Sequence[int],
    until: float | None,
    said: list[int],
) -> Iterator[None]:
    """Speaks the parts `todo` of a reading, and records each in the manifest when it is done; `said` receives those
    that were spoken."""
    parts = book["parts"]
    own = todo[processes.rank() :: processes.count()]
    longest = 0.0
    with processes.together():
        yield from speaker.prepare(plan.work.reference)
    for turn in processes.turns(todo):
        began = time.monotonic()
        if until is not None and turn[0] != todo[0]:
            ready = len(parts) - len(todo) + todo.index(turn[0])
            processes.agreed(partial(_check_time, until - longest, ready, len(parts)))
        done: list[tuple[int, Entry, bool]] = []
        try:
            with processes.together() as done:
                for k in processes.mine(turn):
                    speaker.keep = not plan.settings.low_vram and k != own[-1]
                    is_spoken = yield from _say_or_note(plan, speaker, folder, book, k)
                    done.append((k, parts[k], is_spoken))
        finally:  # also where another process failed
            for k, part, is_spoken in done:
                parts[k] = part
                said += [k] * is_spoken
            if done and not processes.rank():
                write_json(folder / LIST, book)
        longest = max(longest, time.monotonic() - began)


def _check_time(until: float, ready: int, count: int) -> None:
    """Raises DifftoolError 75 where a part would end after the time limit."""
    if time.monotonic() > until:
        message = f"time limit reached: {ready} of {count} parts are done"
        raise DifftoolError(Exit.LATER, message, "run the same command again to resume")


def _say_or_note(plan: SpeechPlan, speaker: Speaker, folder: Path, book: Book, k: int) -> Steps[bool]:
    """Speaks a part into its files, or notes why that failed; whether it was spoken."""
    try:
        return (yield from _say(plan, speaker, folder, book, k))
    except DifftoolError as error:
        if error.code != Exit.FAILED:
            raise
        part = book["parts"][k]
        part["state"] = "failed"
        part["error"] = error.message
        return False


def _say(plan: SpeechPlan, speaker: Speaker, folder: Path, book: Book, k: int) -> Steps[bool]:
    """Speaks a part into its files; whether it was spoken. One that was verified before is spoken as it was accepted;
    one that was only spoken stays if it is right."""
    part = book["parts"][k]
    check = part.get("check")
    if part["state"] == "done" and plan.verifier:
        take = part["takes"][0]
        sound = from_bytes(samples_of(folder / take["file"]))
        check = reverified(plan.verifier, part["text"], sound, take["sample"], part["attempt"])
        if check:
            part["check"] = check
            return False
    said = yield from say_part(plan, speaker, k, part["attempt"], check["sample"] if check else None)
    if said.check:
        part["attempt"], part["check"] = said.attempt, said.check
        numbered = numbered_texts([each["text"] for each in book["parts"][: k + 1]])[k]
        part["key"] = key_of(book["config"], numbered, said.attempt, said.check)
    part["takes"] = [_write_take(folder, part, rank, spoken) for rank, spoken in enumerate(said.candidates)]
    part["state"] = "done"
    return True


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
