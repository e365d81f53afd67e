"""Prompts that become pictures: read from a line or a file, planned, and carried out."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import DifftoolError, Exit
from ..files import expanded, manifest, read_text, writable
from ..limits import counted
from .console import Console, Result
from .options import MOST, size_of
from .outputs import Places

if TYPE_CHECKING:
    from ..progress import Track
    from ..text2img.session import Plan, Studio

log = logging.getLogger(__name__)

SHEET = 64
"""Pictures in the grid of a file of prompts, where nobody asks for it: it may make thousands."""


class Job(NamedTuple):
    """A prompt with its settings, and the pictures it makes."""

    where: str
    """Where it stands, for messages."""
    settings: dict[str, Any]
    """Of `plan`."""
    first: int
    """The number of its first picture in the run."""

    @property
    def items(self) -> list[tuple[int, int]]:
        """(number in the run, seed) of its pictures."""
        return [(self.first + k, self.settings["seed"] + k) for k in range(self.settings["count"])]


class Work(NamedTuple):
    """A job that can be done."""

    where: str
    first: int
    """As of the job."""
    plan: Plan
    paths: dict[int, Path]
    """Which of its pictures are drawn, and into which files."""


def jobs_of(source: str, common: dict[str, Any], failed: dict[str, DifftoolError]) -> list[Job]:
    """The jobs of a file of prompts (- is stdin); lines that cannot be understood go to `failed`. Raises DifftoolError
    2 where it holds none, 4 where it cannot be read."""
    from ..text2img.prompts import lines, read, settings_of

    jobs: list[Job] = []
    first = 0
    for number, line in lines(read_text(None if source == "-" else expanded(source))):
        where, count = f"line {number}", common["count"]
        try:
            own = settings_of(line)
            if not 1 <= own.get("count", count) <= MOST:
                raise DifftoolError(Exit.USAGE, f"count is {own['count']}", f"give a number from 1 to {MOST:,}")
            count = own.get("count", count)
            read(own["prompt"])
            own |= {"size": size_of(own["size"])} if "size" in own else {}
            own |= {name: expanded(own[name]) for name in ("init", "mask") if name in own}
            jobs.append(Job(where, {**common, "seed": common["seed"] + first, **own}, first))
        except DifftoolError as error:
            failed[where] = error
        first += count  # of a wrong line too, so that the others keep their numbers when it is mended
    if not jobs and not failed:
        what = f"there is no prompt in {'what was piped in' if source == '-' else source}"
        raise DifftoolError(Exit.USAGE, what, "write one a line")
    return jobs


def lora_of(text: str) -> tuple[Path, float]:
    """(file, weight) of FILE[:WEIGHT]."""
    name, _, weight = text.rpartition(":")
    try:
        return (expanded(name), float(weight)) if name else (expanded(text), 1.0)
    except ValueError:
        return expanded(text), 1.0


def there(jobs: Sequence[Job], to: Places) -> set[Path]:
    """The pictures that are there, but for damaged ones, which are to be drawn again; warns of those that show another
    prompt than would be drawn there. Raises DifftoolError 4 where a file is there and none of difftool."""
    prompts = (job.settings["prompt"] for job in jobs for _ in job.items)
    found, others, damaged = set[Path](), list[Path](), list[Path]()
    for path, prompt in zip(to.singles, prompts, strict=True):
        if not path.exists():
            continue
        if (settings := _settings(path)) is None:
            damaged.append(path)
            continue
        found.add(path)
        if settings.get("prompt", prompt) != prompt:
            others.append(path)
    if others:
        log.warning(f"{len(others)} of the pictures that are there show another prompt, the first of them {others[0]}")
    if damaged:
        log.warning(f"{counted(len(damaged), 'picture')} will be drawn again: {damaged[0]} is damaged")
    if to.grid is not None and to.grid.exists() and _settings(to.grid) == {}:
        raise DifftoolError(Exit.FILE, f"{to.grid} exists already", "choose another name, or add --overwrite")
    return found


def _settings(path: Path) -> dict[str, Any] | None:
    """What a picture says of how it was made; nothing where it says nothing, None where it is damaged. Raises
    DifftoolError 4 for a file that never was one of ours."""
    from ..pictures.png import is_cut_off, read_manifest

    try:
        found = (read_manifest(path) or {}).get("settings")
    except DifftoolError as error:
        if is_cut_off(path):
            return None
        raise DifftoolError(error.code, error.message, "remove it, or add --overwrite") from error
    return found if isinstance(found, dict) else {}


def works_of(
    studio: Studio,
    jobs: Sequence[Job],
    paths: Sequence[Path],
    made: Collection[Path],
    loras: list[tuple[Path, float]],
    failed: dict[str, DifftoolError],
    *,
    alone: bool,
) -> list[Work]:
    """What each job will be, and into which of the `paths`, but for those that are `made`. Where it is not `alone`, a
    wrong one goes to `failed`."""
    from ..text2img.session import plan

    works, files = [], iter(paths)
    for job in jobs:
        wanted = {k: path for k, path in enumerate(islice(files, len(job.items))) if path not in made}
        try:
            works.append(Work(job.where, job.first, plan(studio, **job.settings, loras=loras), wanted))
        except DifftoolError as error:
            if alone or error.code not in (Exit.USAGE, Exit.FILE):
                raise
            failed[job.where] = error
    return works


def sheeted(to: Places, works: Sequence[Work], *, chosen: bool) -> Places:
    """The files with a grid only where the pictures are few and of one size. Raises DifftoolError 2 where it was
    `chosen` as the result, and they are of several."""
    sizes = {work.plan.frame for work in works}
    if to.grid is not None and chosen and len(sizes) > 1:
        what = f"the result is a grid, and the pictures have {len(sizes)} sizes"
        raise DifftoolError(Exit.USAGE, what, "choose a folder for them with --output-dir")
    many = len(works) > 1 and len(to.singles) > SHEET and not chosen
    return to._replace(grid=None) if many or len(sizes) > 1 else to


def carry_out(
    console: Console,
    works: Sequence[Work],
    to: Places,
    failed: dict[str, DifftoolError],
    *,
    skipped: int = 0,
    alone: bool = True,
) -> Result:
    """Draws what was planned, writes each picture when it is ready, and tells what was done. `skipped` pictures were
    there before, and prompts that `failed` fail the result."""
    from ..progress import untracked

    loaded = time.monotonic()

    def pictures(track: Track) -> Iterator[dict[str, Any]]:
        for work in works:
            try:
                yield from _drawn(console, work, track)
            except DifftoolError as error:
                if alone or error.code not in (Exit.FILE, Exit.FAILED, Exit.MEMORY):
                    raise
                failed[work.where] = error

    with writable(to.singles[0].parent):
        if len(works) == 1:
            outputs = [*pictures(console.track)]
        else:
            outputs = [*console.track(pictures(untracked), sum(len(work.paths) for work in works), "pictures")]
        error = _partial(failed, len({work.where for work in works} | {*failed})) if failed else None
        if error is not None and not outputs and not skipped:
            raise error
        drawn = time.monotonic()
        sheet = _sheet(console, works, to)
    ended = time.monotonic()
    spans = {"load": (console.began, loaded), "sample": (loaded, drawn), "save": (drawn, ended)}
    timing = {name: round(end - begin, 3) for name, (begin, end) in {**spans, "total": (console.began, ended)}.items()}
    data = {
        "outputs": outputs,
        "grid": None if sheet is None else str(sheet),
        "skipped": skipped,
        "failed": _told(failed),
        "settings": works[0].plan.settings if len(works) == 1 else None,
        "timing": timing,
    }
    paths = [*(Path(one["path"]) for one in outputs), *([sheet] if sheet else [])]
    return Result(data, [] if error else _summary(works, outputs, skipped, timing["total"], sheet), paths, error)


def nothing(failed: dict[str, DifftoolError]) -> Result:
    """Where all prompts failed before anything was drawn."""
    return Result({"outputs": [], "failed": _told(failed)}, [], [], _partial(failed, len(failed)))


def _partial(failed: dict[str, DifftoolError], count: int) -> DifftoolError:
    which = "; ".join(f"{where}: {error.message}" for where, error in failed.items())
    what = f"{len(failed)} of {counted(count, 'prompt')} failed: {which}"
    return DifftoolError(Exit.PARTIAL, what, "mend these lines, and run it again with --skip-existing")


def _told(failed: dict[str, DifftoolError]) -> list[dict[str, Any]]:
    return [{"where": where, "code": int(error.code), "message": error.message} for where, error in failed.items()]


def _drawn(console: Console, work: Work, track: Track) -> Iterator[dict[str, Any]]:
    """Draws pictures into their files, and tells of each."""
    from ..pictures.png import write_png
    from ..text2img.draw import described, draw

    if not work.paths:
        return
    plan, note = work.plan, described(work.plan, console.run_id)
    about = {"width": plan.width, "height": plan.height, "prompt": plan.settings["prompt"]}
    for item, pixels in draw(plan, only=work.paths, track=track):
        path = work.paths[item["index"]]
        write_png(path, pixels, {**note, "item": item})
        yield {"path": str(path), "index": work.first + item["index"], "seed": item["seed"], **about}


def _sheet(console: Console, works: Sequence[Work], to: Places) -> Path | None:
    """Writes the grid of the pictures that are there."""
    if to.grid is None:
        return None
    import numpy as np

    from ..pictures.png import read_png, write_png
    from ..pictures.sheets import grid
    from ..text2img.draw import PACKAGES, described

    pictures = [read_png(path)[0] for path in to.singles if path.exists()]
    if len({one.shape for one in pictures}) > 1:
        log.warning(f"{to.grid} was not made: pictures that were there have another size")
        return None
    if len(works) == 1:
        note = described(works[0].plan, console.run_id)
    else:
        note = manifest(
            "txt2img", console.run_id, {"prompts": [work.plan.settings["prompt"] for work in works]}, PACKAGES
        )
    write_png(to.grid, grid(np.stack(pictures)), note)
    return to.grid


def _summary(
    works: Sequence[Work], outputs: list[dict[str, Any]], skipped: int, seconds: float, sheet: Path | None
) -> list[str]:
    drawn = [work.plan.settings for work in works if work.paths]
    samplers = " and ".join(dict.fromkeys(settings["sampler"] for settings in drawn))
    steps, guidance = (_range(settings[key] for settings in drawn) for key in ("steps", "guidance"))
    how = f"{samplers}, {steps} steps, guidance {guidance}, seed {_range(one['seed'] for one in outputs)}"
    how += f"; {skipped} were there" if skipped else ""
    name = works[0].plan.studio.pipeline.name
    lines = [f"{counted(len(outputs), 'picture')} of {name} in {seconds:.1f} s ({how})"]
    lines.append(str(sheet) if sheet else outputs[-1]["path"])
    if len(outputs) > 1:
        lines.append(f"singles: {outputs[0]['path']} ...")
    return lines


def dry(works: Sequence[Work], to: Places, failed: dict[str, DifftoolError]) -> Result:
    """What would be done, and its needs."""
    plans = [work.plan for work in works]
    parts = plans[0].studio.pipeline.parts.values()
    weights = sum(p.numel() * p.element_size() for part in parts for p in part.parameters())
    calls = sum(one.calls * len(one.batches) for one in plans)
    paths = [str(path) for work in works for path in work.paths.values()]
    data = {
        "dry_run": True,
        "settings": [one.settings for one in plans],
        "needs": {"weights_bytes": weights, "network_calls": calls},
        "would_write": [*paths, *([str(to.grid)] if to.grid else [])],
        "failed": _told(failed),
    }
    what = f"{counted(len(paths), 'picture')} of {counted(len(works), 'prompt')}"
    lines = [f"would draw {what}: {weights / 1e6:,.1f} MB of weights, {calls:,} calls of the network"]
    lines += [f"would write {paths[0]}{' and others' if len(paths) > 1 else ''}"] if paths else []
    return Result(data, lines, [], _partial(failed, len(works) + len(failed)) if failed else None)


def _range(numbers: Iterable[float]) -> str:
    """The least and the greatest of some numbers, or the one that all are."""
    every = sorted(numbers)
    ends = (every[0], every[-1])
    return " to ".join(dict.fromkeys(f"{end:g}" if isinstance(end, float) else str(end) for end in ends))
