"""Prompts that become files: read from a line or a file, planned, drawn and written."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from .. import outputs
from ..errors import DifftoolError, Exit, counted
from ..files import expanded, manifest, read_text, run_id, writable
from ..limits import MOST
from ..outputs import Destination, Places
from ..progress import Track, untracked
from ..settings import checked, with_typed
from .prompts import begun_from, lines, read, settings_of
from .settings import Settings

if TYPE_CHECKING:
    from .session import Plan

log = logging.getLogger(__name__)

SHEET = 64
"""Pictures in the grid of a file of prompts, where nobody asks for it: it may make thousands."""
ALONE = "the prompt"
"""Where a prompt stands that is the only one."""
Failures = dict[str, DifftoolError]
"""Why prompts cannot be drawn, by where they stand."""


class Job(NamedTuple):
    """A prompt with its settings, and the pictures it makes."""

    where: str
    """Where it stands, for messages."""
    settings: Settings
    first: int
    """The number of its first picture in the run."""

    @property
    def items(self) -> list[tuple[int, int]]:
        """(number in the run, seed) of its pictures."""
        return [(self.first + k, self.settings.seed + k) for k in range(self.settings.count)]


class Batch(NamedTuple):
    """Prompts, and where their pictures go."""

    jobs: list[Job]
    to: Destination
    places: Places
    there: set[Path]
    """The pictures that were there before, and stay."""
    failed: Failures

    @property
    def is_there(self) -> bool:
        """Whether nothing is left to be drawn."""
        return not self.failed and len(self.there) == len(self.places.singles)


class Work(NamedTuple):
    """A prompt that can be drawn."""

    where: str
    first: int
    """As of the job."""
    plan: Plan
    paths: dict[int, Path]
    """Which of its pictures are drawn, and into which files."""


class Planned(NamedTuple):
    """What will be drawn."""

    works: list[Work]
    places: Places
    skipped: int
    """Pictures that were there before."""
    failed: Failures

    @property
    def alone(self) -> bool:
        """Whether it is one prompt, whose error is that of the run."""
        return [work.where for work in self.works] == [ALONE]

    @property
    def error(self) -> DifftoolError | None:
        """That prompts failed, where some did."""
        return some_failed(self.failed, len({work.where for work in self.works} | {*self.failed}))


class Picture(TypedDict):
    """A picture that was written."""

    path: str
    index: int
    seed: int
    width: int
    height: int
    prompt: str


class Drawn(NamedTuple):
    """What was written."""

    pictures: list[Picture]
    grid: Path | None
    planned: Planned
    """With the prompts that failed while they were drawn among the `failed`."""
    seconds: dict[str, float]
    """That drawing and saving took."""


def draw_prompts(
    prompts: str | Path,
    output_dir: Path | None = None,
    *,
    output: Path | None = None,
    overwrite: bool = False,
    skip_existing: bool = False,
    track: Track = untracked,
    **settings: Any,
) -> Drawn:
    """Draws the pictures of a file of prompts (- is stdin) into `output_dir`, or beside `output`, their grid: each is
    written when it is ready. A line holds a prompt and may have options of its own behind it, or is a JSON object;
    `settings` are the fields of `Settings` for lines that do not say otherwise. Picture k of the run has the seed + k.
    `skip_existing` draws only the pictures that are not there yet.

    Prompts that cannot be drawn are in `planned.failed` of what comes back. Raises DifftoolError: 2 for settings that
    do not fit and a file without prompts, 4 for a file or model that cannot be read or a picture that is there already,
    5 where no prompt could be drawn.
    """
    to = Destination("txt2img", run_id(), output, output_dir, overwrite=overwrite, skip_existing=skip_existing)
    batch = batch_of(Settings(**settings), str(prompts), to)
    planned = Planned([], batch.places, len(batch.there), batch.failed)
    if batch.jobs and not batch.is_there:
        planned = plan_batch(batch)
    if not planned.works and planned.error is not None:
        raise planned.error
    return draw_batch(planned, to.run_id, track=track)


def batch_of(settings: Settings, prompts: str | None, to: Destination) -> Batch:
    """The prompt of the settings, or those of a file (- is stdin), and where their pictures go. Lines that cannot be
    understood are among the `failed`. Raises DifftoolError 2 where there is no prompt or there are both, or the prompt
    is none; 4 where the file cannot be read, or files are there that would be overwritten."""
    if (settings.prompt is None) == (prompts is None):
        what = "there is nothing to draw" if prompts is None else "a prompt and a file of prompts are two things"
        raise DifftoolError(Exit.USAGE, what, 'write difftool txt2img "a red circle", or name a file with --prompts')
    settings = checked(settings)
    failed: Failures = {}
    if prompts is None:
        read(settings.prompt or "")  # what is wrong with it is told before that a model is missing
        begun_from(settings)
        jobs = [Job(ALONE, settings, 0)]
    else:
        jobs = _jobs(prompts, settings, failed)
    if not jobs:
        return Batch(jobs, to, Places([], None, []), set(), failed)
    places = outputs.pictures(to, [item for job in jobs for item in job.items])
    there = _there(jobs, places) if to.keeps else set()
    return Batch(jobs, to, places, there, failed)


def _jobs(source: str, common: Settings, failed: Failures) -> list[Job]:
    """The prompts of a file; lines that cannot be understood go to `failed`."""
    jobs: list[Job] = []
    first = 0
    for number, line in lines(read_text(None if source == "-" else expanded(source))):
        where, count = f"line {number}", common.count
        try:
            own = settings_of(line, type(common))
            settings = with_typed(replace(common, seed=common.seed + first), own)
            if not 1 <= settings.count <= MOST:
                hint = f"give a number from 1 to {MOST:,}"
                raise DifftoolError(Exit.USAGE, f"count is {settings.count}", hint)
            count = settings.count
            read(settings.prompt or "")
            jobs.append(Job(where, settings, first))
        except DifftoolError as error:
            failed[where] = error
        first += count  # of a wrong line too, so that the others keep their numbers when it is mended
    if not jobs and not failed:
        what = f"there is no prompt in {'what was piped in' if source == '-' else source}"
        raise DifftoolError(Exit.USAGE, what, "write one a line")
    return jobs


def _there(jobs: list[Job], places: Places) -> set[Path]:
    """The pictures that are there, but for damaged ones, which are to be drawn again; warns of those that show another
    prompt than would be drawn there. Raises DifftoolError 4 where a file is there and none of difftool."""
    prompts = (job.settings.prompt for job in jobs for _ in job.items)
    there, others, damaged = set[Path](), list[Path](), list[Path]()
    for path, prompt in zip(places.singles, prompts, strict=True):
        if not path.exists():
            continue
        settings = _settings_in(path)
        if settings is None:
            damaged.append(path)
            continue
        there.add(path)
        if settings.get("prompt", prompt) != prompt:
            others.append(path)
    if others:
        log.warning(f"{len(others)} of the pictures that are there show another prompt, the first of them {others[0]}")
    if damaged:
        log.warning(f"{counted(len(damaged), 'picture')} will be drawn again: {damaged[0]} is damaged")
    if places.grid is not None and places.grid.exists() and _settings_in(places.grid) == {}:
        raise DifftoolError(Exit.FILE, f"{places.grid} exists already", "choose another name, or add --overwrite")
    return there


def _settings_in(path: Path) -> Mapping[str, object] | None:
    """What a picture says of how it was made; nothing where it says nothing, None where it is damaged. Raises
    DifftoolError 4 for a file that never was one of ours."""
    from ..pictures.png import is_cut_off, read_manifest

    try:
        settings = (read_manifest(path) or {}).get("settings")
    except DifftoolError as error:
        if is_cut_off(path):
            return None
        raise DifftoolError(error.code, error.message, "remove it, or add --overwrite") from error
    return settings if isinstance(settings, dict) else {}


def plan_batch(batch: Batch) -> Planned:
    """Opens the model, and plans each prompt; of several a wrong one is among the `failed`."""
    from .session import Studio, planned

    studio = Studio.opened(batch.jobs[0].settings)
    works: list[Work] = []
    failed, files = {**batch.failed}, iter(batch.places.singles)
    for job in batch.jobs:
        mine = list(islice(files, len(job.items)))
        paths = {k: path for k, path in enumerate(mine) if path not in batch.there}
        try:
            works.append(Work(job.where, job.first, planned(studio, job.settings), paths))
        except DifftoolError as error:
            if job.where == ALONE or error.code not in (Exit.USAGE, Exit.FILE):
                raise
            failed[job.where] = error
    return Planned(works, _sheeted(batch, works), len(batch.there), failed)


def _sheeted(batch: Batch, works: list[Work]) -> Places:
    """The files with a grid only where the pictures are few and of one size. Raises DifftoolError 2 where it was chosen
    as the result, and they are of several."""
    places, chosen = batch.places, batch.to.output is not None
    sizes = {work.plan.frame for work in works}
    if places.grid is not None and chosen and len(sizes) > 1:
        what = f"the result is a grid, and the pictures have {len(sizes)} sizes"
        raise DifftoolError(Exit.USAGE, what, "choose a folder for them with --output-dir")
    many = len(works) > 1 and len(places.singles) > SHEET and not chosen
    return places._replace(grid=None) if many or len(sizes) > 1 else places


def draw_batch(planned: Planned, run: str, *, track: Track = untracked) -> Drawn:
    """Draws what was planned, and writes each picture when it is ready and then their grid; `track` follows the steps
    of one prompt, or the pictures of several. Raises DifftoolError 5 where all prompts failed and no picture is
    there."""
    began = time.monotonic()
    failed = {**planned.failed}
    planned = planned._replace(failed=failed)
    if not planned.works:
        return Drawn([], None, planned, {"sample": 0.0, "save": 0.0})
    with writable(planned.places.singles[0].parent):
        if len(planned.works) == 1:
            pictures = [*_pictures(planned, run, track)]
        else:
            total = sum(len(work.paths) for work in planned.works)
            pictures = [*track(_pictures(planned, run, untracked), total)]
        if planned.error is not None and not pictures and not planned.skipped:
            raise planned.error
        drawn = time.monotonic()
        grid = _write_grid(planned, run)
    return Drawn(pictures, grid, planned, {"sample": drawn - began, "save": time.monotonic() - drawn})


def _pictures(planned: Planned, run: str, track: Track) -> Iterator[Picture]:
    """Draws the prompts one after the other; of several one that fails goes to the `failed`."""
    for work in planned.works:
        try:
            yield from _drawn(work, run, track)
        except DifftoolError as error:
            if planned.alone or error.code not in (Exit.FILE, Exit.FAILED, Exit.MEMORY):
                raise
            planned.failed[work.where] = error


def _drawn(work: Work, run: str, track: Track) -> Iterator[Picture]:
    """Draws pictures into their files, and tells of each."""
    from ..pictures import png
    from .draw import described, draw

    if not work.paths:
        return
    plan, note = work.plan, described(work.plan, run)
    for item, pixels in draw(plan, only=work.paths, track=track):
        path = work.paths[item["index"]]
        png.write_png(path, pixels, {**note, "item": item})
        yield {
            "path": str(path),
            "index": work.first + item["index"],
            "seed": item["seed"],
            "width": plan.width,
            "height": plan.height,
            "prompt": plan.settings.prompt or "",
        }


def _write_grid(planned: Planned, run: str) -> Path | None:
    """Writes the grid of the pictures that are there."""
    path = planned.places.grid
    if path is None:
        return None
    import numpy as np

    from ..pictures.png import read_png, write_png
    from ..pictures.sheets import grid
    from .draw import PACKAGES, described

    pictures = [read_png(single)[0] for single in planned.places.singles if single.exists()]
    if len({picture.shape for picture in pictures}) > 1:
        log.warning(f"{path} was not made: pictures that were there have another size")
        return None
    if len(planned.works) == 1:
        note = described(planned.works[0].plan, run)
    else:
        prompts = [work.plan.settings.prompt for work in planned.works]
        note = manifest("txt2img", run, {"prompts": prompts}, PACKAGES)
    write_png(path, grid(np.stack(pictures)), note)
    return path


def some_failed(failed: Failures, count: int) -> DifftoolError | None:
    """That some of so many prompts failed."""
    if not failed:
        return None
    reasons = "; ".join(f"{where}: {error.message}" for where, error in failed.items())
    what = f"{len(failed)} of {counted(count, 'prompt')} failed: {reasons}"
    return DifftoolError(Exit.PARTIAL, what, "mend these lines, and run it again with --skip-existing")
