"""Runs: the folders that commands have written to, what they hold, and how to go on with them."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from .audio import FORMATS
from .errors import DifftoolError, Exit, nearest
from .files import (
    ANY,
    RESULT,
    TEMPORARY,
    Manifest,
    expanded,
    is_locked,
    lock,
    made_here,
    read_json,
    remove_folders,
)
from .learning.config import items_of
from .limits import counted
from .presets import family
from .provenance import beside, data_path
from .settings import name_of, options

if TYPE_CHECKING:
    from .learning.runlog import ClosingLine, UpdateLine
    from .train.recipe import PictureConfig

PLACES = ("outputs", "runs")
"""Where runs lie, in the current folder: the default of all commands, and where README puts training."""
DEEPEST = 3
"""Levels below such a folder that are searched."""
FINISHED, UNFINISHED, PARTIAL, RUNNING = "finished", "unfinished", "partial", "running"
"""States of a run; of a partial one, some items are missing or failed."""
CONFIG, LOG = "config.json", "log.jsonl"
"""Files of a training run."""
PARTS = ".parts"
"""The suffix of the folder of a long text."""
BOOK = "manifest.json"
ITEM = re.compile(r"(?:^|-)(\d{5})-\d+$")
"""The end of the name of an item without its suffix: its index and its seed."""
WHOLE = ("grid.png", "compare.png")
"""Results that stand for all items of a run."""
TRIED = 20
"""Most files that are opened to see whether a folder holds results."""
EVENTS, LATENTS = "events.out.tfevents.*", "latents.safetensors"
"""Other files of a training run: TensorBoard's, and what an autoencoder has encoded."""
TAIL = 2**16
"""Bytes at the end of a log that hold its last line."""
PIPELINE_FILES = re.compile(
    r"(scheduler|tokenizer|text_encoder|unet|vae)/"
    r"(\w*config\.json|(diffusion_pytorch_)?model\.safetensors|merges\.txt|vocab\.json|special_tokens_map\.json)"
)
"""Files of the parts of a pipeline that training has made."""


class Run(NamedTuple):
    """A run and its folder."""

    path: Path
    command: str
    when: str
    """When it was made, in UTC."""
    state: str
    about: str
    """How far it is, in words."""
    again: str | None
    """The command that goes on with it or makes it again, or words that say which."""
    settings: Mapping[str, object]
    files: list[Path]

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.lstat().st_size for path in self.files)


def find(folders: Sequence[Path] = ()) -> list[Run]:
    """The runs in these folders, default: those of `PLACES` that exist, the oldest first. Raises DifftoolError 4 for a
    folder that does not exist."""
    for folder in folders:
        if not folder.is_dir():
            raise DifftoolError(Exit.FILE, f"there is no folder {folder}", "pass a folder that contains runs")
    roots = folders or [Path(name) for name in PLACES if Path(name).is_dir()]
    found = {run.path.resolve(): run for root in roots for run in _below(root)}
    return sorted(found.values(), key=lambda run: (run.when, run.path))


def named(name: str, folders: Sequence[Path] = ()) -> Run:
    """The run of that path, or of that name among those that `find` finds. Raises DifftoolError 4 if there is none or
    the path is a part of a training run, 2 if there are several."""
    folder = expanded(name)
    if folder.is_dir():
        if (whole := _containing(folder)) is not None:
            hint = f"pass the whole run: {shlex.quote(str(whole))}"
            raise DifftoolError(Exit.FILE, f"{folder} is part of the run in {whole}", hint)
        if (run := _opened(folder)) is not None:
            return run
    known = find(folders)
    matches = [run for run in known if run.path.name == name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        paths = " or ".join(str(run.path) for run in matches)
        raise DifftoolError(Exit.USAGE, f"several runs are named {name}", f"pass its path: {paths}")
    near = nearest(name, [run.path.name for run in known])
    meant = f"; did you mean {near}?" if near else ""
    message = f"{folder} holds no run of difftool" if folder.is_dir() else f"there is no run {name}{meant}"
    raise DifftoolError(Exit.FILE, message, "list the runs with difftool runs ls")


def remove(names: Iterable[str], *, dry_run: bool = False) -> list[Path]:
    """Removes the folders of runs, all or none; returns them. Raises DifftoolError as `named`, and 4 for a folder that
    holds files which difftool did not make, 75 for one in use."""
    runs = list({run.path.resolve(): run for run in map(named, names)}.values())
    for run in runs:
        if run.path.is_symlink() or Path.cwd().is_relative_to(run.path.resolve()):
            reason = "is a link" if run.path.is_symlink() else "is the current folder, or above it"
            raise DifftoolError(Exit.FILE, f"{run.path} {reason}", "pass the folder of a run")
        _refuse_foreign(run)
        for folder in _lockable(run.path):
            if is_locked(folder):
                message = f"{folder} is in use by another run"
                raise DifftoolError(Exit.LATER, message, "wait for it to end")
    if not dry_run:
        for run in runs:
            with lock(run.path):
                remove_folders([run.path])
    return [run.path for run in runs]


def _refuse_foreign(run: Run) -> None:
    """Raises DifftoolError 4 if the folder of a run holds files of others, or of other runs."""
    for path in _files_below(run.path):
        if path not in run.files:
            raise DifftoolError(Exit.FILE, f"{path} is not part of the run in {run.path}", "move it away first")
        if not _is_own(run, path):
            message = f"{path} was not made by difftool and may be the only copy"
            raise DifftoolError(Exit.FILE, message, "move it away first")


def _files_below(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if not path.is_dir() or path.is_symlink()]


def _below(root: Path) -> Iterator[Run]:
    """The runs in a folder, itself included. Folders in that of a training run belong to it."""
    for path, folders, _ in os.walk(root):
        folder = Path(path)
        run = _opened(folder)
        if run is not None:
            yield run
        is_deepest = len(folder.relative_to(root).parts) == DEEPEST
        if is_deepest or (run is not None and run.command == "train"):
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not name.endswith(PARTS))


def _opened(folder: Path) -> Run | None:
    """The run in a folder, if there is one that can be read."""
    try:
        if (folder / LOG).is_file() and made_here(folder / CONFIG):
            return _training(folder)
        return _results(folder)
    except (DifftoolError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None  # of others, or damaged


def _containing(folder: Path) -> Path | None:
    """The folder of the training run that made a folder inside its own, for its previews or its networks."""
    inner = folder if folder.name not in ("", "..") else folder.resolve()
    above = inner.parent
    if not ((above / LOG).is_file() and made_here(above / CONFIG)):
        return None
    from .train.previews import layout

    laid = layout()
    return above if inner.name in (laid.previews, *laid.folders) else None


def _changed(path: Path) -> str:
    """When a file was last changed, in UTC."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")


# --- training --------------------------------------------------------------------------------------------------------


def _training(folder: Path) -> Run:
    config = cast("PictureConfig", read_json(folder / CONFIG))
    train = config["train"]
    last = _last_line(folder / LOG)
    total = train.get("images", 0)
    item = items_of(config).removesuffix("s")
    if last is not None and "finished" in last:
        state, about = FINISHED, f"{counted(total, item)} of {train['data']['name']}"
    else:
        state = RUNNING if is_locked(folder) else UNFINISHED
        about = f"{last['images'] if last else 0:,} of {total:,}"
    when = _changed(folder / CONFIG)
    again = _train_command(folder, config)
    return Run(folder, "train", when, state, about, again, train, _files_below(folder))


def _last_line(log: Path) -> ClosingLine | UpdateLine | None:
    """The last complete line of a log."""
    with log.open("rb") as file:
        file.seek(-min(log.stat().st_size, TAIL), os.SEEK_END)
        lines = file.read().splitlines()
    for line in reversed(lines):
        try:
            value = json.loads(line)
        except ValueError:
            continue  # cut off
        if isinstance(value, dict):
            return cast("ClosingLine | UpdateLine", value)
    return None


def _train_command(folder: Path, config: PictureConfig) -> str:
    """The command that trained a run. Its data are named DATA where this machine does not know their place, which is
    not stored in the run."""
    from .train.data import pictures, sound_sets
    from .train.settings import Settings

    train = cast("dict[str, Any]", config["train"])
    row = family("train").get(train["preset"], {})  # another version may have had other presets
    given = {"preset": train["preset"], **_length(train)}
    recipe = {name: train[name] for name, option in options(Settings).items() if option.stored and name in train}
    recipe |= {"target": config["target"], "betas": config["path"].get("betas"), "seed": train["seed"]}
    usual = {"seed": 0, **row}
    given |= {name: value for name, value in recipe.items() if value is not None and value != usual.get(name)}
    if "init_from" in train:
        given["init_from"] = _begun_with(folder, train["init_from"]["name"])
    if config["net"].get("learned_range"):
        given["learned_range"] = True
    name = train["data"]["name"]
    data = name
    if name not in {**pictures.BUILT_IN, **sound_sets.BUILT_IN}:
        data = str(data_path(str(train["data"].get("sha256"))) or "DATA")
        height, width = config["size"]
        sound = config.get("sound")
        if sound is None:
            given["size"] = f"{width}x{height}"
        else:
            given |= {"sound_format": sound["format"], "frames": sound["frames"]}
    given |= {"dtype": train["dtype"], "output_dir": folder}
    words = ["difftool", "train", data]
    for name, value in given.items():
        option = options(Settings).get(name)
        spelling = f"--{name.replace('_', '-')}" if option is None else name_of(name, option)
        words += [spelling] if value is True else [spelling, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def _begun_with(folder: Path, name: str) -> Path | str:
    """The model that a run began with: a folder of that name beside the run's own, in one of `PLACES` or here.
    Otherwise the name, which is that of the bundled model or all that is known."""
    places = [folder.parent, *map(Path, PLACES), Path("outputs/train"), Path()]
    return next((place / name for place in places if made_here(place / name / CONFIG)), name)


def _length(train: Mapping[str, Any]) -> dict[str, object]:
    """The options for the length of a run, or for its last extension by --more."""
    if not train.get("more"):
        return train["length"]
    ((unit, value),) = train["more"][-1]["length"].items()
    return {"more": f"{value:g}m" if unit == "minutes" else f"{value:.0f}"}


# --- pictures and sounds ---------------------------------------------------------------------------------------------


def _results(folder: Path) -> Run | None:
    """The run whose pictures or sounds lie in a folder."""
    files = [path for path in sorted(folder.iterdir()) if not path.is_dir()]
    books = [path for path in sorted(folder.glob(f"*{PARTS}")) if made_here(path / BOOK)]
    results = [path for path in files if path.suffix.lower() in (".png", *FORMATS)]
    results.sort(key=lambda path: (path.name not in WHOLE, ITEM.search(path.stem) is None))
    first = next((path for path in results[:TRIED] if _manifest(path)), None)
    if first is None and not books:
        return None
    note = _manifest(first) if first else None
    if note is not None:
        command, when, settings = note["command"], note["created"], note["settings"]
    else:
        command, when, settings = "voice clone", _changed(books[0] / BOOK), read_json(books[0] / BOOK)["config"]
    state, about = _progress(results, settings, books)
    again = _again(folder, command, state, first, books)
    inner = [path for book in books for path in sorted(book.iterdir())]
    return Run(folder, command, when, state, about, again, settings, [*files, *inner])


def _manifest(path: Path) -> Manifest | None:
    """The manifest of a picture or a sound, if it has one."""
    if not made_here(path, RESULT):
        return None
    try:
        if path.suffix.lower() == ".png":
            from .pictures.png import read_manifest

            return cast("Manifest | None", read_manifest(path))
        return cast("Manifest", read_json(beside(path)))
    except DifftoolError:
        return None


def _progress(results: Sequence[Path], settings: Mapping[str, object], books: Sequence[Path]) -> tuple[str, str]:
    """(state, how far it is in words) of a run of pictures or sounds."""
    parts = [part["state"] for book in books for part in read_json(book / BOOK)["parts"]]
    done = parts.count("done")
    if done < len(parts):
        about = f"{done:,} of {counted(len(parts), 'part')}"
        if any(map(is_locked, books)):
            return RUNNING, about
        return (PARTIAL, f"{about}, {parts.count('failed')} failed") if "failed" in parts else (UNFINISHED, about)
    if books and not results:
        return UNFINISHED, f"all {counted(done, 'part')}, not joined"
    items = {int(match[1]) for path in results if (match := ITEM.search(path.stem))}
    noun = "sound" if results[0].suffix.lower() in FORMATS else "picture"
    if not items:
        return FINISHED, counted(len(results), noun)
    count = settings.get("count")
    planned = max(max(items) + 1, count if isinstance(count, int) else 0)
    if len(items) < planned:
        return PARTIAL, f"{len(items):,} of {counted(planned, noun)}"
    return FINISHED, counted(planned, noun)


def _again(folder: Path, command: str, state: str, first: Path | None, books: Sequence[Path]) -> str | None:
    if books and state != FINISHED:
        return f"the same command with -o {shlex.quote(str(books[0].with_suffix('.wav')))}"
    if state == PARTIAL and command == "txt2img":
        return f"the same command with --output-dir {shlex.quote(str(folder))} --skip-existing"
    if first is None or command not in ("sample", "txt2img", "voice clone"):
        return None
    return f"difftool rerun {shlex.quote(str(first))}"


def _lockable(folder: Path) -> list[Path]:
    """The folders of a run that a command locks while it writes there."""
    return [folder, *folder.glob(f"*{PARTS}"), folder / "autoencoder"]


def _is_own(run: Run, path: Path) -> bool:
    """Whether difftool made a file in the folder of a run."""
    if path.is_symlink():
        return False
    if path.match(TEMPORARY) or path.name == ".lock":
        return True
    if run.command != "train":
        in_book = path.parent.suffix == PARTS and re.fullmatch(r"\d+-[0-9a-f]{8}(-\d+)?\.wav", path.name)
        return bool(in_book) or made_here(path, ANY)
    from .models import AVERAGE, AVERAGES
    from .train.previews import AUTOENCODER, layout

    laid = layout()
    name = path.relative_to(run.path)
    name = name.relative_to(AUTOENCODER) if name.parts[0] == AUTOENCODER else name
    if len(name.parts) == 1:
        return str(name) in (*laid.files, LATENTS) or name.match(EVENTS)
    is_preview = name.parts[0] == laid.previews and len(name.parts) == 2 and name.match(laid.drawn)
    is_average = name.parent == Path(AVERAGES) and AVERAGE.fullmatch(name.name) is not None
    return is_preview or is_average or PIPELINE_FILES.fullmatch(name.as_posix()) is not None
