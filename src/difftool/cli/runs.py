from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..limits import counted
from .completion import completer, runs
from .console import Console, Result
from .options import DryRun

if TYPE_CHECKING:
    from ..runs import Run

Name = Annotated[
    str, typer.Argument(metavar="RUN", help="Folder of a run, or its name.", autocompletion=completer(runs))
]
SHOWN = 10
"""Most files that `runs show` lists."""


def ls(
    console: Console,
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[DIR]...", help="Folders to search; default: ./outputs and ./runs.")
    ] = None,
) -> Result:
    """List runs with their date, command, state, size and folder.

    A run is finished, unfinished (repeat its command to resume), partial (some items are missing) or running.

    Examples:

    difftool runs ls

    difftool runs ls /srv/pictures
    """
    from ..runs import find

    found = find(folders or [])
    width = max((len(run.command) for run in found), default=0)
    lines = []
    for run in found:
        when = run.when[:16].replace("T", " ")
        lines.append(str(run.path))
        lines.append(f"  {when}  {run.command:{width}}  {run.state:10}  {run.size / 1e6:7,.1f} MB  {run.about}")
    where = ", ".join(map(str, folders)) if folders else "./outputs and ./runs"
    data = {"runs": [_row(run) for run in found]}
    return Result(data, lines or [f"no runs in {where}"], [run.path for run in found])


def show(console: Console, name: Name) -> Result:
    """Show the files and settings of a run, and the command that resumes or reproduces it.

    Example:

    difftool runs show outputs/train/20260722T091500Z-4add7e
    """
    from ..runs import FINISHED, named
    from ..store import megabytes

    run = named(name)
    files = [str(path.relative_to(run.path)) for path in run.files]
    lines = [
        str(run.path),
        f"{run.command}, {run.when}",
        f"{run.state}: {run.about}",
        f"{counted(len(files), 'file')}, {megabytes(run.size)}: {', '.join(files[:SHOWN])}",
    ]
    if len(files) > SHOWN:
        lines[-1] += ", ..."
    lines += [f"  {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in run.settings.items()]
    if run.again is not None:
        resumes = run.state != FINISHED and not run.again.startswith("difftool rerun")
        lines.append(f"{'resume' if resumes else 'again'}: {run.again}")
    data = {**_row(run), "settings": run.settings, "files": [str(path) for path in run.files]}
    return Result(data, lines, [run.path])


def rm(
    console: Console,
    names: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Folders of runs, or their names.", autocompletion=completer(runs)),
    ],
    dry_run: DryRun = False,
) -> Result:
    """Remove the folders of runs. A folder in use, or with files that difftool did not make, is left alone.

    Example:

    difftool runs rm outputs/sample/20260722T091500Z-4add7e
    """
    from ..runs import remove

    removed = remove(names, dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    data: dict[str, object] = {"removed": [str(path) for path in removed]}
    if dry_run:
        data["dry_run"] = True
    return Result(data, [f"{verb} {shlex.quote(str(path))}" for path in removed], removed)


def _row(run: Run) -> Mapping[str, object]:
    """A run for --json."""
    return {
        "path": str(run.path),
        "command": run.command,
        "when": run.when,
        "state": run.state,
        "about": run.about,
        "bytes": run.size,
        "again": run.again,
    }
