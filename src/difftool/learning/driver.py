"""Drives a run: its updates, the log, checkpoints and previews."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from .. import files, processes
from ..errors import DifftoolError, Exit, is_disk_full, is_out_of_memory
from ..progress import Track
from ..signals import Stop
from .config import RunConfig, TrainConfig, chosen, last_part, part_at
from .folder import Layout, clear, drop_worse, resume, save, save_averages, save_if_best
from .loop import Trainee, Update, held_out, items_that_fit, seconds_per_update, updates
from .runlog import EventLog, UpdateLine, append
from .tasks import Task

log = logging.getLogger(__name__)

BAD_IN_A_ROW = 10
SAVE_SECONDS, SAVE_SHARE = 60, 0.05
"""Seconds between two checkpoints, or more where saving would take a larger share of the time."""
LOG_LINES, PREVIEWS, HELD_LINES, SNAPSHOTS = 200, 5, 25, 20
"""Default number of log lines, previews and evaluations of the held-out loss in a run, and of moments whose averages of
the weights are stored."""
MARGIN, CLOSING, PLOTTING = 0.03, 4.0, 0.7
"""Reserves of a time budget: the share for updates slower than the probe's, the seconds for evaluation, and those for a
checkpoint, a preview and its plot, without drawing."""
FEW_UPDATES = 50
"""Fewer updates in a time budget are warned about: they teach next to nothing."""


class RunContext(NamedTuple):
    """Everything a run does besides its updates."""

    layout: Layout
    stop: Stop
    end: float
    """Deadline of the last update, by `time.monotonic`."""
    save_every: int | None
    preview_every: int | None
    track: Track
    publish: Callable[[Trainee], None] = lambda trainee: None
    """Writes the current model."""
    preview: Callable[[Trainee, int, EventLog | None], None] = lambda trainee, seen, events: None
    """Writes previews of the published model, after so many items."""
    resume: str = "resume with the same command"
    """The hint how to resume the run."""

    def stopped(self, seen: int, total: int) -> DifftoolError:
        """The error that ends a run after a signal."""
        code = self.stop.code or Exit.TERMINATED
        message = f"stopped after {seen:,} of {total:,} {self.layout.items}; the state is saved"
        return DifftoolError(code, message, self.resume)

    def diverged(self, seen: int, lr: float) -> DifftoolError:
        """The error that ends a run whose loss is repeatedly not finite."""
        message = f"the loss was not finite {BAD_IN_A_ROW} times in a row, after {seen:,} {self.layout.items}"
        hint = f"{self.layout.again}, with a smaller learning rate than --lr {lr:g}"
        return DifftoolError(Exit.FAILED, f"{message}; the saved state is intact", hint)


class Cost(NamedTuple):
    """Samples that a run draws besides its updates, and passes of the network for each."""

    preview_samples: int
    evaluation_samples: int
    passes: float


def with_measured_sizes(
    config: RunConfig,
    make: Callable[[], tuple[Trainee, Task]],
    cost: Cost,
    end: float,
    preview_every: int | None = None,
) -> float:
    """Adds to the config, where it is missing, how many items fit in memory at once and how many will have been seen
    at `end` (`time.monotonic`). Returns the deadline of the last update."""
    train = config["train"]
    if "micro_batch" not in train:
        train["micro_batch"] = processes.agreed(lambda: items_that_fit(make()[1], train))
    per_update = 0.0
    if "images" not in train:
        per_update = seconds_per_update(make, train, train["micro_batch"])
        end -= _closing_seconds(cost, train, per_update)
        seconds_left, held = end - time.monotonic(), make()[1].held_out
        _, before = last_part(train)
        items = processes.agreed(lambda: _items_in_time(cost, train, held, per_update, preview_every, seconds_left))
        train["images"] = before + items
        if not processes.rank() and (updates := items // train["batch_size"]) < FEW_UPDATES:
            count = "1 update" if updates == 1 else f"{updates:,} updates"
            log.warning(f"--minutes is too short: beside previews and evaluation there is time for only {count}")
        return end
    return end - _closing_seconds(cost, train, per_update)


def _drawing_seconds(cost: Cost, train: TrainConfig, items: int, per_update: float) -> float:
    """Seconds for drawing: a forward pass is a quarter of an update (backward takes two, the optimiser one), and
    samples are drawn in batches."""
    return items * cost.passes * per_update / 4 / train["batch_size"]


def _closing_seconds(cost: Cost, train: TrainConfig, per_update: float) -> float:
    """Seconds from the last update to the end of the command."""
    return (
        _drawing_seconds(cost, train, cost.preview_samples + cost.evaluation_samples, per_update) + PLOTTING + CLOSING
    )


def _items_in_time(
    cost: Cost, train: TrainConfig, held: int, per_update: float, preview_every: int | None, seconds: float
) -> int:
    """Number of items that can be seen in so many seconds, with previews and evaluations of the held-out loss."""
    size = train["batch_size"]
    preview_seconds = _drawing_seconds(cost, train, cost.preview_samples, per_update) + PLOTTING
    seconds -= HELD_LINES * held / size * per_update / 3
    if preview_every is None:
        seconds -= (PREVIEWS - 1) * preview_seconds
    else:
        updates_between = max(preview_every / size, 1)  # at most one preview after each update
        per_update += preview_seconds / updates_between
    return max(int(seconds * (1 - MARGIN) / per_update), 1) * size


def ended(error: BaseException, stop: Stop, *, saved: bool, resume: str) -> DifftoolError | None:
    """The error for a run that was stopped by a signal, or ran out of memory or disk space, with the hint how to
    resume; `saved`: whether there is a checkpoint. None for any other error, which is raised as it is."""
    if isinstance(error, DifftoolError) and stop.code in (None, error.code):
        return None
    if not saved:
        resume = "run the same command again"
    state = "; the state is saved" if saved else ""
    if stop.code is not None:
        return DifftoolError(stop.code, f"stopped{state or ' before anything was trained'}", resume)
    if is_out_of_memory(error):
        return DifftoolError(Exit.MEMORY, f"out of memory{state}", f"close other programs, and {resume}")
    if is_disk_full(error):
        name = getattr(error, "filename", None)
        where = f": {name}" if name else ""
        return DifftoolError(Exit.FAILED, f"the disk is full{where}{state}", f"free some space, and {resume}")
    return None


def learn(
    folder: Path, config: RunConfig, trainee: Trainee, task: Task, context: RunContext, *, overwrite: bool = False
) -> None:
    """Makes the remaining updates of a run, with its log, checkpoints and previews in `folder`."""

    def begin() -> tuple[dict[str, Tensor], dict[str, str]]:
        folder.mkdir(parents=True, exist_ok=True)
        clear(folder, context.layout, overwrite)
        files.write_json(folder / "config.json", config)
        resume(folder, trainee, context.layout)
        return trainee.state()

    tensors, numbers = processes.agreed(begin)
    if processes.rank():
        trainee.restore(tensors, numbers)
    train = config["train"]
    size, total = train["batch_size"], train["images"]
    done = trainee.step * size
    parameters = sum(p.numel() for p in trainee.params)
    several = f" in {processes.count()} processes" if processes.count() > 1 else ""
    remaining = f"{total - done:,} of {total:,} {context.layout.items} left"
    log.info(f"{folder}: {parameters:,} parameters, seed {train['seed']}, {remaining}{several}")
    events = None
    if done:  # the process may have died after its last checkpoint, before the model or a preview was written
        processes.agreed(lambda: context.publish(trainee))
        preview_due = _is_due(_preview_every(context, train), done, size)
        undrawn = preview_due and not context.layout.preview(folder, done).exists()
        if done < total and processes.agreed(lambda: undrawn):
            events = None if processes.rank() else EventLog(folder, trainee.step)
            _draw(context, trainee, done, total, events)
    if done < total:
        with context.stop.at_once(False):
            events = _follow(folder, config, trainee, task, context, events)
            if any(processes.gathered(context.stop.code is not None)):  # while the last state was saved
                raise context.stopped(train["images"], train["images"])
    elif not processes.rank():
        events = EventLog(folder, trainee.step)
    context.preview(trainee, train["images"], events)
    if events is not None:
        events.close()


def _preview_every(context: RunContext, train: TrainConfig) -> int:
    return context.preview_every or math.ceil(len(part_at(train, train["images"])) / PREVIEWS)


def _store_averages(folder: Path, train: TrainConfig, trainee: Trainee, seen: int) -> None:
    """Stores the averages of the weights at the end of a run and at equal distances in its planned length, if its
    recipe says so."""
    if not (chosen(train, "keep_averages", False) and trainee.taken):
        return
    every = math.ceil(part_at(train, seen - 1).stop / SNAPSHOTS)
    if seen >= train["images"] or _is_due(every, seen, train["batch_size"]):
        processes.agreed(lambda: save_averages(folder, trainee))


def _draw(context: RunContext, trainee: Trainee, seen: int, total: int, events: EventLog | None) -> None:
    """Draws a preview. If that fails, the run continues without it. A signal stops it at once, as the state is
    saved."""
    try:
        with context.stop.at_once():
            context.preview(trainee, seen, events)
    except KeyboardInterrupt as error:
        raise context.stopped(seen, total) from error
    except DifftoolError as error:
        log.warning(f"cannot draw the preview at {seen:,} {context.layout.items}: {error.message}")


def _follow(
    folder: Path, config: RunConfig, trainee: Trainee, task: Task, context: RunContext, events: EventLog | None
) -> EventLog | None:
    """Makes the remaining updates; writes the log, saves, draws, and stops after a signal, or out of time on a machine
    that became slower. Returns the events, once something was written to it."""
    train = config["train"]
    size, total = train["batch_size"], train["images"]
    log_every = max((total - last_part(train)[1]) // size // LOG_LINES, 1) * size
    held_every = LOG_LINES // HELD_LINES * log_every
    preview_every = _preview_every(context, train)
    finite_updates: list[Update] = []
    failures, saved_at, timed_from = 0, time.monotonic(), time.monotonic()
    save_after = float(SAVE_SECONDS)

    def ask() -> tuple[bool, bool, bool]:
        now = time.monotonic()
        is_old = context.save_every is None and now - saved_at > save_after
        return context.stop.code is not None, now > context.end, is_old

    update_stream = updates(trainee, task, train, micro=train.get("micro_batch"), ask=ask)
    update_stream = context.track(update_stream, math.ceil(total / size) - trainee.step)
    for update in update_stream:
        seen = update.step * size
        last = seen >= total
        # several processes must agree, so they use the answers from before the update
        stopped, late, is_old = update.asked if processes.count() > 1 else ask()
        if late and not last:
            log.info(f"out of time; stopping after {seen:,} of {total:,} {context.layout.items}")
            train["images"], train["planned"] = seen, total  # this also ends the updates
            if not processes.rank():
                files.write_json(folder / "config.json", config)
            last = True
        finite_updates += [update] if update.finite else []
        failures = 0 if update.finite else failures + 1
        if failures == BAD_IN_A_ROW:
            raise context.diverged(seen, train["lr"])
        if finite_updates and (last or _is_due(log_every, seen, size)):
            line = _line(finite_updates, update, seen, update.step - trainee.taken)
            if not task.banded:
                line["bands"] = None
            now = time.monotonic()
            line["images_per_second"] = round(len(finite_updates) * size / (now - timed_from), 2)
            if last or _is_due(held_every, seen, size):
                _add_held_out_loss(line, trainee, task)
                _keep_if_best(folder, train, trainee, line)
            finite_updates, timed_from = [], time.monotonic()
            if not processes.rank():
                append(folder, line)
                events = events or EventLog(folder, trainee.step - 1)
                events.line(line)
        preview_due = _is_due(preview_every, seen, size) and not last and not failures
        wants_save = preview_due or is_old or _is_due(context.save_every, seen, size)
        save_due = wants_save and not failures  # never save a bad state
        _store_averages(folder, train, trainee, seen)  # before the state, so that it never lacks any
        if last or save_due or stopped:
            seconds = _save(folder, train, trainee, context)
            saved_at, save_after = time.monotonic(), max(SAVE_SECONDS, seconds / SAVE_SHARE)
        if stopped:
            raise context.stopped(seen, total)
        if preview_due:
            _draw(context, trainee, seen, total, events)
            timed_from = time.monotonic()
    return events


def _save(folder: Path, train: TrainConfig, trainee: Trainee, context: RunContext) -> float:
    """Saves the state and publishes the model; returns how many seconds that took."""
    began = time.monotonic()

    def keep() -> None:
        save(folder, trainee)
        if chosen(train, "keep_best", False):
            drop_worse(folder)
        context.publish(trainee)

    processes.agreed(keep)
    return time.monotonic() - began


def _keep_if_best(folder: Path, train: TrainConfig, trainee: Trainee, line: UpdateLine) -> None:
    """Stores the averages of a moment with the least held-out loss so far, if the recipe says so."""
    if chosen(train, "keep_best", False):
        processes.agreed(lambda: save_if_best(folder, trainee, line))


def _add_held_out_loss(line: UpdateLine, trainee: Trainee, task: Task) -> None:
    """Adds the held-out loss to a line of the log."""
    held = held_out(trainee, task)
    if held is None:
        return
    known = [value for value in held if value is not None]
    line["held_out"] = sum(known) / len(known)
    line["held_out_bands"] = held if task.banded else None


def _line(losses: list[Update], update: Update, seen: int, skipped: int) -> UpdateLine:
    """A line of the log about finite updates; `update` is the last one, finite or not."""
    bands = []
    for k in range(len(update.bands)):
        known = [band for each in losses if (band := each.bands[k]) is not None]
        bands.append(sum(known) / len(known) if known else None)
    return {
        "images": seen,
        "step": update.step,
        "loss": sum(each.loss for each in losses) / len(losses),
        "bands": bands,
        "lr": update.lr,
        "norm": update.norm if math.isfinite(update.norm) else None,
        "skipped": skipped,
    }


def _is_due(every: int | None, seen: int, size: int) -> bool:
    """Whether a multiple of `every` lies among the last `size` of `seen` items."""
    return every is not None and seen // every > (seen - size) // every
