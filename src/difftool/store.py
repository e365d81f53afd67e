"""The model store: available and installed models, and their integrity. Nothing else in difftool downloads.

A model is a folder of the store with the file names of its source; `download` describes the files beside them.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from .download import (
    CHUNK,
    Announced,
    adopt,
    announce,
    fetch,
    hash_beside,
    hub,
    is_that,
    note_of,
    part_of,
    part_size,
    settle,
)
from .errors import DifftoolError, Exit, pick
from .files import TEMPORARY, digest_of, expanded, lock, writable
from .limits import counted
from .presets import typed
from .presets.rows import StoreRow
from .progress import Track, untracked

log = logging.getLogger(__name__)

DERIVED = ".difftool.safetensors"
"""Suffix of files that were derived from a file of the store."""


class Entry(NamedTuple):
    """A model that can be downloaded."""

    name: str
    about: str
    licence: str
    files: tuple[str, ...]
    source: str
    """hub:OWNER/NAME, or the URL of a folder."""
    sha256: str | None
    """The hash of its only file, if known in advance."""

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs of its files. Raises DifftoolError 2 if HF_ENDPOINT is not a URL."""
        kind, _, repository = self.source.partition(":")
        base = f"{hub()}/{repository}/resolve/main" if kind == "hub" else self.source
        return tuple(f"{base}/{quote(file)}" for file in self.files)


class Held(NamedTuple):
    """A file of the store."""

    path: Path
    size: int
    """Bytes on disk, also of a partial download."""
    state: str
    """whole, partial, missing, or unchecked (no hash beside it); from `verify` also damaged."""


class Stored(NamedTuple):
    """A model with its files on disk."""

    entry: Entry
    files: tuple[Held, ...]

    @property
    def state(self) -> str:
        """The state of all files if they agree; unchecked if all exist; else partial."""
        states = {file.state for file in self.files}
        if len(states) == 1:
            return states.pop()
        return "unchecked" if states == {"whole", "unchecked"} else "partial"

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.size for file in self.files)

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.files[0].path.parents[self.entry.files[0].count("/")]


class Coming(NamedTuple):
    """A file to be downloaded, or to be copied from another file."""

    path: Path
    announced: Announced
    url: str
    copied: Path | None


class Pulled(NamedTuple):
    """The result of `pull`."""

    models: list[Stored]
    fetched: list[Coming]


def home(models_dir: Path | None = None) -> Path:
    """The folder of the models: `models_dir`, or in the user's data folder."""
    if models_dir is not None:
        return expanded(models_dir)
    from platformdirs import user_data_path

    return user_data_path("difftool") / "models"


def entries() -> dict[str, Entry]:
    """All models that can be downloaded, by name."""
    return {
        name: Entry(name, row.about, row.licence, row.files, row.source, row.sha256)
        for name, row in typed(StoreRow).items()
    }


def entry(name: str) -> Entry:
    """The model of that name. Raises DifftoolError 2, with the nearest name, if there is none."""
    return pick("model", name.strip().lower().replace("_", "-"), entries())


def _chosen(names: Iterable[str]) -> list[Entry]:
    """The models of these names, without repeats."""
    return list({model.name: model for model in map(entry, names)}.values())


def held(model: Entry, models_dir: Path | None = None) -> list[Held]:
    """The files of a model on disk, without reading them."""
    return [_held(home(models_dir) / model.name / file) for file in model.files]


def stored(model: Entry, models_dir: Path | None = None) -> Stored:
    """A model with its files on disk."""
    return Stored(model, tuple(held(model, models_dir)))


def _held(path: Path) -> Held:
    if path.exists():
        return Held(path, path.stat().st_size, "whole" if hash_beside(path) else "unchecked")
    part = part_of(path)
    return Held(path, part.stat().st_size, "partial") if part.exists() else Held(path, 0, "missing")


def pull(
    *names: str,
    source: str | Path | None = None,
    models_dir: str | Path | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    track: Track = untracked,
) -> Pulled:
    """Downloads the missing files of models: resumes partial downloads, verifies each file against its published hash,
    and stores the hash beside it.

    source: a folder to copy from instead, on a machine without a network; models_dir: the folder of the store;
    overwrite: also replace files that do not match their published hash; dry_run: change nothing.

    Raises DifftoolError: 2 for an unknown name, 4 if a file cannot be downloaded, does not match, or is in the way, 75
    while another run downloads the same model.
    """
    models = _chosen(names)
    origin = None if source is None else Path(source)
    folder = None if models_dir is None else Path(models_dir)
    if origin is not None and not origin.is_dir():
        raise DifftoolError(Exit.FILE, f"{origin} is not a folder", "pass the folder that contains the files")
    fetched: list[Coming] = []
    for model in models:
        coming = _coming(model, origin, folder, overwrite=overwrite)
        place = home(folder) / model.name
        if coming and not dry_run:
            with writable(place, option="--models-dir"), lock(place):
                remaining = sum((file.announced.size or 0) - part_size(file.path) for file in coming)
                room_for(remaining, place)
                for file in coming:
                    _fetch(file, overwrite=overwrite, track=track)
        fetched += coming
    return Pulled([stored(model, folder) for model in models], fetched)


def _coming(model: Entry, source: Path | None, models_dir: Path | None, *, overwrite: bool) -> list[Coming]:
    """The files of a model to download, after logging their size and licence; with `overwrite`, also those that do not
    match their published hash."""
    copies = [None] * len(model.files) if source is None else found_in(source, model)
    coming = []
    urls = model.urls if source is None else model.files
    for file, url, copied in zip(held(model, models_dir), urls, copies, strict=True):
        if file.state == "whole" and not overwrite:
            continue
        announced = announce(url, model.sha256) if copied is None else announced_by(copied, model.sha256)
        if file.state == "whole" and announced.digest is not None and _is_whole(file.path, announced):
            continue
        _refuse_other(file.path, announced, overwrite=overwrite)
        coming.append(Coming(file.path, announced, url, copied))
    if coming:
        sizes = [file.announced.size for file in coming]
        amount = "of unknown size" if None in sizes else megabytes(sum(size or 0 for size in sizes))
        place = source or model.urls[0].removesuffix(model.files[0])
        files = counted(len(coming), "file")
        log.info("%s: %s, %s, licence %s, from %s", model.name, files, amount, model.licence, place)
    else:
        log.info("%s is already installed", model.name)
    return coming


def _fetch(coming: Coming, *, overwrite: bool, track: Track) -> None:
    path, announced = coming.path, coming.announced
    if announced.digest is not None and path.is_file() and is_that(path, announced):
        adopt(path, announced)  # put there by hand or by a concurrent run
        return
    _refuse_other(path, announced, overwrite=overwrite)
    have = 0 if coming.copied else part_size(path)
    total = max(((announced.size or 0) - have) // CHUNK, 1)
    sizes = copy(path, coming.copied, announced) if coming.copied else fetch(path, coming.url, announced)
    for _ in track(_chunks(sizes, have), total, f"{path.name}, MiB"):
        pass
    if announced.digest is None:
        log.warning("no published hash for %s; not verified", path.name)


def _is_whole(path: Path, announced: Announced) -> bool:
    """Whether a file matches its published hash and the hash beside it."""
    return is_that(path, announced) and hash_beside(path) == digest_of(path)


def _refuse_other(path: Path, announced: Announced, *, overwrite: bool) -> None:
    """Raises DifftoolError 4 if another file is in the place of one to be downloaded."""
    if path.is_dir():
        raise DifftoolError(Exit.FILE, f"{path} is a folder", "move it away")
    if path.exists() and not overwrite and (announced.digest is None or not is_that(path, announced)):
        message = f"{path} exists already and does not match the published file"
        raise DifftoolError(Exit.FILE, message, "move it away, or add --overwrite")


def _chunks(sizes: Iterable[int], have: int) -> Iterator[None]:
    """Yields once per completed chunk, from the numbers of bytes on disk."""
    done = 0
    for size in sizes:
        while (size - have) // CHUNK > done:
            done += 1
            yield None


def verify(*names: str, models_dir: str | Path | None = None, track: Track = untracked) -> list[Stored]:
    """Verifies each file of the models, by default of all installed ones, against the hash beside it. Raises
    DifftoolError 4 if one is not whole."""
    folder = None if models_dir is None else Path(models_dir)
    models = _chosen(names or entries())
    if not names:
        models = [model for model in models if stored(model, folder).state != "missing"]
    checked = []
    for model in models:
        files = track(_verified(model, folder), len(model.files), model.name)
        checked.append(Stored(model, tuple(files)))
    bad = [(model.entry.name, file) for model in checked for file in model.files if file.state != "whole"]
    if bad:
        _, first = bad[0]
        more = f" (and {counted(len(bad) - 1, 'more file')})" if bad[1:] else ""
        option = " --overwrite" if any(file.state == "damaged" for _, file in bad) else ""
        again = " ".join(dict.fromkeys(name for name, _ in bad))
        hint = f"run difftool models pull {again}{option}"
        raise DifftoolError(Exit.FILE, f"{first.path} is {first.state}{more}", hint)
    return checked


def _verified(model: Entry, models_dir: Path | None) -> Iterator[Held]:
    """The files of a model, each compared with its hash."""
    for file in held(model, models_dir):
        damaged = file.state == "whole" and digest_of(file.path) != hash_beside(file.path)
        yield file._replace(state="damaged") if damaged else file


def announced_by(source: Path, sha256: str | None = None) -> Announced:
    """The size of a file in a folder, and the hash from the ``.sha256`` beside it."""
    return Announced(source.stat().st_size, sha256 or hash_beside(source))


def copy(path: Path, source: Path, said: Announced) -> Iterator[int]:
    """Copies a file from a folder, for a machine without a network; yields the number of bytes so far. Raises
    DifftoolError 4 if the copy does not match."""
    part, have = part_of(path), 0
    part.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reading, part.open("wb") as file:
        while chunk := reading.read(CHUNK):
            file.write(chunk)
            have += len(chunk)
            yield have
    settle(path, said, f"compare {source} with the original file")


def found_in(folder: Path, model: Entry) -> list[Path]:
    """The files of a model in another folder: laid out as in the store, below a folder of the model's name, or all side
    by side. Raises DifftoolError 4 for the first that is missing."""
    paths = []
    base_names = {Path(file).name for file in model.files}
    for file in model.files:
        candidates = [folder / model.name / file, folder / file]
        if len(base_names) == len(model.files):
            candidates.append(folder / Path(file).name)
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
        if path is None:
            hint = f"copy all files of {model.name} there: {', '.join(model.files)}"
            raise DifftoolError(Exit.FILE, f"{folder} does not contain {file}", hint)
        paths.append(path)
    return paths


def room_for(size: int, folder: Path) -> None:
    """Raises DifftoolError 4 if a disk has less than `size` bytes free."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if size > free:
        message = f"{folder} has {megabytes(free)} free, but {megabytes(size)} are needed"
        raise DifftoolError(Exit.FILE, message, "free some space, or use another --models-dir")


def remove(*names: str, models_dir: str | Path | None = None, dry_run: bool = False) -> list[Path]:
    """Removes installed models and derived files; returns the removed paths, or with `dry_run` those that would be.
    Raises DifftoolError 4 if a model is not installed, 75 while it is downloaded."""
    folder = None if models_dir is None else Path(models_dir)
    parts = {model: _removable(model, folder) for model in _chosen(names)}
    if absent := next((model for model, paths in parts.items() if not paths), None):
        raise DifftoolError(Exit.FILE, f"{absent.name} is not in {home(folder)}", "see difftool models ls")
    if not dry_run:
        for model in parts:
            _remove(model, folder)
    return [path for paths in parts.values() for path in paths]


def _removable(model: Entry, models_dir: Path | None) -> list[Path]:
    """The files of a model on disk: its own, partial downloads, hashes and derived files."""
    folder = home(models_dir) / model.name
    paths = [folder / file for file in model.files]
    made = [path.with_name(path.name + DERIVED) for path in paths]
    beside = [(path, part_of(path), note_of(path)) for path in paths]
    # temporary files of killed processes: ours and, from conversions, those of safetensors
    leftovers = [*folder.rglob(TEMPORARY), *folder.rglob(".tmp" + "[0-9A-Za-z]" * 6)]
    return [path for group in (*beside, made, leftovers) for path in group if path.is_file()]


def _remove(model: Entry, models_dir: Path | None) -> None:
    """Removes the files of a model, and its folders that are then empty."""
    folder = home(models_dir) / model.name
    with lock(folder):
        for path in _removable(model, models_dir):
            path.unlink()
    for path in sorted({(folder / file).parent for file in model.files} | {folder}, reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size:,} bytes"
