"""The differences of two configs, in the words of the command line."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from .config import readable

SHOWN, HASH_SHOWN = 80, 12
"""Longest setting and hash in a message, in characters."""
MEASURED = {f"train.{key}" for key in ("images", "planned", "more", "micro_batch", "scale", "held_out_before")}
"""What a run adds to its recipe, or what follows from it."""
PARTS = {"net": "network", "train": "recipe"}
"""Names of the parts of a config in messages."""


class Difference(NamedTuple):
    """An entry that differs."""

    key: str
    """Its place in the config, such as train.lr."""
    there: object
    here: object


def differences(there: object, here: object, defaults: Mapping[str, object], where: str = "") -> Iterator[Difference]:
    """The entries in which two configs differ, except for those in MEASURED. `defaults`: the values of missing
    entries, by place."""
    if not (isinstance(there, Mapping) and isinstance(here, Mapping)):
        if there != here:
            yield Difference(where, there, here)
        return
    for key in {**there, **here}:
        place = f"{where}.{key}".strip(".")
        if place not in MEASURED:
            old, new = (config.get(key, defaults.get(place)) for config in (there, here))
            yield from differences(old, new, defaults, place)


def decisive(differing: Iterable[Difference], options: Mapping[str, str]) -> list[Difference]:
    """The differences in entries with an option, from which others mostly follow; without such, all. `options`: names
    of entries, by place."""
    differing = list(differing)
    with_option = [each for each in differing if each.key in options and not _follows(each)]
    return with_option or differing


def _follows(each: Difference) -> bool:
    """Whether only one path has this entry, as it follows from the target."""
    return each.key.startswith("path.") and None in (each.there, each.here)


def described(differing: Iterable[Difference], options: Mapping[str, str]) -> str:
    """The differences as "--option: OLD there, NEW here"."""
    return "; ".join(
        f"{_label(each.key, options)}: {_value(each.key, each.there)} there, {_value(each.key, each.here)} here"
        for each in differing
    )


def _label(key: str, options: Mapping[str, str]) -> str:
    *parts, name = key.split(".")
    return options.get(key) or (f"{name} of the {PARTS.get(parts[-1], parts[-1])}" if parts else name)


def _value(key: str, value: object) -> str:
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    value = readable(key, value)
    if isinstance(value, Mapping) and "name" in value:
        return short(value["name"])
    return short(value)[:HASH_SHOWN] if key.endswith("sha256") else short(value)


def short(value: object) -> str:
    """A value in a message."""
    text = str(value) if isinstance(value, (str, int, float)) else reprlib.repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
