from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from .. import store
from ..download import CHUNK, Announced, adopt, announce, digest_of, fetch, hash_beside, is_that, part_size
from ..errors import DifftoolError, Exit
from ..files import lock, writable
from .console import Console, Result
from .options import DryRun, ModelsDir, Overwrite

log = logging.getLogger(__name__)

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Models; difftool models ls names them.")]


def ls(console: Console, models_dir: ModelsDir = None) -> Result:
    """List the models that can be fetched, and those that are here. It asks nobody.

    Examples:

    difftool models ls
    """
    home = store.home(models_dir)
    rows = [_row(model, store.held(model, models_dir)) for model in store.entries().values()]
    wide = max(len(row["name"]) for row in rows)
    lines = [
        f"{row['name']:{wide}}  {row['state']:9}  {store.megabytes(row['bytes']) if row['bytes'] else '':>10}  "
        f"{row['about']} ({row['licence']})"
        for row in rows
    ]
    here = [row["path"] for row in rows if row["state"] != "missing"]
    return Result({"models_dir": str(home), "models": rows}, [*lines, f"They live in {home}"], here)


def pull(
    console: Console,
    names: Names,
    source: Annotated[
        Path | None, typer.Option("--from", help="Copy from this folder, for a machine without a network.")
    ] = None,
    models_dir: ModelsDir = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> Result:
    """Fetch models: the only command that downloads.

    It says size and licence first, goes on where it was stopped, compares what came with the hash that was announced,
    and keeps that beside the file. Gated models want your token in the environment as HF_TOKEN. --overwrite fetches
    again what is not what was announced.

    Examples:

    difftool models pull tortoise

    difftool models pull tortoise --from /media/stick
    """
    models = [store.entry(name) for name in dict.fromkeys(map(_plain, names))]
    if source is not None and not source.is_dir():
        raise DifftoolError(Exit.FILE, f"{source} is no folder", "name the folder that holds the files")
    fetched: list[_Coming] = []
    for model in models:
        coming = _coming(model, source, models_dir, overwrite=overwrite)
        folder = store.home(models_dir) / model.name
        if coming and not dry_run:
            with writable(folder, option="--models-dir"), lock(folder):
                store.room_for(sum((one.said.size or 0) - part_size(one.path) for one in coming), folder)
                for one in coming:
                    _fetch(console, one, overwrite=overwrite)
        fetched += coming
    data = {
        "outputs": [{"path": str(one.path), "bytes": one.said.size} for one in fetched],
        "models": [_row(model, store.held(model, models_dir)) for model in models],
        "timing": {"total": round(time.monotonic() - console.began, 3)},
    }
    if dry_run:
        return Result({**data, "dry_run": True}, [f"would fetch {one.path}" for one in fetched], [])
    rows = data["models"]
    return Result(data, [f"{row['name']} is in {row['path']}" for row in rows], [row["path"] for row in rows])


class _Coming(NamedTuple):
    """A file that is to be fetched, from an address or, where there is none, another file."""

    path: Path
    said: Announced
    url: str
    copied: Path | None


def _coming(model: store.Entry, source: Path | None, models_dir: Path | None, *, overwrite: bool) -> list[_Coming]:
    """What is missing of a model, after saying how much that is and under which licence. With `overwrite` also what is
    not what was announced."""
    copies = [None] * len(model.files) if source is None else store.found_in(source, model)
    coming = []
    urls = model.urls if source is None else model.files
    for file, url, copied in zip(store.held(model, models_dir), urls, copies, strict=True):
        if file.state == "whole" and not overwrite:
            continue
        said = announce(url, model.sha256) if copied is None else store.announced_by(copied, model.sha256)
        if file.state == "whole" and said.digest is not None and _is_whole(file.path, said):
            continue
        _refuse_other(file.path, said, overwrite=overwrite)
        coming.append(_Coming(file.path, said, url, copied))
    if coming:
        sizes = [one.said.size for one in coming]
        much = "of unknown size" if None in sizes else store.megabytes(sum(size or 0 for size in sizes))
        place = source or model.urls[0].removesuffix(model.files[0])
        files = "1 file" if len(coming) == 1 else f"{len(coming)} files"
        log.info("%s: %s, %s, licence %s, from %s", model.name, files, much, model.licence, place)
    else:
        log.info("%s is here already", model.name)
    return coming


def _fetch(console: Console, one: _Coming, *, overwrite: bool) -> None:
    if one.said.digest is not None and one.path.is_file() and is_that(one.path, one.said):
        adopt(one.path, one.said)  # it was put there by hand, or by a run just before this one
        return
    _refuse_other(one.path, one.said, overwrite=overwrite)
    have = 0 if one.copied else part_size(one.path)
    total = max(((one.said.size or 0) - have) // CHUNK, 1)
    sizes = store.copy(one.path, one.copied, one.said) if one.copied else fetch(one.path, one.url, one.said)
    for _ in console.track(_chunks(sizes, have), total, f"{one.path.name}, MiB"):
        pass
    if one.said.digest is None:
        console.warn(f"nobody announced a hash of {one.path.name}: it is taken as it came")


def _is_whole(path: Path, said: Announced) -> bool:
    """Whether a file is what was announced, and the hash beside it says so too."""
    return is_that(path, said) and hash_beside(path) == digest_of(path)


def _refuse_other(path: Path, said: Announced, *, overwrite: bool) -> None:
    """Raises DifftoolError 4 for a file that somebody put in the place of one that is to come, and that is another."""
    if path.is_dir():
        raise DifftoolError(Exit.FILE, f"{path} is a folder", "move it away")
    if path.exists() and not overwrite and (said.digest is None or not is_that(path, said)):
        what = f"{path} is not known to be the file that was announced"
        raise DifftoolError(Exit.FILE, what, "move it away, or add --overwrite")


def _chunks(coming: Iterable[int], have: int) -> Iterator[None]:
    """An item for each further chunk that is there, from the number of bytes that are."""
    done = 0
    for now in coming:
        while (now - have) // CHUNK > done:
            done += 1
            yield None


def verify(
    console: Console,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Models; without one, all that are here.")
    ] = None,
    models_dir: ModelsDir = None,
) -> Result:
    """Read the models that are here, and compare each file with the hash that stands beside it.

    Examples:

    difftool models verify

    difftool models verify tortoise
    """
    if names:
        models = [store.entry(name) for name in dict.fromkeys(map(_plain, names))]
    else:
        models = [model for model in store.entries().values() if _state(store.held(model, models_dir)) != "missing"]
    checked = [
        (model, list(console.track(store.verify(model, models_dir), len(model.files), model.name))) for model in models
    ]
    bad = [(model, file) for model, files in checked for file in files if file.state != "whole"]
    if bad:
        _, file = bad[0]
        more = f" (and {len(bad) - 1} more files)" if bad[1:] else ""
        mend = " --overwrite" if any(file.state == "damaged" for _, file in bad) else ""
        again = " ".join(dict.fromkeys(model.name for model, _ in bad))
        raise DifftoolError(Exit.FILE, f"{file.path} is {file.state}{more}", f"run difftool models pull {again}{mend}")
    rows = [_row(model, files) for model, files in checked]
    lines = [f"{row['name']}: {len(row['files'])} files are whole" for row in rows] or ["there is no model here"]
    return Result({"models": rows}, lines, [row["path"] for row in rows])


def rm(console: Console, names: Names, models_dir: ModelsDir = None, dry_run: DryRun = False) -> Result:
    """Remove models from this machine, with what was made of their files; other files in their folders stay.

    Examples:

    difftool models rm tortoise
    """
    models = [store.entry(name) for name in dict.fromkeys(map(_plain, names))]
    for model in models:
        if not store.removable(model, models_dir):
            raise DifftoolError(Exit.FILE, f"{model.name} is not in {store.home(models_dir)}", "see difftool models ls")
    gone = [path for model in models for path in store.removable(model, models_dir)]
    if not dry_run:
        for model in models:
            store.remove(model, models_dir)
    what = "would remove" if dry_run else "removed"
    return Result({"removed": [str(path) for path in gone]}, [f"{what} {path}" for path in gone], gone)


def _row(model: store.Entry, files: Sequence[store.Held]) -> dict[str, Any]:
    """A model for --json."""
    return {
        "name": model.name,
        "about": model.about,
        "licence": model.licence,
        "state": _state(files),
        "bytes": sum(file.size for file in files),
        "path": str(files[0].path.parents[model.files[0].count("/")]),
        "files": [{"path": str(file.path), "bytes": file.size, "state": file.state} for file in files],
    }


def _state(files: Iterable[store.Held]) -> str:
    """whole or missing where all files are, unchecked where all are here, else partial."""
    states = {file.state for file in files}
    if len(states) == 1:
        return states.pop()
    return "unchecked" if states == {"whole", "unchecked"} else "partial"


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-")
