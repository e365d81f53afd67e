"""The folder of a run: whose it is, its checkpoints and its log."""

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
from .config import RunConfig, TrainConfig
from .loop import Trainee
from .runlog import LOG, PLOT, read_log, updates_of

log = logging.getLogger(__name__)

LAST, PREVIOUS = "last.safetensors", "previous.safetensors"
REPORT = "report.html"
OWN_FILES = (LAST, PREVIOUS, LOG, PLOT, REPORT, "config.json")
MOST_BYTES = {"config.json": 2**24, LOG: 2**26}
"""Bytes of what is read whole."""
MOST_IMAGES = 10**15
SHOWN = 80
"""Characters of a setting in a message."""
EVENTS = "events.out.tfevents.*"
"""Names of what TensorBoard reads."""

C = TypeVar("C", bound=RunConfig)


class Layout(NamedTuple):
    """What a kind of run leaves in its folder, beside what every run does."""

    items: str
    """What is counted, such as pictures."""
    previews: str
    """The folder of what is shown on the way"""
    drawn: str
    """A pattern of the names in it."""
    preview: Callable[[Path, int], Path]
    """Where in the folder of a run stands what was shown after so many items."""
    models: tuple[str, ...] = ("model.safetensors",)
    """Files of which one is there where the run has published a model."""
    folders: tuple[str, ...] = ()
    """Other folders that a run makes."""
    figures: Collection[str] = ()
    """Names of the figures that the quality of a finished run has."""
    defaults: Mapping[str, object] = {}
    """Settings of the recipe as they are where a config does not tell of them."""

    @property
    def files(self) -> tuple[str, ...]:
        return (*OWN_FILES, *self.models)


def standing(folder: Path, config: C, layout: Layout, overwrite: bool) -> tuple[C, bool]:
    """(the config to train by, whether that run is finished already): the folder's own config where the same run stands
    there. Changes nothing. Raises DifftoolError 4 where the folder holds something else."""
    if not folder.exists():
        return config, False
    if not files.made_here(folder / "config.json"):
        inside = [path.name for path in folder.iterdir() if path.name != ".lock" and not path.match(files.TEMPORARY)]
        foreign = [
            name for name in inside if not overwrite or name in (*layout.files, layout.previews, *layout.folders)
        ]
        if foreign:
            other = f"another run or model, which difftool did not make ({foreign[0]})"
            what = other if "config.json" in foreign else f"no run but other files ({foreign[0]})"
            raise DifftoolError(Exit.FILE, f"{folder} holds {what}", "choose a new folder with --output-dir")
        return config, False
    if overwrite:
        return config, False
    for name in layout.files:
        path = folder / name
        if os.path.lexists(path) and not path.is_file():
            raise _damaged(path, "it is no file")
        if name in MOST_BYTES and path.exists() and path.stat().st_size > MOST_BYTES[name]:
            raise _damaged(path, f"it is longer than {MOST_BYTES[name]:,} bytes")
    there = cast(C, files.read_json(folder / "config.json"))
    resumable = (folder / LAST).exists() or (folder / PREVIOUS).exists()
    modelled = any((folder / name).exists() for name in layout.models)
    if there.get("schema") == SCHEMA and not (resumable or modelled):
        return config, False  # that run ended before it had saved anything
    if differences := _differences(there, config, layout.defaults):
        raise DifftoolError(
            Exit.FILE,
            f"{folder} holds another run: {'; '.join(differences)}",
            "choose a new folder with --output-dir, or add --overwrite",
        )
    _measured(folder / "config.json", there["train"])
    drawn = modelled and layout.preview(folder, there["train"]["images"]).exists()
    finished = drawn and any(line.get("finished") for line in read_log(folder, layout.figures))
    if modelled and not finished and not resumable:
        raise DifftoolError(
            Exit.FILE,
            f"{folder} holds a model but no checkpoint to go on from",
            "choose a new folder, or add --overwrite",
        )
    return there, finished


def clear(folder: Path, layout: Layout, overwrite: bool) -> None:
    """Removes what a killed process left half written, and with `overwrite` the run that stood here, but for its
    config, by which the folder is known as one of ours until another config takes that place."""
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
    """What differs between two configs, as "name: there -> here"; a number of items that was measured is no
    difference, nor is how many are taken at once or the scale of latents. `defaults` are of the recipe."""
    if not (isinstance(standing, Mapping) and isinstance(wanted, Mapping)):
        return [] if standing == wanted else [f"{where}: {_short(standing)} there, {_short(wanted)} here"]
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
    """Raises DifftoolError 4 where the numbers that a run adds to its config are none that it can have found."""
    size = train["batch_size"]
    for key, most in (("images", MOST_IMAGES), ("planned", MOST_IMAGES), ("micro_batch", size)):
        value = train.get(key, size)
        if type(value) is not int or not 0 < value <= most or (key != "micro_batch" and value % size):
            raise _damaged(path, f"train.{key} is {_short(value)}")


def _damaged(path: Path, why: str) -> DifftoolError:
    hint = "put back a copy, choose a new folder with --output-dir, or add --overwrite"
    return DifftoolError(Exit.FILE, f"{path} is damaged: {why}", hint)


def save(folder: Path, trainee: Trainee) -> None:
    """The checkpoint, and the one before it. At each moment one is whole."""
    tensors, numbers = trainee.state()
    fresh = files.temporary(folder / LAST)
    files.save_tensors(fresh, tensors, numbers)
    if (folder / LAST).exists():
        (folder / LAST).replace(folder / PREVIOUS)
    fresh.replace(folder / LAST)
    files.synced(folder)


def resume(folder: Path, trainee: Trainee) -> None:
    """Goes back to the last checkpoint that is intact, and takes later lines out of the log. A damaged one gives way to
    the one before. Raises DifftoolError 4, with the checkpoints as they were, where none can be used."""
    kept = [folder / name for name in (LAST, PREVIOUS) if (folder / name).exists()]
    most = 2**20 + 8 * sum(p.numel() * p.element_size() for p in trainee.params)  # twice what weights and moments take
    for path in kept:
        try:
            if path.stat().st_size > most:
                raise ValueError("it is larger than the state of this network")
            loaded = files.load_tensors(path)
            trainee.restore(loaded.tensors, loaded.metadata)
            if path.name == PREVIOUS:
                path.replace(folder / LAST)  # lest the damaged one become the previous
                files.synced(folder)
            break
        except (DifftoolError, KeyError, ValueError) as error:
            if path == kept[-1] or isinstance(error.__cause__, OSError):
                raise DifftoolError(
                    Exit.FILE,
                    f"no checkpoint in {folder} can be used: {error}",
                    "put back a copy, choose a new folder with --output-dir, or add --overwrite",
                ) from error
            log.warning(f"{path} cannot be used ({error}); going back to the checkpoint before")
    lines = [line for line in updates_of(read_log(folder)) if line["step"] <= trainee.step]
    files.write_text(folder / LOG, "".join(json.dumps(line) + "\n" for line in lines))
