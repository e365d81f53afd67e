"""The layout of --help: sections of names and text, in boxes on a wide terminal and plain elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer
import typer.core

Sections = Mapping[str, Sequence[tuple[str, str]]]
"""Title of a section to its rows: a name and its text."""
WIDEST = 26
"""The longest name that the text of other rows leaves room for, in columns; text of a longer one begins below it."""


class Command(typer.core.TyperCommand):
    """A command with this layout."""

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        write(self, ctx, formatter, params_of(self, ctx))


def write(command: Any, ctx: typer.Context, formatter: Any, sections: Sections) -> None:
    """Writes the help of a command: plain into Typer's `formatter`, boxes straight to the terminal."""
    if command.rich_markup_mode is not None:
        _write_boxes(command, ctx, sections)
        return
    command.format_usage(ctx, formatter)
    command.format_help_text(ctx, formatter)
    for title, rows in sections.items():
        with formatter.section(title):
            formatter.write_dl(rows, col_max=WIDEST)


def _write_boxes(command: Any, ctx: typer.Context, sections: Sections) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False)
    head = ctx.make_formatter()
    command.format_usage(ctx, head)
    command.format_help_text(ctx, head)
    console.print(head.getvalue(), soft_wrap=True)
    for title, rows in sections.items():
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(width=min(max(len(name) for name, _ in rows), WIDEST + 5), overflow="fold")
        table.add_column(ratio=1)
        for name, text in rows:
            table.add_row(Text(name, "bold cyan"), Text(text))
        console.print(Panel(table, title=title, title_align="left", border_style="dim"))


def params_of(command: Any, ctx: typer.Context) -> dict[str, list[tuple[str, str]]]:
    """Arguments and options of a command, by panel."""
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is None:  # a hidden one
            continue
        is_option = isinstance(param, typer.core.TyperOption)
        title = getattr(param, "rich_help_panel", None) or ("Options" if is_option else "Arguments")
        name = _option_name(param) if is_option else record[0]
        sections.setdefault(title, []).append((name, " ".join(record[1].split())))
    return {title: rows for title, rows in sections.items() if rows}


def _option_name(param: Any) -> str:
    """The spellings of an option, and what it takes where that has a name of its own: -q, --[no-]quiet."""
    spellings = sorted(param.opts, key=lambda spelling: spelling.startswith("--"))
    for negative in param.secondary_opts:
        positive = f"--{negative.removeprefix('--no-')}"
        spellings = [f"--[no-]{positive[2:]}" if spelling == positive else spelling for spelling in spellings]
    name = ", ".join(spellings)
    return name if param.is_flag or param.metavar is None else f"{name} {param.metavar}"
