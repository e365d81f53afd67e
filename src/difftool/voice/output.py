"""Speech in files: short texts and long readings."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np
from torch import Tensor

from .. import processes
from ..audio import FORMATS
from ..audio.files import RATE, Mark
from ..audio.joining import to_bytes
from ..errors import DifftoolError, Exit
from ..files import MARK, expanded, lock, replacing, run_id, unused, writable
from ..outputs import refuse_other
from ..progress import Track
from ..provenance import beside
from . import long_text, reading
from .documents import Document
from .plan import SpeechPlan, plan_speech_with
from .provenance import ChapterRecord, chapter_records, save
from .speak import CandidateRecord, Cloned, Manifest, marks_of, speech_manifest
from .verify import Check


class Item(TypedDict):
    """A sound that was written."""

    index: int
    """Its rank among the candidates."""
    seconds: float
    parts: Sequence[CandidateRecord]
    chapters: NotRequired[list[ChapterRecord]]


class Written(NamedTuple):
    """Speech in files."""

    items: list[Item]
    manifest: Manifest
    seconds: Mapping[str, float]
    """How long each stage took."""
    checks: Sequence[Check | None] = ()
    """How each part was verified."""


class Reading(NamedTuple):
    """A long text in files."""

    written: Written
    folder: Path
    """Of the parts."""
    parts: int
    said: int
    """How many of them were spoken in this run."""
    joined: bool
    """Whether the files were written in this run; False where they existed already."""


def write(
    plan: SpeechPlan,
    cloned: Cloned,
    sounds: Sequence[Path],
    *,
    only: int | None = None,
    stages: tuple[Path, Mapping[str, Tensor]] | None = None,
) -> Written:
    """Writes the candidates (`only` the one of that rank), each with its manifest beside it, and the intermediate
    tensors of the networks to an .npz file."""
    ranks = [only] if only is not None else [*range(plan.settings.candidates)]
    for k, path in zip(ranks, sounds, strict=True):
        note = {**cloned.manifest, "item": {"index": k}}
        save(path, [to_bytes(cloned.sounds[k])], note, cloned.marks[k], plan.document)
    if stages is not None:
        _write_stages(*stages)
    candidates = cloned.manifest.get("said", [])
    items: list[Item] = []
    for k in ranks:
        seconds = round(len(cloned.sounds[k]) / RATE, 3)
        items.append(_item(k, seconds, [part[k] for part in candidates], cloned.marks[k]))
    return Written(items, cloned.manifest, cloned.seconds, cloned.checks)


def _item(index: int, seconds: float, parts: Sequence[CandidateRecord], marks: Sequence[Mark]) -> Item:
    item: Item = {"index": index, "seconds": seconds, "parts": parts}
    if marks:
        item["chapters"] = chapter_records(marks)
    return item


def _write_stages(path: Path, stages: Mapping[str, Tensor]) -> None:
    with replacing(path) as temporary, temporary.open("w+b") as file:
        arrays = {name: tensor.cpu().numpy() for name, tensor in stages.items()}
        np.savez(file, **arrays)  # type: ignore[arg-type]
        with zipfile.ZipFile(file, "a") as archive:
            archive.comment = b'%sstages/1"' % MARK


def read_out(
    text: str | Document,
    outputs: str | Path | Sequence[str | Path],
    voice: str = "random",
    *,
    redo: str | None = None,
    overwrite: bool = False,
    max_minutes: float | None = None,
    track: Track | None = None,
    **settings: Any,
) -> Reading:
    """Speaks a long text, or a document of `read_document`, part by part into a folder beside the result, resuming an
    earlier run, and joins the parts.

    - `outputs`: the file of the result, or one for each candidate.
    - `redo`: parts to speak again, such as 3,7-9.
    - `max_minutes`: no part is begun after this time.
    - `settings`: as for `clone`.

    Raises DifftoolError as `clone`, and: 2 for a part that does not exist, 4 for a file that exists or a folder with
    other settings (without `overwrite`), 5 where parts failed and all others are done, 75 where the time limit was
    reached or another run uses the folder.
    """
    if max_minutes is not None and not max_minutes >= 0:  # which NaN is not
        raise DifftoolError(Exit.USAGE, f"max_minutes must be at least 0, not {max_minutes}", "leave it out")
    until = None if max_minutes is None else time.monotonic() + 60 * max_minutes
    paths = [outputs] if isinstance(outputs, (str, Path)) else outputs
    sounds = [expanded(path) for path in paths]
    for sound in sounds:
        refuse_other(sound, f"speech is written as {', '.join(FORMATS)}", [*FORMATS])
    planned = plan_speech_with(text, voice, **settings)
    planned.settings.connect()
    candidates = planned.settings.candidates
    if len(sounds) != candidates:
        message = f"{candidates} candidates need {candidates} output files, not {len(sounds)}"
        raise DifftoolError(Exit.USAGE, message, "pass one file for each candidate")
    return read_plan(planned, sounds, redo=redo, overwrite=overwrite, until=until, track=track)


def read_plan(
    plan: SpeechPlan,
    sounds: Sequence[Path],
    *,
    redo: str | None = None,
    overwrite: bool = False,
    until: float | None = None,
    track: Track | None = None,
    run: str | None = None,
) -> Reading:
    """`read_out` of a plan. `until` is the `time.monotonic()` at which to stop, `run` the id of the run in the
    manifest."""
    again = long_text.numbers(redo, len(plan.parts))
    folder = reading.folder_of(sounds[0])
    processes.agreed(lambda: _check_unused(plan, folder, sounds, overwrite=overwrite))
    with processes.in_first(writable(sounds[0].parent, folder)), processes.in_first(lock(folder)):
        done = long_text.read_aloud(plan, folder, redo=again, overwrite=overwrite, until=until, track=track)
        return processes.agreed(lambda: _joined(plan, folder, sounds, done, run or run_id()))


def _check_unused(plan: SpeechPlan, folder: Path, sounds: Sequence[Path], *, overwrite: bool) -> None:
    """Raises DifftoolError 4 where the results exist and may not be written again."""
    ours = reading.made_here(plan, folder, sounds)
    if not ours and not overwrite:
        reading.refuse_earlier(plan, folder, sounds)
    unused(sounds if ours else [*sounds, *map(beside, sounds)], overwrite=overwrite or ours)


def _joined(plan: SpeechPlan, folder: Path, sounds: Sequence[Path], done: long_text.ReadResult, run: str) -> Reading:
    """Joins the parts into the results, unless they exist already."""
    attempts = [part["attempt"] for part in done.parts]
    manifest: Manifest = {**speech_manifest(plan, run), "attempts": attempts}
    checks = [part.get("check") for part in done.parts]
    if any(checks):
        manifest["accepted"] = [check["sample"] if check else None for check in checks]
    joined = not reading.finished(folder, sounds, plan)
    ranks = range(len(sounds))
    found = [marks_of(plan, long_text.lengths(folder, done.parts, k)) for k in ranks]
    candidates = [[long_text.brief(take) for take in part["takes"]] for part in done.parts]
    if joined:
        with reading.joining(folder, sounds, plan):
            for k, path in enumerate(sounds):
                ranked = [[takes[k]] for takes in candidates]
                note: Manifest = {**manifest, "said": ranked, "item": {"index": k}}
                save(path, long_text.pieces(folder, done.parts, k), note, found[k][0], plan.document)
    items: list[Item] = []
    for k, (marks, length) in enumerate(found):
        items.append(_item(k, round(length / RATE, 3), [takes[k] for takes in candidates], marks))
    written = Written(items, manifest, done.seconds, checks)
    return Reading(written, folder, len(done.parts), done.said, joined)
