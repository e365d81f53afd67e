"""The folder of a run: which run it holds, its checkpoints and its log."""

from __future__ import annotations

import json
import logging
import os
import reprlib
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

from .. import files
from ..errors import DifftoolError, Exit
from ..models import SCHEMA
from .config import RunConfig, TrainConfig, readable
from .loop import Trainee
from .runlog import LOG, PLOT, read_log, updates_of

log = logging.getLogger(__name__)

LAST, PREVIOUS = "last.safetensors", "previous.safetensors"
REPORT = "report.html"
OWN_FILES = (LAST, PREVIOUS, LOG, PLOT, REPORT, "config.json")
MOST_BYTES = {"config.json": 2**24, LOG: 2**26}
"""Largest size of files that are read whole, in bytes."""
MOST_IMAGES = 10**15
SHOWN = 80
"""Longest setting in a message, in characters."""
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
    """Values of recipe settings that a config does not contain."""

    @property
    def files(self) -> tuple[str, ...]:
        return (*OWN_FILES, *self.models)


def standing(folder: Path, config: C, layout: Layout, overwrite: bool) -> tuple[C, bool]:
    """(the config to train by, whether that run is finished): the folder's own config if it holds the same run. Changes
    nothing. Raises DifftoolError 4 if the folder holds something else."""
    if not folder.exists():
        return config, False
    if not files.made_here(folder / "config.json"):
        _refuse_foreign(folder, layout, overwrite)
        return config, False
    if overwrite:
        return config, False
    for name in layout.files:
        path = folder / name
        if os.path.lexists(path) and not path.is_file():
            raise _damaged(path, "not a regular file")
        if name in MOST_BYTES and path.exists() and path.stat().st_size > MOST_BYTES[name]:
            raise _damaged(path, f"larger than {MOST_BYTES[name]:,} bytes")
    there = cast(C, files.read_json(folder / "config.json"))
    resumable = (folder / LAST).exists() or (folder / PREVIOUS).exists()
    modelled = any((folder / name).exists() for name in layout.models)
    if there.get("schema") == SCHEMA and not (resumable or modelled):
        return config, False  # that run ended before it had saved anything
    if differences := _differences(there, config, layout.defaults):
        message = f"{folder} holds another run: {'; '.join(differences)}"
        raise DifftoolError(Exit.FILE, message, "choose a new folder with --output-dir, or add --overwrite")
    _measured(folder / "config.json", there["train"])
    drawn = modelled and layout.preview(folder, there["train"]["images"]).exists()
    finished = drawn and any(line.get("finished") for line in read_log(folder, layout.figures))
    if modelled and not finished and not resumable:
        message = f"{folder} holds a model, but no checkpoint to resume from"
        raise DifftoolError(Exit.FILE, message, "choose a new folder, or add --overwrite")
    return there, finished


def _refuse_foreign(folder: Path, layout: Layout, overwrite: bool) -> None:
    """Raises DifftoolError 4 for a folder with files of others; with `overwrite`, only for those that a run would
    replace."""
    names = [path.name for path in folder.iterdir() if path.name != ".lock" and not path.match(files.TEMPORARY)]
    if overwrite:
        replaced = (*layout.files, layout.previews, *layout.folders)
        names = [name for name in names if name in replaced]
    if not names:
        return
    message = f"{folder} holds other files, not a run ({names[0]})"
    if "config.json" in names:
        message = f"{folder} holds another run or model, not made by difftool ({names[0]})"
    raise DifftoolError(Exit.FILE, message, "choose a new folder with --output-dir")


def clear(folder: Path, layout: Layout, overwrite: bool) -> None:
    """Removes temporary files of a killed process, and with `overwrite` the run in this folder except for its config,
    which marks the folder as difftool's until a new config replaces it."""
    previews = folder / layout.previews
    leftovers = [*folder.glob(files.TEMPORARY), *previews.glob(files.TEMPORARY)]
    drawn = [*previews.glob(layout.drawn), *folder.glob(EVENTS)]
    own = [folder / name for name in layout.files if name != "config.json"]
    for path in [*leftovers, *((*drawn, *own) if overwrite else ())]:
        if path.is_dir():  # a part of a pipeline
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _differences(standing: object, wanted: object, defaults: Mapping[str, object], where: str = "") -> list[str]:
    """The differences of two configs, as "name: OLD there, NEW here". A measured number of items, the micro-batch and
    the scale of latents do not count. `defaults` are those of the recipe."""
    if not (isinstance(standing, Mapping) and isinstance(wanted, Mapping)):
        there, here = (_short(readable(where, value)) for value in (standing, wanted))
        return [] if standing == wanted else [f"{where}: {there} there, {here} here"]
    same_length = where == "train" and standing.get("length") == wanted.get("length")
    measured = {"images", "planned"} if same_length and "images" not in wanted else set()
    measured |= {"micro_batch", "scale"} if where == "train" else set()
    known = defaults if where == "train" else {}
    lines = []
    for key in {**standing, **wanted}:
        if key not in measured:
            there, here = (config.get(key, known.get(key)) for config in (standing, wanted))
            lines += _differences(there, here, defaults, f"{where}.{key}".strip("."))
    return lines


def _short(value: object) -> str:
    text = str(value) if isinstance(value, (str, int, float)) else reprlib.repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _measured(path: Path, train: TrainConfig) -> None:
    """Raises DifftoolError 4 if the numbers that a run measured are impossible."""
    size = train["batch_size"]
    for key, most in (("images", MOST_IMAGES), ("planned", MOST_IMAGES), ("micro_batch", size)):
        value = train.get(key, size)
        if type(value) is not int or not 0 < value <= most or (key != "micro_batch" and value % size):
            raise _damaged(path, f"train.{key} is {_short(value)}")


def _damaged(path: Path, why: str) -> DifftoolError:
    hint = "restore a copy, choose a new folder with --output-dir, or add --overwrite"
    return DifftoolError(Exit.FILE, f"{path} is damaged: {why}", hint)


def save(folder: Path, trainee: Trainee) -> None:
    """Writes the checkpoint and keeps the one before it. One of them is complete at any moment."""
    tensors, numbers = trainee.state()
    fresh = files.temporary(folder / LAST)
    files.save_tensors(fresh, tensors, numbers)
    if (folder / LAST).exists():
        (folder / LAST).replace(folder / PREVIOUS)
    fresh.replace(folder / LAST)
    files.synced(folder)


def resume(folder: Path, trainee: Trainee) -> None:
    """Restores the last intact checkpoint and removes later lines from the log. If it is damaged, the previous one is
    used. Raises DifftoolError 4, with the checkpoints unchanged, if none can be used."""
    kept = [folder / name for name in (LAST, PREVIOUS) if (folder / name).exists()]
    most = 2**20 + 8 * sum(p.numel() * p.element_size() for p in trainee.params)  # twice what weights and moments take
    for path in kept:
        try:
            if path.stat().st_size > most:
                raise ValueError("larger than the state of this network")
            loaded = files.load_tensors(path)
            trainee.restore(loaded.tensors, loaded.metadata)
            if path.name == PREVIOUS:
                path.replace(folder / LAST)  # so that the damaged one does not become the previous one
                files.synced(folder)
            break
        except (DifftoolError, KeyError, ValueError) as error:
            if path == kept[-1] or isinstance(error.__cause__, OSError):
                message = f"no checkpoint in {folder} can be used: {error}"
                hint = "restore a copy, choose a new folder with --output-dir, or add --overwrite"
                raise DifftoolError(Exit.FILE, message, hint) from error
            log.warning(f"cannot use {path} ({error}); using the previous checkpoint")
    lines = [line for line in updates_of(read_log(folder)) if line["step"] <= trainee.step]
    files.write_text(folder / LOG, "".join(json.dumps(line) + "\n" for line in lines))
