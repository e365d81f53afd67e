"""The settings of a command: one frozen dataclass, from which options, checks, manifest and rerun follow.

    @dataclass(frozen=True)
    class Settings:
        steps: int | None = setting(None, "Steps; 25 by default.", least=1, most=1000)

A field of such a class is all that an option needs. It has a default, so that older files can be reproduced.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .errors import DifftoolError, Exit, pick

T = TypeVar("T")
Check = TypeVar("Check", bound=Callable[[Any], Any])
Given = Mapping[str, object]
"""Values of options on the command line, by name."""
Values = Callable[[Given], Iterable[str]]
"""Names that an option takes, from the values of the others."""

WORDS, TEXT, SAMPLING, SOUND = "Prompt and model", "Voice and text", "Sampling", "Sound"
OUTPUT, MACHINE = "Output", "Machine"
"""Panels of the help."""


@dataclass(frozen=True)
class Option:
    """The option of a setting and its valid values."""

    help: str
    names: tuple[str, ...] = ()
    """Names on the command line, the first for messages; default: --NAME-OF-THE-FIELD."""
    panel: str | None = None
    """Its panel of the help."""
    metavar: str | None = None
    least: float | None = None
    most: float | None = None
    above: float | None = None
    """Exclusive lower bound."""
    check: Callable[[Any], Any] | None = None
    """Validates and normalises the value. Raises DifftoolError 2."""
    values: Values | None = None
    """Names that the shell completes; default: those of `check`."""
    typed: Any = None
    """The type on the command line and in files, if it differs from that of the field."""
    read: Callable[[Any], Any] | None = None
    """Converts such a value to that of the field, which it leaves as it is."""
    parser: Callable[[str], Any] | None = None
    """Parses text of the command line that its type cannot, such as 500k. Raises ValueError."""
    argument: bool = False
    """Whether it is a positional argument."""
    stored: bool = True
    """Whether the manifest contains it."""
    filled: bool = False
    """Whether a run replaces None, so that no manifest contains None."""
    per_prompt: bool = False
    """Whether a prompt in a file of prompts may override it."""


def setting(default: Any, help: str, *names: str, **option: Any) -> Any:
    """A field of a class of settings; `option` are the fields of `Option`."""
    return dataclasses.field(default=default, metadata={"option": Option(help, names, **option)})


def options(cls: type) -> dict[str, Option]:
    """The options of a class of settings, by field."""
    fields = dataclasses.fields(cls)
    return {field.name: field.metadata["option"] for field in fields if "option" in field.metadata}


def knows(names: Callable[[], Iterable[str]]) -> Callable[[Check], Check]:
    """Marks a check by the names that it accepts, which the shell completes."""

    def mark(check: Check) -> Check:
        check.values = lambda params: names()  # type: ignore[attr-defined]
        return check

    return mark


def one_of(kind: str, table: Iterable[str] | Callable[[], Iterable[str]]) -> Callable[[str | None], str | None]:
    """A check for a name from a table (or a function that returns one); hyphens equal underscores, any case."""

    def names() -> Iterable[str]:
        return table() if callable(table) else table

    @knows(names)
    def read(value: str | None) -> str | None:
        known = {plain(name): name for name in names()}
        return None if value is None else pick(kind, plain(value), known)

    return read


def fields_of(settings: Any, cls: type) -> dict[str, Any]:
    """The values of the settings that `cls` has too."""
    return {name: getattr(settings, name) for name in options(cls)}


def name_of(name: str, option: Option) -> str:
    """The name of a setting on the command line."""
    if option.argument:
        return option.metavar or name.upper()
    return option.names[0] if option.names else f"--{name.replace('_', '-')}"


def key_of(spelling: str) -> str:
    """An option as it is typed, such as --batch-size, as the name of a parameter and a key of TOML: batch_size."""
    return spelling.lstrip("-").replace("-", "_")


def plain(name: str) -> str:
    """A name in the form used for comparison: lower case, underscores."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def kinds(cls: type) -> dict[str, Any]:
    """The types of a class of settings, by field."""
    return typing.get_type_hints(cls, include_extras=True)


def checked(settings: T) -> T:
    """Validates and normalises settings. Raises DifftoolError 2 for values of the wrong type or out of range."""
    changed = {}
    annotations = kinds(type(settings))
    for name, option in options(type(settings)).items():
        value: Any = getattr(settings, name)
        if value is None:
            continue
        if option.read is not None:
            value = changed[name] = option.read(value)
        label, kind = name_of(name, option), kind_of(annotations[name])
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if (number or kind in (bool, int, float)) and not fits(annotations[name], value):
            raise _wrong(label, EXPECTED[kind], value)
        if isinstance(value, str) and _is_path(annotations[name]):
            changed[name] = Path(value)
        check_range(label, option, value)
        if option.check is not None:
            changed[name] = option.check(value)
    return dataclasses.replace(settings, **changed)  # type: ignore[type-var]


def check_range(label: str, option: Option, value: Any) -> None:
    """Raises DifftoolError 2 if a value is not in the range of a setting, if that has one."""
    limits = range_of(option)
    if not limits:
        return
    low = -math.inf if option.least is None else option.least
    high = math.inf if option.most is None else option.most
    above = -math.inf if option.above is None else option.above
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (is_number and low <= value <= high and value > above):
        raise _wrong(label, limits, value)


def _is_path(annotation: Any) -> bool:
    """Whether a text stands for a path, since the setting takes no other texts."""
    parts = typing.get_args(annotation) or (annotation,)
    return Path in parts and str not in parts


def _wrong(label: str, expected: str, value: object) -> DifftoolError:
    hint = f"leave out {label} for its default"
    return DifftoolError(Exit.USAGE, f"{label} must be {expected}, not {value}", hint)


def range_of(option: Option) -> str:
    """The range of a setting, as text; empty if it has none."""
    if option.least is None and option.most is None and option.above is None:
        return ""
    low, high = (f"{end:,}" if isinstance(end, int) else f"{end:g}" for end in (option.least or 0, option.most or 0))
    if option.above is not None:
        limit = "" if option.most is None else f" and at most {high}"
        return f"above {option.above:g}{limit}"
    if option.most is None:
        return f"at least {low}"
    return f"at most {high}" if option.least is None else f"from {low} to {high}"


EXPECTED: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Path: "a path",
    str: "text",
    object: "of another type",
}
"""Names of types in messages, the narrowest first."""


def kind_of(annotation: Any) -> type:
    """The narrowest type in an annotation."""
    parts = typing.get_args(annotation) or (annotation,)
    return next((kind for kind in EXPECTED if kind in parts), object)


def fits(annotation: Any, value: object) -> bool:
    """Whether a value has the type of an annotation, exactly; but an integer is also a float."""
    try:
        restored(annotation, stored(value))
    except ValueError:
        return False
    return True


def stored(value: Any) -> Any:
    """A value for JSON: paths become absolute strings, tuples become lists."""
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, (tuple, list)):
        return [stored(part) for part in value]
    return value


def manifest_of(settings: Any) -> dict[str, Any]:
    """The settings for a manifest."""
    return {name: stored(getattr(settings, name)) for name, option in options(type(settings)).items() if option.stored}


def restored(annotation: Any, value: Any) -> Any:
    """A JSON value as the type of an annotation: the inverse of `stored`. Raises ValueError."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return restored(inner[0], value)
    if origin in (typing.Union, types.UnionType):
        for kind in inner:
            try:
                return restored(kind, value)
            except ValueError:
                continue
        raise ValueError(f"{value!r} is not {annotation}")
    if annotation is Any or annotation is object:
        return value
    if origin in (tuple, list, Sequence):
        if not isinstance(value, list):
            raise ValueError(f"{value!r} is not a list")
        if origin is not tuple or inner[-1] is Ellipsis:
            parts = [restored(inner[0], part) for part in value]
        elif len(inner) == len(value):
            parts = [restored(kind, part) for kind, part in zip(inner, value, strict=True)]
        else:
            raise ValueError(f"{value!r} does not have {len(inner)} items")
        return tuple(parts) if origin is tuple else parts
    if annotation is Path and isinstance(value, str):
        return Path(value)
    if annotation is float and type(value) in (int, float) and math.isfinite(value):
        return value
    if annotation in (None, types.NoneType) and value is None:
        return None
    if annotation in (int, str, bool) and type(value) is annotation:
        return value
    name = getattr(annotation, "__name__", annotation)
    raise ValueError(f"{value!r} is not of type {name}")


def from_manifest(cls: type[T], values: Mapping[str, object]) -> T:
    """The settings in a manifest; a setting that is newer than the manifest has its default. Raises ValueError for
    unknown settings and values of the wrong type."""
    annotations = kinds(cls)
    known = {name: option for name, option in options(cls).items() if option.stored}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"unknown setting {name!r}")
        if value is None and known[name].filled:
            raise ValueError(f"{name} has no value")
    return cls(**{name: restored(annotations[name], value) for name, value in values.items()})


def from_call(cls: type[T], **values: Any) -> T:
    """Settings from the keywords of a Python function. Raises DifftoolError 2 for two that cannot be combined, and for
    one that needs another."""
    given = {name for name, value in values.items() if value is not None and value is not False}
    for group in getattr(cls, "exclusive", ()):
        names = [name_of(name, options(cls)[name]) for name in group if name in given]
        if names[1:]:
            raise exclude_each_other(*names[:2])
    check_required(cls, values, given)
    return cls(**values)


def exclude_each_other(first: str, second: str) -> DifftoolError:
    """The error for two options of which only one may be given."""
    return DifftoolError(Exit.USAGE, f"{first} and {second} cannot be used together", f"use either {first} or {second}")


def check_required(cls: type, values: Mapping[str, object], given: Collection[str]) -> None:
    """Raises DifftoolError 2 for an option in `given` that does nothing without another one, as in `cls.requires`."""
    for name, other in getattr(cls, "requires", {}).items():
        if name in given and not values.get(other):
            first, second = (name_of(field, options(cls)[field]) for field in (name, other))
            raise DifftoolError(Exit.USAGE, f"{first} needs {second}", f"add {second}, or leave out {first}")


def from_typed(cls: type[T], values: Mapping[str, object]) -> T:
    """Settings from values of the command line or a file. Raises DifftoolError 2 for invalid ones."""
    return with_typed(cls(), values)


def with_typed(settings: T, values: Mapping[str, object]) -> T:
    """The settings with some replaced by values of the command line or of a prompt; None is not given. Raises
    DifftoolError 2 for invalid ones."""
    known = options(type(settings))
    fields = {}
    for name, value in values.items():
        if value is not None:
            read = known[name].read
            fields[name] = value if read is None else read(value)
    return dataclasses.replace(settings, **fields)  # type: ignore[type-var]
