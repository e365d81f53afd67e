from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypedDict

import typer

from .. import store
from ..errors import DifftoolError
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


def ls(
    console: Console,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]", help="Models to show in full; default: list all.", autocompletion=completer(models)
        ),
    ] = None,
    models_dir: ModelsDir = None,
) -> Result:
    """List available and installed models, without network access.

    With names, also show the files, approximate sizes and URLs of these models, so that they can be downloaded on
    another machine and copied here with difftool models pull NAME --from DIR.

    Examples:

    difftool models ls

    difftool models ls sd15
    """
    home = store.home(models_dir)
    models = store.chosen(names or store.entries())
    rows = [_listed(console, store.stored(model, models_dir)) for model in models]
    lines = [line for row in rows for line in _details(row)] if names else _overview(rows)
    lines.append(f"models folder: {home}")
    installed = [row["path"] for row in rows if row["state"] != "missing"]
    return Result({"models_dir": str(home), "models": rows}, lines, installed)


def _overview(rows: Sequence[ListedRow]) -> list[str]:
    """A line for each model."""
    width = max(len(row["name"]) for row in rows)
    lines = []
    for row in rows:
        size = store.megabytes(row["bytes"]) if row["bytes"] else _about(row["download_bytes"])
        lines.append(f"{row['name']:{width}}  {row['state']:9}  {size:>10}  {row['about']} ({row['licence']})")
    lines.append("~ is the size of the download; difftool models ls NAME lists files and addresses")
    return lines


def _details(row: ListedRow) -> list[str]:
    """The lines of one model."""
    files, name = row["files"], row["name"]
    width = max(len(file["name"]) for file in files)
    lines = [
        f"{name}: {row['about']}",
        f"licence: {row['licence']}",
        f"source: {row['source']}",
        f"download: {counted(len(files), 'file')}, {_about(row['download_bytes'], 'size unknown until pull')}",
        f"installed: {row['state']}, {row['path']}",
    ]
    for file in files:
        is_here = file["state"] in ("whole", "unchecked")
        size = store.megabytes(file["bytes"]) if is_here else _about(file["download_bytes"], "small")
        lines.append(f"  {file['name']:{width}}  {size:>10}  {file['url'] or ''}".rstrip())
    lines += [f"without a network: save the files in DIR/{name}, then difftool models pull {name} --from DIR", ""]
    return lines


def _about(size: int | None, unknown: str = "unknown") -> str:
    """An approximate size."""
    return unknown if size is None else f"~{store.megabytes(size)}"


def _listed(console: Console, model: store.Stored) -> ListedRow:
    """A model with the addresses and sizes of its files."""
    entry = model.entry
    try:
        source, urls = entry.address, entry.urls
    except DifftoolError as error:  # HF_ENDPOINT is no URL, which is no reason not to list what is here
        console.warn(error.message)
        source, urls = entry.source, [None] * len(entry.files)
    row = _row(model)
    files: list[ListedFile] = []
    for file, name, url, size in zip(row["files"], entry.files, urls, entry.sizes, strict=True):
        files.append({**file, "name": name, "url": url, "download_bytes": size})
    total = sum(size or 0 for size in entry.sizes) or None
    return {**row, "files": files, "source": source, "sha256": entry.sha256, "download_bytes": total}


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

    Example:

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


class ListedFile(FileRow):
    """A file with its name in the repository."""

    name: str
    url: str | None
    download_bytes: int | None
    """Approximate."""


class ListedRow(ModelRow):
    """A model with where it comes from."""

    files: list[ListedFile]  # type: ignore[misc]
    source: str
    """The URL of its repository."""
    sha256: str | None
    download_bytes: int | None
    """Approximate: without small files of text."""


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
