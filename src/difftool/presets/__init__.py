"""Presets: rows of numbers a command starts from, in one TOML file per family."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import pick


@cache
def family(name: str) -> dict[str, dict[str, Any]]:
    """All presets of a family, by name."""
    return tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text(encoding="utf-8"))


def preset(kind: str, name: str) -> dict[str, Any]:
    """One preset of a family. Raises DifftoolError 2, naming the nearest, for a name it does not have."""
    return pick("preset", name, family(kind))
