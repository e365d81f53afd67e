"""Presets: default settings of commands, in one TOML file per family, with the memory that each needs.

`[defaults]` of a file holds the values that a row does not set. `[NAME.needs]` is for `lab check`; its key `like` names
another row with the same needs.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from ..errors import DifftoolError, Exit, nearest, pick
from ..settings import restored
from .rows import FlowPreset, Hardware, PicturePreset, StoreRow, TrainPreset, TuningPreset, VoicePreset, WhisperRow

FOLDER = Path(__file__).parent
NEEDS, DEFAULTS, LIKE = "needs", "defaults", "like"
ROWS: dict[str, type] = {
    "train": TrainPreset,
    "txt2img": PicturePreset,
    "voice": VoicePreset,
    "f5": FlowPreset,
    "mini": FlowPreset,
    "tuning": TuningPreset,
    "whisper": WhisperRow,
    "store": StoreRow,
}
"""The row class of each family; rows of other files are not validated."""
T = TypeVar("T")
Table: TypeAlias = dict[str, object]


@cache
def _read(name: str) -> dict[str, Table]:
    file = f"{name}.toml"
    try:
        tables = tomllib.loads((FOLDER / file).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise DifftoolError(Exit.USAGE, f"{file} is not valid TOML: {error}", "fix that line") from error
    return {row: _table(table, file, row) for row, table in tables.items()}


def _table(value: object, file: str, row: str) -> Table:
    if not isinstance(value, dict):
        raise DifftoolError(Exit.USAGE, f"{file}: {row} is not a table", f"write [{row}] with its keys below it")
    return value


@cache
def family(name: str) -> dict[str, dict[str, Any]]:
    """All presets of a family, by name. Raises DifftoolError 2, with file, row and key, for an invalid row."""
    tables = _read(name)
    own = {row: {key: value for key, value in table.items() if key != NEEDS} for row, table in tables.items()}
    base = own.pop(DEFAULTS, {})
    rows = {row: base | values for row, values in own.items() if values}
    if name in ROWS:
        for row, values in rows.items():
            _built(ROWS[name], values, f"{name}.toml", row)
    return rows


def preset(kind: str, name: str) -> dict[str, Any]:
    """A preset of a family. Raises DifftoolError 2, with the nearest name, for an unknown one."""
    return pick("preset", name, family(kind))


@cache
def needs(kind: str) -> dict[str, Any]:
    """The needs of the rows of a family, by name: `TrainNeeds`, `PictureNeeds`, ... of `rows`."""
    file = f"{kind}.toml"
    tables = {row: _table(table[NEEDS], file, f"{row}.{NEEDS}") for row, table in _read(kind).items() if NEEDS in table}
    (needed,) = (part for part in typing.get_args(_kinds(ROWS[kind])[NEEDS]) if part is not types.NoneType)
    return {row: _built(needed, _shared(kind, row, tables), file, f"{row}.{NEEDS}") for row in tables}


def _shared(kind: str, row: str, tables: Mapping[str, Table]) -> Table:
    """The needs of a row, merged with those of the row named by `like`."""
    table = tables[row]
    if LIKE not in table:
        return table
    other = str(table[LIKE])
    if other not in tables or LIKE in tables[other]:
        near = nearest(other, [name for name in tables if LIKE not in tables[name]])
        message = f"{kind}.toml: {row}.{NEEDS} refers to {other!r}, which has no needs of its own"
        raise DifftoolError(Exit.USAGE, message, f"use another row, such as {near}" if near else "write out its needs")
    return tables[other] | {key: value for key, value in table.items() if key != LIKE}


def typed(kind: type[T]) -> dict[str, T]:
    """The rows of a family as instances of its class, with their needs: `typed(TrainPreset)`."""
    name = next(name for name, cls in ROWS.items() if cls is kind)
    needed = needs(name) if NEEDS in _kinds(kind) else {}
    extra = {row: {NEEDS: needed[row]} if row in needed else {} for row in family(name)}
    return {row: _built(kind, values, f"{name}.toml", row, **extra[row]) for row, values in family(name).items()}


@cache
def hardware() -> Hardware:
    """The hardware of the guide."""
    return _built(Hardware, _read("hardware"), "hardware.toml", "")


_kinds = cache(typing.get_type_hints)


def _built(cls: type[T], table: object, file: str, row: str, **extra: object) -> T:
    """A table of a TOML file as an instance of `cls`. Raises DifftoolError 2 if a key is missing, unknown or of the
    wrong type."""
    table = _table(table, file, row)
    fields = {field.metadata.get("key", field.name): field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if strange := next((key for key in table if key not in fields), None):
        near = nearest(strange, fields)
        meant = f"; did you mean {near}?" if near else ""
        raise _wrong(file, row, f"has an unknown key {strange!r}{meant}", f"known: {', '.join(sorted(fields))}")
    values = {
        field.name: _value(_kinds(cls)[field.name], table[key], file, f"{row}.{key}".lstrip("."))
        for key, field in fields.items()
        if key in table
    }
    absent = dataclasses.MISSING
    required = (key for key, field in fields.items() if field.default is absent and field.default_factory is absent)
    if missing := next((key for key in required if key not in table), None):
        raise _wrong(file, row, f"lacks the key {missing!r}", f"add {missing} = ... to [{row}], or to [{DEFAULTS}]")
    choices: tuple[str, ...] = getattr(cls, "one_of", ())
    given = [key for key in choices if key in table]
    if choices and not given:
        raise _wrong(file, row, f"lacks one of {', '.join(choices)}", f"add one of them to [{row}]")
    if len(given) > 1:
        raise _wrong(file, row, f"has {' and '.join(given)}", "keep one of them")
    return cls(**values, **extra)


def _wrong(file: str, row: str, message: str, hint: str) -> DifftoolError:
    return DifftoolError(Exit.USAGE, f"{file}: {row} {message}", hint)


def _value(annotation: Any, value: object, file: str, row: str) -> Any:
    """A value of a TOML file as the type of an annotation."""
    inner = typing.get_args(annotation)
    classes = [kind for kind in inner or (annotation,) if dataclasses.is_dataclass(kind)]
    if typing.get_origin(annotation) is not Mapping and classes:
        return _built(_meant(classes, value, file, row), value, file, row)
    if typing.get_origin(annotation) is Mapping and isinstance(value, dict):
        return {name: _value(inner[1], part, file, f"{row}.{name}") for name, part in value.items()}
    try:
        return restored(annotation, value)
    except ValueError as error:
        raise _wrong(file, row, f"has the wrong type: {error}", "compare the other rows") from error


def _meant(classes: list[Any], value: object, file: str, row: str) -> type:
    """The class selected by the `type` of a table, if there are several."""
    if len(classes) == 1:
        return classes[0]
    known = {cls.type: cls for cls in classes}
    table = _table(value, file, row)
    if "type" not in table:
        raise _wrong(file, row, "lacks the key 'type'", f"known types: {', '.join(known)}")
    kind = str(table["type"])
    if kind not in known:
        near = nearest(kind, known)
        message = f"has the type {kind!r}" + (f"; did you mean {near}?" if near else "")
        raise _wrong(file, row, message, f"known types: {', '.join(known)}")
    return known[kind]
