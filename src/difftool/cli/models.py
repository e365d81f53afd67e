from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypedDict

import typer

from .. import store
from ..limits import counted
from .completion import completer, models
from .console import Console, Result
from .options import DryRun, ModelsDir, Overwrite

Names = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...", help="Models, as listed by difftool models ls.", autocompletion=completer(models)
    ),
]


def ls(console: Console, models_dir: ModelsDir = None) -> Result:
    """List available and installed models, without network access.

    Examples:

    difftool models ls
    """
    home = store.home(models_dir)
    rows = [_row(store.stored(model, models_dir)) for model in store.entries().values()]
    width = max(len(row["name"]) for row in rows)
    lines = []
    for row in rows:
        size = store.megabytes(row["bytes"]) if row["bytes"] else ""
        lines.append(f"{row['name']:{width}}  {row['state']:9}  {size:>10}  {row['about']} ({row['licence']})")
    lines.append(f"models folder: {home}")
    installed = [row["path"] for row in rows if row["state"] != "missing"]
    return Result({"models_dir": str(home), "models": rows}, lines, installed)


def pull(
    console: Console,
    names: Names,
    source: Annotated[Path | None, typer.Option("--from", help="Copy from this folder instead of downloading.")] = None,
    models_dir: ModelsDir = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> Result:
    """Download models; no other command downloads anything.

    Prints size and licence first, resumes partial downloads, verifies each file against its published hash and stores
    the hash beside the file. Gated models need your token in HF_TOKEN. --overwrite also downloads
    files again if they do not match their hash.

    Examples:

    difftool models pull tortoise

    difftool models pull tortoise --from /media/stick
    """
    pulled = store.pull(
        *names, source=source, models_dir=models_dir, overwrite=overwrite, dry_run=dry_run, track=console.track
    )
    rows = [_row(model) for model in pulled.models]
    outputs = [{"path": str(file.path), "bytes": file.announced.size} for file in pulled.fetched]
    data: dict[str, object] = {"outputs": outputs, "models": rows, "timing": console.timing({})}
    if dry_run:
        lines = [f"would download {file.path}" for file in pulled.fetched]
        return Result({**data, "dry_run": True}, lines, [])
    summary = [f"{row['name']} is in {row['path']}" for row in rows]
    return Result(data, summary, [row["path"] for row in rows])


def verify(
    console: Console,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="Models; default: all installed.", autocompletion=completer(models)),
    ] = None,
    models_dir: ModelsDir = None,
) -> Result:
    """Verify each file of the installed models against the hash stored beside it.

    Examples:

    difftool models verify

    difftool models verify tortoise
    """
    verified = store.verify(*names or (), models_dir=models_dir, track=console.track)
    rows = [_row(model) for model in verified]
    lines = []
    for row in rows:
        count = counted(len(row["files"]), "file")
        lines.append(f"{row['name']}: {count} intact")
    return Result({"models": rows}, lines or ["no models are installed"], [row["path"] for row in rows])


def rm(console: Console, names: Names, models_dir: ModelsDir = None, dry_run: DryRun = False) -> Result:
    """Remove installed models and the files derived from them; other files in their folders stay.

    Examples:

    difftool models rm tortoise
    """
    removed = store.remove(*names, models_dir=models_dir, dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    summary = [f"{verb} {path}" for path in removed]
    return Result({"removed": [str(path) for path in removed]}, summary, removed)


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
    files: list[FileRow] = [{"path": str(file.path), "bytes": file.size, "state": file.state} for file in model.files]
    return {
        "name": model.entry.name,
        "about": model.entry.about,
        "licence": model.entry.licence,
        "state": model.state,
        "bytes": model.size,
        "path": str(model.path),
        "files": files,
    }
