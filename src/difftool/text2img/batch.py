"""Draws one prompt or a file of prompts: read, planned, drawn and written to files."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from .. import outputs, processes
from ..errors import DifftoolError, Exit
from ..files import Manifest, expanded, manifest, read_text, writable
from ..limits import MAX_COUNT, counted
from ..outputs import Destination, Places, destination_of
from ..progress import Track, untracked
from ..settings import checked, from_call, with_typed
from .prompts import begun_from, lines, parse_prompt, settings_of
from .settings import Settings

if TYPE_CHECKING:
    from ..pictures import Pixels
    from .session import PromptPlan

log = logging.getLogger(__name__)

SHEET = 64
"""Most pictures in the default grid of a file of prompts, which may make thousands."""
ALONE = "the prompt"
"""Position of a single prompt, for messages."""
Failures = dict[str, DifftoolError]
"""Errors of prompts, by position."""


class Job(NamedTuple):
    """A prompt with its settings, and its pictures."""

    where: str
    """Its position, for messages."""
    settings: Settings
    first: int
    """The number of its first picture in the run."""

    @property
    def items(self) -> list[tuple[int, int]]:
        """(number in the run, seed) of its pictures."""
        return [(self.first + k, self.settings.seed + k) for k in range(self.settings.count)]


class Batch(NamedTuple):
    """Prompts, and the files of their pictures."""

    jobs: list[Job]
    to: Destination
    places: Places
    there: set[Path]
    """Existing files of pictures, which are kept."""
    failed: Failures

    @property
    def files(self) -> list[Path]:
        """The file of each picture."""
        return self.places.files(sum(len(job.items) for job in self.jobs))

    @property
    def skipped(self) -> int:
        """Number of existing pictures."""
        return sum(path in self.there for path in self.files)

    @property
    def is_there(self) -> bool:
        """Whether nothing is left to draw."""
        return not self.failed and self.skipped == len(self.files)


class Work(NamedTuple):
    """A prompt that can be drawn."""

    where: str
    first: int
    """As in `Job`."""
    plan: PromptPlan
    paths: dict[int, Path]
    """The files of the pictures to draw, by index."""


class BatchPlan(NamedTuple):
    """The plan of a run."""

    works: list[Work]
    places: Places
    skipped: int
    """Number of existing pictures."""
    failed: Failures

    @property
    def alone(self) -> bool:
        """Whether it is a single prompt, whose error is that of the run."""
        return [work.where for work in self.works] == [ALONE]

    @property
    def error(self) -> DifftoolError | None:
        """The error for failed prompts, if any."""
        positions = {work.where for work in self.works} | {*self.failed}
        again = "--overwrite" if self.places.grid and not self.places.singles else "--skip-existing"
        return some_failed(self.failed, len(positions), again)


class Picture(TypedDict):
    """A picture that was written."""

    path: str
    """Its file, or that of the grid if only the grid is written."""
    index: int
    seed: int
    width: int
    height: int
    prompt: str


class Drawn(NamedTuple):
    """The result of a run."""

    pictures: list[Picture]
    grid: Path | None
    planned: BatchPlan
    """Its `failed` includes the prompts that failed while drawing."""
    seconds: dict[str, float]
    """Time for sampling and saving."""


def draw_prompts(
    prompts: str | Path,
    output_dir: str | Path | None = None,
    *,
    output: str | Path | None = None,
    overwrite: bool = False,
    skip_existing: bool = False,
    grid_only: bool = False,
    track: Track = untracked,
    **settings: Any,
) -> Drawn:
    """Draws the pictures of a file of prompts; each is written as soon as it is ready.

    Args:
        prompts: the file (- is stdin). A line is a prompt, with its own options after it, or a JSON object.
        output_dir: the folder of the pictures.
        output: the grid; the pictures are written beside it, or if they are many, into a folder beside it.
        overwrite: replaces existing files.
        skip_existing: draws only the missing pictures.
        grid_only: writes only the grid.
        track: follows the pictures, to show progress.
        settings: fields of `Settings`, for lines without such options. Picture k of the run has seed + k.

    Prompts that cannot be drawn are in `planned.failed` of the result. Raises DifftoolError: 2 for settings that do not
    fit and a file without prompts, 4 for a file or model that cannot be read or a picture that exists already, 5 if no
    prompt could be drawn.
    """
    flags = {"overwrite": overwrite, "skip_existing": skip_existing, "grid_only": grid_only}
    to = destination_of("txt2img", output, output_dir, **flags)
    batch = batch_of(from_call(Settings, **settings), str(prompts), to)
    planned = BatchPlan([], batch.places, batch.skipped, batch.failed)
    if batch.jobs and not batch.is_there:
        planned = plan_batch(batch)
    if not planned.works and planned.error is not None:
        raise planned.error
    return draw_batch(planned, to.run_id, track=track)


def batch_of(settings: Settings, prompts: str | None, to: Destination) -> Batch:
    """The prompt of the settings, or those of a file (- is stdin), and the files of their pictures; of several
    processes, the first one decides. Invalid lines are among the `failed`. Raises DifftoolError 2 for no prompt, an
    invalid one, or both; 4 if the file cannot be read or files would be overwritten."""
    settings.connect()
    return processes.agreed(lambda: _batch_of(settings, prompts, to))


def _batch_of(settings: Settings, prompts: str | None, to: Destination) -> Batch:
    if settings.prompt is not None and prompts is not None:
        raise DifftoolError(Exit.USAGE, "use either PROMPT or --prompts", "leave out one of them")
    if settings.prompt is None and prompts is None:
        hint = 'write difftool txt2img "a red circle", or pass a file with --prompts'
        raise DifftoolError(Exit.USAGE, "no prompt given", hint)
    settings = checked(settings)
    failed: Failures = {}
    if prompts is None:
        parse_prompt(settings.prompt or "")  # errors in the prompt come before those of the model
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
    """The prompts of a file; invalid lines go to `failed`."""
    jobs: list[Job] = []
    first = 0
    for number, line in lines(read_text(None if source == "-" else expanded(source))):
        where, count = f"line {number}", common.count
        try:
            own = settings_of(line, type(common))
            settings = with_typed(replace(common, seed=common.seed + first), own)
            if not 1 <= settings.count <= MAX_COUNT:
                hint = "leave out count for a single picture"
                raise DifftoolError(Exit.USAGE, f"count must be from 1 to {MAX_COUNT:,}, not {settings.count}", hint)
            count = settings.count
            parse_prompt(settings.prompt or "")
            jobs.append(Job(where, settings, first))
        except DifftoolError as error:
            failed[where] = error
        first += count  # also for an invalid line, so that the others keep their numbers when it is fixed
    if not jobs and not failed:
        name = "standard input" if source == "-" else source
        raise DifftoolError(Exit.USAGE, f"{name} contains no prompts", "write one prompt per line")
    return jobs


def _there(jobs: list[Job], places: Places) -> set[Path]:
    """The existing pictures, except for damaged ones, which are drawn again; warns of those made from another prompt.
    Raises DifftoolError 4 for a file that was not made by difftool."""
    prompts = (job.settings.prompt for job in jobs for _ in job.items)
    there, others, damaged = set[Path](), list[Path](), list[Path]()
    for path, prompt in zip(places.singles, prompts, strict=False):
        if not path.exists():
            continue
        settings = _settings_in(path)
        if settings is None:
            damaged.append(path)
            continue
        there.add(path)
        if settings.get("prompt", prompt) != prompt:
            others.append(path)
    if places.grid is not None and places.grid.exists():
        settings = _settings_in(places.grid)
        if settings == {}:
            raise DifftoolError(Exit.FILE, f"{places.grid} exists already", "choose another name, or add --overwrite")
        if not places.singles and settings is None:
            damaged.append(places.grid)
        elif places.singles and settings is not None and _is_alone(places.grid):
            message = f"{places.grid} exists already, and is the only file of the pictures that it shows"
            raise DifftoolError(Exit.FILE, message, "choose another name, or add --overwrite")
        elif not places.singles and settings is not None:
            there.add(places.grid)
            _warn_of_other(places.grid, settings, jobs)
    if others:
        log.warning(
            f"existing pictures that were made from a different prompt: {len(others)}; the first is {others[0]}"
        )
    if damaged:
        log.warning(f"{counted(len(damaged), 'picture')} will be drawn again: {damaged[0]} is damaged")
    return there


def _warn_of_other(grid: Path, settings: Mapping[str, object], jobs: list[Job]) -> None:
    """Warns of a grid that is kept although it shows other prompts, or another number of pictures."""
    first = jobs[0].settings
    expected = {"prompt": first.prompt, "count": first.count}
    if len(jobs) > 1:
        expected = {"prompts": [job.settings.prompt for job in jobs]}
    if any(settings.get(key) != value for key, value in expected.items()):
        log.warning(f"{grid} is kept, but was made from other prompts or another --count")


def _is_alone(grid: Path) -> bool:
    """Whether only the grid of its pictures was written."""
    from ..pictures.png import read_manifest

    return bool((read_manifest(grid) or {}).get("alone"))


def _settings_in(path: Path) -> Mapping[str, object] | None:
    """The settings stored in a picture; empty if there are none, None if it is damaged. Raises DifftoolError 4 for a
    file that is not a picture of difftool."""
    from ..pictures.png import is_cut_off, read_manifest

    try:
        settings = (read_manifest(path) or {}).get("settings")
    except DifftoolError as error:
        if is_cut_off(path):
            return None
        raise DifftoolError(error.code, error.message, "remove it, or add --overwrite") from error
    return settings if isinstance(settings, dict) else {}


def plan_batch(batch: Batch) -> BatchPlan:
    """Opens the model, and plans each prompt; of several prompts, invalid ones are among the `failed`."""
    from .session import Session, plan_prompt

    works: list[Work] = []
    failed, files = {**batch.failed}, iter(batch.files)
    with processes.together():
        session = Session.opened(batch.jobs[0].settings)
        for job in batch.jobs:
            mine = list(islice(files, len(job.items)))
            paths = {k: path for k, path in enumerate(mine) if path not in batch.there}
            try:
                works.append(Work(job.where, job.first, plan_prompt(session, job.settings), paths))
            except DifftoolError as error:
                if job.where == ALONE or error.code not in (Exit.USAGE, Exit.FILE):
                    raise
                failed[job.where] = error
    return BatchPlan(works, _sheeted(batch, works), batch.skipped, failed)


def _sheeted(batch: Batch, works: list[Work]) -> Places:
    """The files, with a grid only if the pictures are few and of one size. Raises DifftoolError 2 if --output or
    --grid-only asks for the grid and they have several sizes."""
    places, chosen = batch.places, batch.to.output is not None or batch.to.grid_only
    sizes = {work.plan.frame for work in works}
    if places.grid is not None and chosen and len(sizes) > 1:
        message = f"cannot make a grid of pictures of {len(sizes)} sizes"
        hint = "write them to a folder with --output-dir"
        if batch.to.grid_only:
            hint = "leave out --grid-only, and " + hint
        raise DifftoolError(Exit.USAGE, message, hint)
    many = len(works) > 1 and len(places.singles) > SHEET and not chosen
    return places._replace(grid=None) if many or len(sizes) > 1 else places


def draw_batch(planned: BatchPlan, run: str, *, track: Track = untracked) -> Drawn:
    """Draws the pictures, writes each as soon as it is ready, and then their grid; `track` follows the steps of a
    single prompt, or the pictures of several. Several processes share out the prompts. Raises DifftoolError 5 if all
    prompts failed and no picture exists."""
    began = time.monotonic()
    failed = {**planned.failed}
    planned = planned._replace(failed=failed)
    if not planned.works:
        return Drawn([], None, planned, {"sample": 0.0, "save": 0.0})
    planned.works[0].plan.settings.connect()
    unsaved: list[Pixels] = []
    with processes.in_first(writable(*planned.places.folders)):
        if len(planned.works) == 1:
            pictures = [*_pictures(planned, run, track, unsaved)]
        else:
            total = sum(len(work.paths) for work in planned.works)
            pictures = [*track(_pictures(planned, run, untracked, unsaved), total)]

        def close() -> Path | None:
            if planned.error is not None and not pictures and not planned.skipped:
                raise planned.error
            return _write_grid(planned, run, unsaved)

        drawn = time.monotonic()
        grid = processes.agreed(close)
    return Drawn(pictures, grid, planned, {"sample": drawn - began, "save": time.monotonic() - drawn})


class Turn(NamedTuple):
    """What one process has drawn of a prompt, for the others."""

    pictures: list[Picture]
    pixels: list[Pixels]
    """Those that have no file of their own."""
    failed: Failures


def _pictures(planned: BatchPlan, run: str, track: Track, unsaved: list[Pixels]) -> Iterator[Picture]:
    """Draws the prompts one after the other, or in turns of several processes; of several prompts, one that fails goes
    to the `failed`. Pictures that have no file of their own go to `unsaved`."""
    for works in processes.turns(planned.works):
        with processes.together() as turns:
            for work in processes.mine(works):
                turn = Turn([], [], {})
                turns.append(turn)
                try:
                    for picture in _draw_job(work, run, track, None if planned.places.singles else turn.pixels):
                        turn.pictures.append(picture)
                        yield picture
                except DifftoolError as error:
                    if planned.alone or error.code not in (Exit.FILE, Exit.FAILED, Exit.MEMORY):
                        raise
                    turn.failed[work.where] = error
        for number, turn in enumerate(turns):
            unsaved += turn.pixels
            planned.failed.update(turn.failed)
            yield from turn.pictures if number != processes.rank() else ()


def _draw_job(work: Work, run: str, track: Track, unsaved: list[Pixels] | None) -> Iterator[Picture]:
    """Draws pictures into their files, or into `unsaved`, and yields each."""
    from ..pictures import png
    from .draw import described, draw_pictures

    if not work.paths:
        return
    plan, note = work.plan, described(work.plan, run)
    for item, pixels in draw_pictures(plan, only=work.paths, track=track):
        path = work.paths[item["index"]]
        if unsaved is None:
            png.write_png(path, pixels, {**note, "item": item})
        else:
            unsaved.append(pixels)
        yield {
            "path": str(path),
            "index": work.first + item["index"],
            "seed": item["seed"],
            "width": plan.width,
            "height": plan.height,
            "prompt": plan.settings.prompt or "",
        }


def _write_grid(planned: BatchPlan, run: str, unsaved: list[Pixels]) -> Path | None:
    """Writes the grid of the existing pictures, or of `unsaved` ones."""
    path = planned.places.grid
    if path is None or not (planned.places.singles or unsaved):
        return None
    import numpy as np

    from ..pictures.png import read_png, write_png
    from ..pictures.sheets import image_grid
    from .draw import PACKAGES, described

    pictures = unsaved or [read_png(single)[0] for single in planned.places.singles if single.exists()]
    if len({picture.shape for picture in pictures}) > 1:
        log.warning(f"{path} was not written: the existing pictures have different sizes")
        return None
    if len(planned.works) == 1:
        note: Manifest = described(planned.works[0].plan, run)
    else:
        prompts = [work.plan.settings.prompt for work in planned.works]
        note = manifest("txt2img", run, {"prompts": prompts}, PACKAGES)
    if unsaved:
        note["alone"] = True
    write_png(path, image_grid(np.stack(pictures)), note)
    return path


def some_failed(failed: Failures, count: int, again: str = "--skip-existing") -> DifftoolError | None:
    """The error for some failed prompts of `count`; `again` is the option to draw them with."""
    if not failed:
        return None
    reasons = "; ".join(f"{where}: {error.message}" for where, error in failed.items())
    message = f"{len(failed)} of {counted(count, 'prompt')} failed: {reasons}"
    return DifftoolError(Exit.PARTIAL, message, f"fix these lines, and run the command again with {again}")
