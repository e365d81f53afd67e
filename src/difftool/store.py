"""The model store: what can be fetched, what is there, and whether it is whole. Nothing else in difftool downloads.

A model is a folder of the store, its files called as upstream. `download` tells what stands beside each.
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
"""What is appended to the name of a file of the store for what was made of it here."""


class Entry(NamedTuple):
    """A model that can be fetched."""

    name: str
    about: str
    licence: str
    files: tuple[str, ...]
    source: str
    """hub:OWNER/NAME, or the address of a folder."""
    sha256: str | None
    """Where it is known beforehand, of the only file."""

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of its files. Raises DifftoolError 2 where HF_ENDPOINT is none."""
        kind, _, repository = self.source.partition(":")
        base = f"{hub()}/{repository}/resolve/main" if kind == "hub" else self.source
        return tuple(f"{base}/{quote(file)}" for file in self.files)


class Held(NamedTuple):
    """A file of the store."""

    path: Path
    size: int
    """Bytes on the disk, of the part that is there."""
    state: str
    """whole, partial, missing, or unchecked, which has no hash beside it; from `verify` also damaged."""


class Stored(NamedTuple):
    """A model with its files as they are here."""

    entry: Entry
    files: tuple[Held, ...]

    @property
    def state(self) -> str:
        """whole or missing where all files are, unchecked where all are here, else partial."""
        states = {file.state for file in self.files}
        if len(states) == 1:
            return states.pop()
        return "unchecked" if states == {"whole", "unchecked"} else "partial"

    @property
    def size(self) -> int:
        """Bytes of what is here."""
        return sum(file.size for file in self.files)

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.files[0].path.parents[self.entry.files[0].count("/")]


class Coming(NamedTuple):
    """A file that is to be fetched, from an address or, where there is none, another file."""

    path: Path
    announced: Announced
    url: str
    copied: Path | None


class Pulled(NamedTuple):
    """What `pull` did."""

    models: list[Stored]
    fetched: list[Coming]


def home(models_dir: Path | None = None) -> Path:
    """Where models live: `models_dir`, or the user's data folder."""
    if models_dir is not None:
        return expanded(models_dir)
    from platformdirs import user_data_path

    return user_data_path("difftool") / "models"


def entries() -> dict[str, Entry]:
    """All models that can be fetched, by name."""
    return {
        name: Entry(name, row.about, row.licence, row.files, row.source, row.sha256)
        for name, row in typed(StoreRow).items()
    }


def entry(name: str) -> Entry:
    """The row of that name. Raises DifftoolError 2, naming the nearest, where there is none."""
    return pick("model", name.strip().lower().replace("_", "-"), entries())


def _chosen(names: Iterable[str]) -> list[Entry]:
    """The rows of these names, each once."""
    return list({model.name: model for model in map(entry, names)}.values())


def held(model: Entry, models_dir: Path | None = None) -> list[Held]:
    """The files of a model as they are on the disk, without reading them."""
    return [_held(home(models_dir) / model.name / file) for file in model.files]


def stored(model: Entry, models_dir: Path | None = None) -> Stored:
    """A model as it is here."""
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
    """Fetches models into the store, as far as they are not here: goes on where it was stopped, compares what came with
    the hash that was announced, and keeps that beside the file. From the folder `source` on a machine without a
    network; with `overwrite` also what is here and is not what was announced; with `dry_run` nothing.

    Raises DifftoolError 2 for a name that is no model, 4 where a file cannot be fetched, is not what was announced, or
    lies in the way, 75 while another run fetches the same.
    """
    models = _chosen(names)
    origin, folder = None if source is None else Path(source), None if models_dir is None else Path(models_dir)
    if origin is not None and not origin.is_dir():
        raise DifftoolError(Exit.FILE, f"{origin} is no folder", "name the folder that holds the files")
    fetched: list[Coming] = []
    for model in models:
        coming = _coming(model, origin, folder, overwrite=overwrite)
        place = home(folder) / model.name
        if coming and not dry_run:
            with writable(place, option="--models-dir"), lock(place):
                room_for(sum((file.announced.size or 0) - part_size(file.path) for file in coming), place)
                for file in coming:
                    _fetch(file, overwrite=overwrite, track=track)
        fetched += coming
    return Pulled([stored(model, folder) for model in models], fetched)


def _coming(model: Entry, source: Path | None, models_dir: Path | None, *, overwrite: bool) -> list[Coming]:
    """What is missing of a model, after saying how much that is and under which licence. With `overwrite` also what is
    not what was announced."""
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
        log.info("%s is here already", model.name)
    return coming


def _fetch(coming: Coming, *, overwrite: bool, track: Track) -> None:
    path, announced = coming.path, coming.announced
    if announced.digest is not None and path.is_file() and is_that(path, announced):
        adopt(path, announced)  # it was put there by hand, or by a run just before this one
        return
    _refuse_other(path, announced, overwrite=overwrite)
    have = 0 if coming.copied else part_size(path)
    total = max(((announced.size or 0) - have) // CHUNK, 1)
    sizes = copy(path, coming.copied, announced) if coming.copied else fetch(path, coming.url, announced)
    for _ in track(_chunks(sizes, have), total, f"{path.name}, MiB"):
        pass
    if announced.digest is None:
        log.warning("nobody announced a hash of %s: it is taken as it came", path.name)


def _is_whole(path: Path, announced: Announced) -> bool:
    """Whether a file is what was announced, and the hash beside it says so too."""
    return is_that(path, announced) and hash_beside(path) == digest_of(path)


def _refuse_other(path: Path, announced: Announced, *, overwrite: bool) -> None:
    """Raises DifftoolError 4 for a file that somebody put in the place of one that is to come, and that is another."""
    if path.is_dir():
        raise DifftoolError(Exit.FILE, f"{path} is a folder", "move it away")
    if path.exists() and not overwrite and (announced.digest is None or not is_that(path, announced)):
        message = f"{path} is not known to be the file that was announced"
        raise DifftoolError(Exit.FILE, message, "move it away, or add --overwrite")


def _chunks(sizes: Iterable[int], have: int) -> Iterator[None]:
    """An item for each further chunk that is there, from the number of bytes that are."""
    done = 0
    for size in sizes:
        while (size - have) // CHUNK > done:
            done += 1
            yield None


def verify(*names: str, models_dir: str | Path | None = None, track: Track = untracked) -> list[Stored]:
    """Reads models, or without names all that are here, and compares each file with the hash that stands beside it.
    Raises DifftoolError 4 where one is not whole."""
    folder = None if models_dir is None else Path(models_dir)
    models = _chosen(names or entries())
    if not names:
        models = [model for model in models if stored(model, folder).state != "missing"]
    checked = [Stored(model, tuple(track(_verified(model, folder), len(model.files), model.name))) for model in models]
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
    """The files of a model, each read and compared."""
    for file in held(model, models_dir):
        damaged = file.state == "whole" and digest_of(file.path) != hash_beside(file.path)
        yield file._replace(state="damaged") if damaged else file


def announced_by(source: Path, sha256: str | None = None) -> Announced:
    """What is known of a file in a folder: its size, and the hash that a ``.sha256`` beside it gives."""
    return Announced(source.stat().st_size, sha256 or hash_beside(source))


def copy(path: Path, source: Path, said: Announced) -> Iterator[int]:
    """Copies a file from a folder, for a machine without a network; yields how many bytes it has. Raises DifftoolError
    4 where it is not what was announced."""
    part, have = part_of(path), 0
    part.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reading, part.open("wb") as file:
        while chunk := reading.read(CHUNK):
            file.write(chunk)
            have += len(chunk)
            yield have
    settle(path, said, f"compare {source} with the file that it was copied from")


def found_in(folder: Path, model: Entry) -> list[Path]:
    """The files of a model in a folder that was filled elsewhere: as the store lays them out, in a folder of the
    model's name, or all beside each other. Raises DifftoolError 4, naming the first that is missing."""
    found = []
    for file in model.files:
        flat = [folder / Path(file).name] if len({Path(name).name for name in model.files}) == len(model.files) else []
        places = [folder / model.name / file, folder / file, *flat]
        if not (at := next((place for place in places if place.is_file()), None)):
            raise DifftoolError(
                Exit.FILE, f"there is no {file} in {folder}", f"{model.name} needs {', '.join(model.files)}"
            )
        found.append(at)
    return found


def room_for(size: int, folder: Path) -> None:
    """Raises DifftoolError 4 where a disk has no room for so many bytes more."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise DifftoolError(
            Exit.FILE,
            f"{folder} has room for {megabytes(free)}, and {megabytes(size)} are to come",
            "make room, or name another --models-dir",
        )


def remove(*names: str, models_dir: str | Path | None = None, dry_run: bool = False) -> list[Path]:
    """Removes models from this machine, with what was made of their files; the paths of what is gone, or with `dry_run`
    would be. Raises DifftoolError 4 where one is not here, 75 while it is fetched."""
    folder = None if models_dir is None else Path(models_dir)
    parts = {model: _removable(model, folder) for model in _chosen(names)}
    if absent := next((model for model, paths in parts.items() if not paths), None):
        raise DifftoolError(Exit.FILE, f"{absent.name} is not in {home(folder)}", "see difftool models ls")
    if not dry_run:
        for model in parts:
            _remove(model, folder)
    return [path for paths in parts.values() for path in paths]


def _removable(model: Entry, models_dir: Path | None) -> list[Path]:
    """What there is of a model: its files, parts of them, their hashes, and what was made of them."""
    folder = home(models_dir) / model.name
    paths = [folder / file for file in model.files]
    made = [path.with_name(path.name + DERIVED) for path in paths]
    beside = [(path, part_of(path), note_of(path)) for path in paths]
    # what a process that was killed left behind, of ours and, while it converted, of safetensors'
    broken = [left for pattern in (TEMPORARY, ".tmp" + "[0-9A-Za-z]" * 6) for left in folder.rglob(pattern)]
    return [path for group in (*beside, made, broken) for path in group if path.is_file()]


def _remove(model: Entry, models_dir: Path | None) -> None:
    """Removes what there is of a model, and the folders that are empty then."""
    folder = home(models_dir) / model.name
    with lock(folder):
        for path in _removable(model, models_dir):
            path.unlink()
    for path in sorted({(folder / file).parent for file in model.files} | {folder}, reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size:,} bytes"
