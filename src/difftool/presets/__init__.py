"""Presets: rows of numbers a command starts from, in one TOML file per family, with what each needs of a machine."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import pick

NEEDS = "needs"
"""The part of a row that no command starts from, but `lab check` judges machines by."""


@cache
def _rows(name: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text(encoding="utf-8"))


@cache
def family(name: str) -> dict[str, dict[str, Any]]:
    """All presets of a family, by name."""
    rows = {row: {key: value for key, value in told.items() if key != NEEDS} for row, told in _rows(name).items()}
    return {row: told for row, told in rows.items() if told}


def preset(kind: str, name: str) -> dict[str, Any]:
    """One preset of a family. Raises DifftoolError 2, naming the nearest, for a name it does not have."""
    return pick("preset", name, family(kind))


def needs(kind: str) -> dict[str, dict[str, Any]]:
    """What the presets of a family need, by name; `like` names another that needs the same."""
    found = {row: told[NEEDS] for row, told in _rows(kind).items() if NEEDS in told}
    return {row: found[told["like"]] if "like" in told else told for row, told in found.items()}
