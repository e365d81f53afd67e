"""Names that the shell completes. They are looked up when asked for, and without heavy imports."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import typer

from ..settings import Given, Values


def completer(values: Values) -> Callable[[typer.Context, str], list[str]]:
    """A completion for Typer. After a comma, the next name of a list is completed; hyphens equal underscores."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        listed, comma, word = incomplete.rpartition(",")
        names = values(ctx.params)
        if "-" in word:
            names = [name.replace("_", "-") for name in names]
        return [f"{listed}{comma}{name}" for name in names]

    return complete


def models(params: Given) -> Iterable[str]:
    from ..store import entries

    return entries()


def presets(params: Given) -> Iterable[str]:
    """The presets of all commands."""
    from ..lab.verdicts import presets_named

    return dict.fromkeys(preset.name for preset in presets_named([]))


def formats(params: Given) -> Iterable[str]:
    from ..voice.export import KINDS

    return KINDS


def consents(params: Given) -> Iterable[str]:
    from ..voice.library import CONSENTS

    return [kind + (":" if text.startswith(kind) else "") for kind, text in CONSENTS.items()]


def runs(params: Given) -> Iterable[str]:
    from ..runs import find

    return [str(run.path) for run in find()]
