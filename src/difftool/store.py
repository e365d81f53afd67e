"""The model store: what can be fetched, what is there, and whether it is whole. Nothing else in difftool downloads.

A model is a folder of the store, its files called as upstream. `download` tells what stands beside each.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from .download import CHUNK, Announced, digest_of, hash_beside, hub, note_of, part_of, settle
from .errors import DifftoolError, Exit, pick
from .files import TEMPORARY, expanded, lock
from .presets import typed
from .presets.rows import StoreRow

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
    return pick("model", name, entries())


def held(model: Entry, models_dir: Path | None = None) -> list[Held]:
    """The files of a model as they are on the disk, without reading them."""
    return [_held(home(models_dir) / model.name / file) for file in model.files]


def _held(path: Path) -> Held:
    if path.exists():
        return Held(path, path.stat().st_size, "whole" if hash_beside(path) else "unchecked")
    part = part_of(path)
    return Held(path, part.stat().st_size, "partial") if part.exists() else Held(path, 0, "missing")


def verify(model: Entry, models_dir: Path | None = None) -> Iterator[Held]:
    """The files of a model, read and compared with the hashes that stand beside them."""
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


def removable(model: Entry, models_dir: Path | None = None) -> list[Path]:
    """What there is of a model: its files, parts of them, their hashes, and what was made of them."""
    folder = home(models_dir) / model.name
    paths = [folder / file for file in model.files]
    made = [path.with_name(path.name + DERIVED) for path in paths]
    beside = [(path, part_of(path), note_of(path)) for path in paths]
    # what a process that was killed left behind, of ours and, while it converted, of safetensors'
    broken = [left for pattern in (TEMPORARY, ".tmp" + "[0-9A-Za-z]" * 6) for left in folder.rglob(pattern)]
    return [path for group in (*beside, made, broken) for path in group if path.is_file()]


def remove(model: Entry, models_dir: Path | None = None) -> None:
    """Removes what is `removable`, and the folders that are empty then. Raises DifftoolError 75 while it is fetched."""
    folder = home(models_dir) / model.name
    with lock(folder):
        for path in removable(model, models_dir):
            path.unlink()
    for path in sorted({(folder / file).parent for file in model.files} | {folder}, reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size:,} bytes"
