from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, TypedDict

import typer

from .. import store
from ..limits import counted
from .console import Console, Result
from .options import DryRun, ModelsDir, Overwrite

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Models; difftool models ls names them.")]


def ls(console: Console, models_dir: ModelsDir = None) -> Result:
    """List the models that can be fetched, and those that are here. It asks nobody.

    Examples:

    difftool models ls
    """
    home = store.home(models_dir)
    rows = [_row(store.stored(model, models_dir)) for model in store.entries().values()]
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
    pulled = store.pull(
        *names, source=source, models_dir=models_dir, overwrite=overwrite, dry_run=dry_run, track=console.track
    )
    rows = [_row(model) for model in pulled.models]
    data: dict[str, object] = {
        "outputs": [{"path": str(file.path), "bytes": file.announced.size} for file in pulled.fetched],
        "models": rows,
        "timing": {"total": round(time.monotonic() - console.began, 3)},
    }
    if dry_run:
        return Result({**data, "dry_run": True}, [f"would fetch {file.path}" for file in pulled.fetched], [])
    return Result(data, [f"{row['name']} is in {row['path']}" for row in rows], [row["path"] for row in rows])


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
    rows = [_row(model) for model in store.verify(*names or (), models_dir=models_dir, track=console.track)]
    lines = [f"{row['name']}: {counted(len(row['files']), 'file')} intact" for row in rows]
    return Result({"models": rows}, lines or ["there is no model here"], [row["path"] for row in rows])


def rm(console: Console, names: Names, models_dir: ModelsDir = None, dry_run: DryRun = False) -> Result:
    """Remove models from this machine, with what was made of their files; other files in their folders stay.

    Examples:

    difftool models rm tortoise
    """
    gone = store.remove(*names, models_dir=models_dir, dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    return Result({"removed": [str(path) for path in gone]}, [f"{verb} {path}" for path in gone], gone)


class ModelRow(TypedDict):
    """A model for --json."""

    name: str
    about: str
    licence: str
    state: str
    bytes: int
    path: str
    files: list[FileRow]


class FileRow(TypedDict):
    path: str
    bytes: int
    state: str


def _row(model: store.Stored) -> ModelRow:
    return {
        "name": model.entry.name,
        "about": model.entry.about,
        "licence": model.entry.licence,
        "state": model.state,
        "bytes": model.size,
        "path": str(model.path),
        "files": [{"path": str(file.path), "bytes": file.size, "state": file.state} for file in model.files],
    }
