"""The course of a run: its updates, with the log, the checkpoints and the previews on the way."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from .. import files, processes
from ..errors import DifftoolError, Exit
from ..progress import Track
from ..signals import Stop
from .config import RunConfig, TrainConfig
from .folder import Layout, clear, resume, save
from .loop import Trainee, Update, at_once, held_out, seconds_per_update, updates
from .runlog import Board, UpdateLine, append
from .tasks import Task

log = logging.getLogger(__name__)

BAD_IN_A_ROW = 10
SAVE_SECONDS = 60
LOG_LINES, PREVIEWS, HELD_LINES = 200, 5, 25
"""Lines of the log, previews drawn, and looks at held-out items, in a run that says nothing else."""
MARGIN, CLOSING, PLOTTING = 0.03, 4.0, 0.7
"""Of a time budget: the share kept back for updates slower than the probe's, the seconds that judging takes, and those
that a checkpoint, a preview and its plot take beside the drawing."""


class Course(NamedTuple):
    """What a run does beside its updates."""

    layout: Layout
    stop: Stop
    end: float
    """When the last update must have ended, by `time.monotonic`."""
    save_every: int | None
    preview_every: int | None
    track: Track
    publish: Callable[[Trainee], None] = lambda trainee: None
    """Writes the model as it would be now."""
    preview: Callable[[Trainee, int, Board | None], None] = lambda trainee, seen, board: None
    """Shows what was published, after so many items."""
    again: str = ""
    """How to go on."""

    def stopped(self, seen: int, total: int) -> DifftoolError:
        """The error that ends a run where it was asked to stop."""
        return DifftoolError(
            self.stop.code or Exit.TERMINATED,
            f"stopped after {seen:,} of {total:,} {self.layout.items}; the state is saved",
            f"go on with the same command, with {self.again} and without --overwrite",
        )

    def diverged(self, seen: int, lr: float) -> DifftoolError:
        """The error that ends a run whose loss stays not finite."""
        message = f"the loss was not finite {BAD_IN_A_ROW} times in a row, after {seen:,} {self.layout.items}"
        hint = f"train in a new folder, with a smaller learning rate than --lr {lr:g}"
        return DifftoolError(Exit.FAILED, f"{message}; what was saved is intact", hint)


class Cost(NamedTuple):
    """What a run draws beside its updates, in items, and in passes of the network for each."""

    preview: int
    judging: int
    passes: float


def measured(
    config: RunConfig,
    make: Callable[[], tuple[Trainee, Task]],
    cost: Cost,
    end: float,
    preview_every: int | None = None,
) -> float:
    """Finds how many items are taken at once, and how many are seen until `end` (`time.monotonic`), where the config
    does not say so yet. Gives the time at which the last update must have ended."""
    train = config["train"]
    if "micro_batch" not in train:
        train["micro_batch"] = processes.agreed(lambda: at_once(make()[1], train))
    per_update = 0.0
    if "images" not in train:
        per_update = seconds_per_update(make, train, train["micro_batch"])
        end -= _closing(cost, train, per_update)
        left, held = end - time.monotonic(), make()[1].held_out
        train["images"] = processes.agreed(lambda: _fitting(cost, train, held, per_update, preview_every, left))
        return end
    return end - _closing(cost, train, per_update)


def _drawing(cost: Cost, train: TrainConfig, items: int, per_update: float) -> float:
    """Seconds that drawing takes: an update is a forward and a backward pass, the latter two of the former, and the
    optimiser; and many are drawn at once."""
    return items * cost.passes * per_update / 4 / train["batch_size"]


def _closing(cost: Cost, train: TrainConfig, per_update: float) -> float:
    """Seconds from the last update to the end of the command."""
    return _drawing(cost, train, cost.preview + cost.judging, per_update) + PLOTTING + CLOSING


def _fitting(
    cost: Cost, train: TrainConfig, held: int, per_update: float, preview_every: int | None, seconds: float
) -> int:
    """How many items can be seen in so many seconds, with previews drawn and held-out items looked at on the way."""
    size = train["batch_size"]
    preview = _drawing(cost, train, cost.preview, per_update) + PLOTTING
    seconds -= HELD_LINES * held / size * per_update / 3
    if preview_every is None:
        seconds -= (PREVIEWS - 1) * preview
    else:
        per_update += preview / max(preview_every / size, 1)  # at most one after each update
    return max(int(seconds * (1 - MARGIN) / per_update), 1) * size


def learn(
    folder: Path, config: RunConfig, trainee: Trainee, task: Task, course: Course, *, overwrite: bool = False
) -> None:
    """Makes the updates of a run, or those that are left of it, with its log, checkpoints and previews in `folder`."""

    def begin() -> tuple[dict[str, Tensor], dict[str, str]]:
        folder.mkdir(parents=True, exist_ok=True)
        clear(folder, course.layout, overwrite)
        files.write_json(folder / "config.json", config)
        resume(folder, trainee)
        return trainee.state()

    tensors, numbers = processes.agreed(begin)
    if processes.rank():
        trainee.restore(tensors, numbers)
    train = config["train"]
    size, total = train["batch_size"], train["images"]
    done = trainee.step * size
    what = f"{sum(p.numel() for p in trainee.params):,} parameters, seed {train['seed']}"
    with_ = f" by {processes.count()} processes" if processes.count() > 1 else ""
    log.info(f"{folder}: {what}, {total - done:,} of {total:,} {course.layout.items} to see{with_}")
    board = None
    if done:  # the process may have died between its last checkpoint and the model, or the preview that was due
        processes.agreed(lambda: course.publish(trainee))
        undrawn = _due(_preview_every(course, train), done, size) and not course.layout.preview(folder, done).exists()
        if done < total and processes.agreed(lambda: undrawn):
            board = None if processes.rank() else Board(folder, trainee.step)
            _draw(course, trainee, done, total, board)
    if done < total:
        with course.stop.at_once(False):
            board = _follow(folder, config, trainee, task, course, board)
            if any(processes.gathered(course.stop.code is not None)):  # while the last state was saved
                raise course.stopped(train["images"], train["images"])
    elif not processes.rank():
        board = Board(folder, trainee.step)
    course.preview(trainee, train["images"], board)
    if board is not None:
        board.close()


def _preview_every(course: Course, train: TrainConfig) -> int:
    return course.preview_every or math.ceil(train.get("planned", train["images"]) / PREVIEWS)


def _draw(course: Course, trainee: Trainee, seen: int, total: int, board: Board | None) -> None:
    """A preview on the way, without which the run goes on where it cannot be drawn; a signal ends it at once, as the
    state is saved."""
    try:
        with course.stop.at_once():
            course.preview(trainee, seen, board)
    except KeyboardInterrupt as error:
        raise course.stopped(seen, total) from error
    except DifftoolError as error:
        log.warning(f"no preview at {seen:,}: {error.message}")


def _follow(
    folder: Path, config: RunConfig, trainee: Trainee, task: Task, course: Course, board: Board | None
) -> Board | None:
    """Makes the updates that are left, and on the way writes the log, saves, draws, and stops where it is asked to, or
    where time ends on a machine that became slower. Gives the board, once something was written there."""
    train = config["train"]
    size, total = train["batch_size"], train["images"]
    log_every = max(total // size // LOG_LINES, 1) * size
    held_every = LOG_LINES // HELD_LINES * log_every
    preview_every = _preview_every(course, train)
    losses: list[Update] = []
    bad, saved, since = 0, time.monotonic(), time.monotonic()

    def ask() -> tuple[bool, bool, bool]:
        now = time.monotonic()
        return course.stop.code is not None, now > course.end, course.save_every is None and now - saved > SAVE_SECONDS

    def keep() -> None:
        save(folder, trainee)
        course.publish(trainee)

    made = updates(trainee, task, train, micro=train.get("micro_batch"), ask=ask)
    made = course.track(made, math.ceil(total / size) - trainee.step)
    for update in made:
        seen = update.step * size
        last = seen >= total
        stopped, late, aged = update.asked if processes.count() > 1 else ask()  # which all were told before the update
        if late and not last:
            log.info(f"out of time: ending after {seen:,} of {total:,} {course.layout.items}")
            train["images"], train["planned"] = seen, total  # which also ends the updates
            if not processes.rank():
                files.write_json(folder / "config.json", config)
            last = True
        losses += [update] if update.finite else []
        bad = 0 if update.finite else bad + 1
        if bad == BAD_IN_A_ROW:
            raise course.diverged(seen, train["lr"])
        if losses and (last or _due(log_every, seen, size)):
            line = _line(losses, update, seen, update.step - trainee.taken)
            if not task.banded:
                line["bands"] = None
            now = time.monotonic()
            line["images_per_second"] = round(len(losses) * size / (now - since), 2)
            if last or _due(held_every, seen, size):
                _watch(line, trainee, task)
            losses, since = [], time.monotonic()
            if not processes.rank():
                append(folder, line)
                board = board or Board(folder, trainee.step - 1)
                board.line(line)
        drawing_now = _due(preview_every, seen, size) and not last and not bad
        due = (drawing_now or aged or _due(course.save_every, seen, size)) and not bad  # what is saved did well
        if last or due or stopped:
            processes.agreed(keep)
            saved = time.monotonic()
        if stopped:
            raise course.stopped(seen, total)
        if drawing_now:
            _draw(course, trainee, seen, total, board)
            since = time.monotonic()
    return board


def _watch(line: UpdateLine, trainee: Trainee, task: Task) -> None:
    """Adds the loss of what is held out to a line of the log."""
    held = held_out(trainee, task)
    if held is None:
        return
    known = [value for value in held if value is not None]
    line["held_out"] = sum(known) / len(known)
    line["held_out_bands"] = held if task.banded else None


def _line(losses: list[Update], update: Update, seen: int, skipped: int) -> UpdateLine:
    """A line of the log about some updates, of which the last one is given too."""
    bands = []
    for k in range(len(update.bands)):
        known = [band for one in losses if (band := one.bands[k]) is not None]
        bands.append(sum(known) / len(known) if known else None)
    return {
        "images": seen,
        "step": update.step,
        "loss": sum(one.loss for one in losses) / len(losses),
        "bands": bands,
        "lr": update.lr,
        "norm": update.norm if math.isfinite(update.norm) else None,
        "skipped": skipped,
    }


def _due(every: int | None, seen: int, size: int) -> bool:
    """Whether the last `size` items of `seen` ones crossed a multiple of `every`."""
    return every is not None and seen // every > (seen - size) // every
