from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ..files import cache_dir
from ..limits import counted
from ..settings import Given
from .completion import completer
from .console import Console, Result
from .options import DryRun

if TYPE_CHECKING:
    from ..cache import Item


def _kinds(params: Given) -> Iterable[str]:
    from ..cache import KINDS

    return KINDS


def ls(console: Console) -> Result:
    """List what is cached, by kind, with size and last use.

    Example:

    difftool cache ls
    """
    from ..cache import KINDS, items
    from ..store import megabytes

    rows = items()
    lines = []
    for kind, about in KINDS.items():
        own = [row for row in rows if row.kind == kind]
        used = f"last used {_date(own[-1])}" if own else "empty"
        size = megabytes(sum(row.size for row in own))
        lines.append(f"{kind:9} {counted(len(own), 'item'):>9} {size:>10}  {used:<20}  {about}")
    lines.append(f"cache folder: {cache_dir()}")
    total = sum(row.size for row in rows)
    data = {"folder": str(cache_dir()), "bytes": total, "items": [_row(row) for row in rows]}
    return Result(data, lines, [row.path for row in rows])


def clear(
    console: Console,
    kinds: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND]...",
            help="Kinds to remove: pictures (decoded training data; the default) or places (where rerun finds inputs).",
            autocompletion=completer(_kinds),
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="AGE", help="Remove only files not used for this long, such as 12h, 30d or 2w."
        ),
    ] = None,
    dry_run: DryRun = False,
) -> Result:
    """Remove cached files. What a running process uses is left alone.

    Examples:

    difftool cache clear

    difftool cache clear pictures --older-than 30d
    """
    from ..cache import clear as remove
    from ..cache import items, seconds_of
    from ..store import megabytes

    try:
        age = 0 if older_than is None else seconds_of(older_than)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--older-than'") from error
    busy = [row for row in items() if row.busy]
    gone = remove(kinds or (), older_than=age, dry_run=dry_run)
    for row in busy:
        console.note(f"{row.path} is in use")
    size = sum(row.size for row in gone)
    verb = "would remove" if dry_run else "removed"
    data: dict[str, object] = {"removed": [_row(row) for row in gone], "bytes": size}
    if dry_run:
        data["dry_run"] = True
    return Result(data, [f"{verb} {counted(len(gone), 'item')}, {megabytes(size)}"], [row.path for row in gone])


def _row(item: Item) -> Mapping[str, object]:
    """An item for --json."""
    return {
        "kind": item.kind,
        "path": str(item.path),
        "bytes": item.size,
        "used": datetime.fromtimestamp(item.used, UTC).isoformat(timespec="seconds"),
        "in_use": item.busy,
    }


def _date(item: Item) -> str:
    return f"{datetime.fromtimestamp(item.used, UTC):%Y-%m-%d}"
