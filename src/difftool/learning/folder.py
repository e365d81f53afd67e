"""The folder of a run: which run it holds, its checkpoints and its log."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

from .. import files
from ..errors import DifftoolError, Exit
from ..models import AVERAGES, SCHEMA, averages_of, save_average
from .config import Extension, Length, RunConfig, TrainConfig, last_part
from .differences import decisive, described, differences, short
from .loop import Trainee
from .runlog import LOG, PLOT, UpdateLine, held_out_of, read_log, updates_of

log = logging.getLogger(__name__)

LAST, PREVIOUS = "last.safetensors", "previous.safetensors"
REPORT = "report.html"
OWN_FILES = (LAST, PREVIOUS, LOG, PLOT, REPORT, "config.json")
MOST_BYTES = {"config.json": 2**24, LOG: 2**26}
"""Largest size of files that are read whole, in bytes."""
MOST_IMAGES = 10**15
EVENTS = "events.out.tfevents.*"
"""Names of TensorBoard's files."""

C = TypeVar("C", bound=RunConfig)


class Layout(NamedTuple):
    """The files that a kind of run writes to its folder, besides those of every run."""

    items: str
    """What is counted, such as pictures."""
    previews: str
    """The folder of previews."""
    drawn: str
    """A pattern for the names in it."""
    preview: Callable[[Path, int], Path]
    """The path of the preview after so many items, in the folder of a run."""
    models: tuple[str, ...] = ("model.safetensors",)
    """Files of which one exists once the run has published a model."""
    folders: tuple[str, ...] = ()
    """Other folders that a run creates."""
    figures: Collection[str] = ()
    """Names of the quality figures of a finished run."""
    defaults: Mapping[str, object] = {}
    """Values of settings that a config does not contain, by their place in it, such as train.flip."""
    options: Mapping[str, str] = {}
    """Names of settings for messages, by their place in a config."""
    again: str = "choose a new folder with --output-dir, or add --overwrite"
    """The hint how to begin anew."""
    extendable: bool = True
    """Whether `--more` extends a finished run."""

    @property
    def files(self) -> tuple[str, ...]:
        return (*OWN_FILES, *self.models)


def standing(folder: Path, config: C, layout: Layout, overwrite: bool, more: Length | None = None) -> tuple[C, bool]:
    """(the config to train by, whether that run is finished): the folder's own config if it holds the same run. With
    `more` that run is extended by this length if it is finished, and otherwise must be in such an extension. Changes
    nothing. Raises DifftoolError 4 if the folder holds something else, or no run to extend, 75 if that run has only
    begun."""
    there = _there(folder, config, layout, overwrite, more)
    if more is None:
        return there or (config, False)
    if there is None:
        if files.is_locked(folder):
            raise DifftoolError(Exit.LATER, f"{folder} is in use by another run", "wait for it to finish")
        hint = "pass the folder of a run with --output-dir, or leave out --more to begin a run"
        raise DifftoolError(Exit.FILE, f"there is no run in {folder} that --more could extend", hint)
    own, finished = there
    if finished:
        return _extended(folder, own, more), False
    _in_extension(folder, own["train"], more)
    return own, False


def _there(folder: Path, config: C, layout: Layout, overwrite: bool, more: Length | None) -> tuple[C, bool] | None:
    """(the config of the run in a folder, whether it is finished); None if it holds no run to resume."""
    if not folder.exists():
        return None
    if not files.made_here(folder / "config.json"):
        _refuse_foreign(folder, layout, overwrite)
        return None
    if overwrite:
        return None
    for name in layout.files:
        path = folder / name
        if os.path.lexists(path) and not path.is_file():
            raise _damaged(path, "not a regular file", layout)
        if name in MOST_BYTES and path.exists() and path.stat().st_size > MOST_BYTES[name]:
            raise _damaged(path, f"larger than {MOST_BYTES[name]:,} bytes", layout)
    there = cast(C, files.read_json(folder / "config.json"))
    modelled = any((folder / name).exists() for name in layout.models)
    if there.get("schema") == SCHEMA and not (resumable(folder) or modelled):
        return None  # that run ended before it had saved anything
    _same_run(folder, there, config, layout, extended=more is not None)
    _measured(folder / "config.json", there["train"], layout)
    drawn = modelled and layout.preview(folder, there["train"]["images"]).exists()
    finished = drawn and any(line.get("finished") for line in read_log(folder, layout.figures))
    if modelled and not finished and not resumable(folder):
        message = f"{folder} contains a model, but no checkpoint to resume from"
        raise DifftoolError(Exit.FILE, message, layout.again)
    return there, finished


def resumable(folder: Path) -> bool:
    """Whether a folder has a checkpoint."""
    return (folder / LAST).exists() or (folder / PREVIOUS).exists()


def _same_run(folder: Path, there: RunConfig, config: RunConfig, layout: Layout, *, extended: bool) -> None:
    """Raises DifftoolError 4, with the differences, if a folder holds another run. The length of a run that is to be
    `extended` does not matter."""
    differing = [*differences(there, config, layout.defaults)]
    other_length = [each for each in differing if each.key.startswith("train.length")]
    if extended:
        differing = [each for each in differing if each not in other_length]
    if not differing:
        return
    hint = layout.again
    if extended:
        hint = "repeat the options of the run, with --more in place of its length"
    elif layout.extendable and differing == other_length:
        hint = f"use --more AMOUNT instead of a length to train this run further; otherwise {hint}"
    apart = described(decisive(differing, layout.options), layout.options)
    message = f"{folder} contains another run: {apart}"
    raise DifftoolError(Exit.FILE, message, hint)


def _extended(folder: Path, config: C, more: Length) -> C:
    """The config of a finished run with one more extension; without the number of items if it is not known yet."""
    if not resumable(folder):
        message = f"{folder} contains a model, but no checkpoint to resume from"
        raise DifftoolError(Exit.FILE, message, f"begin a new run with its weights: --from {folder}")
    was = config["train"]
    extension: Extension = {"length": more, "after": was["images"]}
    if "planned" in was:
        extension["planned"] = was["planned"]
    train: dict[str, object] = {key: value for key, value in was.items() if key not in ("images", "planned")}
    train["more"] = [*was.get("more", []), extension]
    if "images" in more:
        train["images"] = was["images"] + math.ceil(more["images"] / was["batch_size"]) * was["batch_size"]
    return cast(C, {**config, "train": train})


def _in_extension(folder: Path, train: TrainConfig, more: Length) -> None:
    """Raises DifftoolError 4 unless an unfinished run is in an extension of this length."""
    length, _ = last_part(train)
    if "more" not in train:
        ((unit, value),) = length.items()
        hint = f"finish it first: repeat the command with --{unit} {value:.12g} in place of --more"
        raise DifftoolError(Exit.FILE, f"the run in {folder} is not finished yet", hint)
    if length != more:
        hint = f"finish it first: repeat the command with --more {_amount(length)}"
        raise DifftoolError(Exit.FILE, f"the run in {folder} has not finished --more {_amount(length)} yet", hint)


def _amount(length: Length) -> str:
    """The length of an extension, as it is typed."""
    if "images" in length:
        return f"{length['images']:.0f}"
    minutes = length["minutes"]
    return f"{minutes:.0f}m" if minutes == round(minutes) else f"{60 * minutes:.6g}s"


def _refuse_foreign(folder: Path, layout: Layout, overwrite: bool) -> None:
    """Raises DifftoolError 4 for a folder with files of others; with `overwrite`, only for those that a run would
    replace."""
    names = [path.name for path in folder.iterdir() if path.name != ".lock" and not path.match(files.TEMPORARY)]
    if overwrite:
        replaced = (*layout.files, layout.previews, *layout.folders)
        names = [name for name in names if name in replaced]
    if not names:
        return
    message = f"{folder} contains files that are not a run ({names[0]})"
    if "config.json" in names:
        message = f"{folder} contains a run or model that was not made by difftool ({names[0]})"
    raise DifftoolError(Exit.FILE, message, "choose a new folder with --output-dir")


def clear(folder: Path, layout: Layout, overwrite: bool) -> None:
    """Removes temporary files of a killed process, and with `overwrite` the run in this folder except for its config,
    which marks the folder as difftool's until a new config replaces it."""
    previews, averages = folder / layout.previews, folder / AVERAGES
    leftovers = [path for place in (folder, previews, averages) for path in place.glob(files.TEMPORARY)]
    drawn = [*previews.glob(layout.drawn), *folder.glob(EVENTS), *(path for path, *_ in averages_of(folder))]
    own = [folder / name for name in layout.files if name != "config.json"]
    for path in [*leftovers, *((*drawn, *own) if overwrite else ())]:
        if path.is_dir():  # a part of a pipeline
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _measured(path: Path, train: TrainConfig, layout: Layout) -> None:
    """Raises DifftoolError 4 if the numbers that a run measured, or its extensions, are impossible."""
    size = train["batch_size"]
    micro = train.get("micro_batch", 1)
    if type(micro) is not int or not 0 < micro <= size:
        raise _damaged(path, f"train.micro_batch is {short(micro)}", layout)
    extensions = train.get("more", [])
    if not (isinstance(extensions, list) and all(_is_extension(each, size) for each in extensions)):
        raise _damaged(path, f"train.more is {short(extensions)}", layout)
    images = train.get("images")
    for key, value in (("images", images), ("planned", train.get("planned", size))):
        if not _is_count(value, size):
            raise _damaged(path, f"train.{key} is {short(value)}", layout)
    ends = [*(each["after"] for each in extensions), images]
    if ends != sorted(set(ends)):
        raise _damaged(path, f"train.images is {images}, after {short(ends[:-1])}", layout)


def _is_extension(value: object, size: int) -> bool:
    """Whether this is an extension of a run with batches of this `size`."""
    if not (isinstance(value, Mapping) and isinstance(length := value.get("length"), Mapping) and len(length) == 1):
        return False
    ((unit, amount),) = length.items()
    measured = unit in ("minutes", "images") and type(amount) in (int, float) and 0 < amount <= MOST_IMAGES
    return measured and all(_is_count(value.get(key, size), size) for key in ("after", "planned")) and "after" in value


def _is_count(value: object, size: int) -> bool:
    """Whether this is a number of items in whole batches of this `size`."""
    return type(value) is int and 0 < value <= MOST_IMAGES and value % size == 0


def _damaged(path: Path, why: str, layout: Layout) -> DifftoolError:
    return DifftoolError(Exit.FILE, f"{path} is damaged: {why}", f"restore a copy; otherwise {layout.again}")


def save(folder: Path, trainee: Trainee) -> None:
    """Writes the checkpoint and keeps the one before it. One of them is complete at any moment."""
    tensors, numbers = trainee.state()
    fresh = files.temporary(folder / LAST)
    files.save_tensors(fresh, tensors, numbers)
    if (folder / LAST).exists():
        (folder / LAST).replace(folder / PREVIOUS)
    fresh.replace(folder / LAST)
    files.synced(folder)


def save_averages(folder: Path, trainee: Trainee) -> None:
    """Stores the averages of a run at this moment."""
    (folder / AVERAGES).mkdir(exist_ok=True)
    for std in trainee.averages:
        save_average(folder, trainee.averaged(std), trainee.taken, std)


class Best(NamedTuple):
    """The stored average with the least held-out loss, the first of several."""

    path: Path
    line: UpdateLine
    """Of the log"""


def best_average(folder: Path) -> Best | None:
    """The best of the averages stored in the folder of a run; None where there is none."""
    stored = {step: path for path, step, _ in averages_of(folder)}
    rows = [(line["step"] - line["skipped"], line) for line in updates_of(read_log(folder))]
    known = [Best(stored[taken], line) for taken, line in rows if taken in stored and "held_out" in line]
    return min(known, key=lambda best: held_out_of(best.line), default=None)


def save_if_best(folder: Path, trainee: Trainee, line: UpdateLine) -> None:
    """Stores the averages of a moment, with this line of the log, if none that is stored has a lower held-out loss."""
    best = best_average(folder)
    if best is None or held_out_of(line) < held_out_of(best.line):
        save_averages(folder, trainee)


def drop_worse(folder: Path) -> None:
    """Removes all stored averages but the best."""
    if best := best_average(folder):
        for path, *_ in averages_of(folder):
            if path != best.path:
                path.unlink()


def resume(folder: Path, trainee: Trainee, layout: Layout) -> None:
    """Restores the last intact checkpoint and removes later averages and lines of the log. If it is damaged, the
    previous one is used. Raises DifftoolError 4, with the checkpoints unchanged, if none can be used."""
    kept = [folder / name for name in (LAST, PREVIOUS) if (folder / name).exists()]
    most = 2**20 + 8 * sum(p.numel() * p.element_size() for p in trainee.params)  # twice what weights and moments take
    for path in kept:
        try:
            if path.stat().st_size > most:
                raise ValueError("too large for the state of this network")
            loaded = files.load_tensors(path)
            trainee.restore(loaded.tensors, loaded.metadata)
            if path.name == PREVIOUS:
                path.replace(folder / LAST)  # so that the damaged one does not become the previous one
                files.synced(folder)
            break
        except (DifftoolError, KeyError, ValueError) as error:
            if path == kept[-1] or isinstance(error.__cause__, OSError):
                message = f"no usable checkpoint in {folder}: {error}"
                hint = f"restore a copy; otherwise {layout.again}"
                raise DifftoolError(Exit.FILE, message, hint) from error
            log.warning(f"cannot use {path} ({error}); using the previous checkpoint")
    for path, step, _ in averages_of(folder):
        if step > trainee.taken:
            path.unlink()
    lines = [line for line in updates_of(read_log(folder)) if line["step"] <= trainee.step]
    files.write_text(folder / LOG, "".join(json.dumps(line) + "\n" for line in lines))
