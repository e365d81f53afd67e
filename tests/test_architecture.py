"""ARCHITECTURE.md names what exists."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

GUIDE = (Path(__file__).parents[1] / "ARCHITECTURE.md").read_text()
NAMES = sorted(set(re.findall(r"`(difftool(?:\.\w+)+)`", GUIDE)))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_exists(name: str) -> None:
    module, attributes = name, []
    while True:
        try:
            found = import_module(module)
            break
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            attributes.insert(0, last)
    for attribute in attributes:
        found = getattr(found, attribute)


def test_there_are_five_walks() -> None:
    assert len(re.findall(r"^## ", GUIDE, re.MULTILINE)) == 5
    assert len(NAMES) > 60
