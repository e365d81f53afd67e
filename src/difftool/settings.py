"""The settings of a command: one frozen dataclass. Its options, its checks, what the manifest says and how a result is
made again follow from its fields.

    @dataclass(frozen=True)
    class Settings:
        steps: int | None = setting(None, "Steps; 25 by default.", least=1, most=1000)

A field of such a class is all that an option needs. It has a default, so that files of before it can be made again.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .errors import DifftoolError, Exit, pick

T = TypeVar("T")

WORDS, TEXT, SAMPLING, OUTPUT, MACHINE = "Words and pictures", "Voice and text", "Sampling", "Output", "Machine"
"""The boxes of a help."""


@dataclass(frozen=True)
class Option:
    """How a setting is said and what it may be."""

    help: str
    names: tuple[str, ...] = ()
    """As typed, the first of them in messages; --NAME-OF-THE-FIELD where there are none."""
    panel: str | None = None
    """The box of the help in which it stands."""
    metavar: str | None = None
    least: float | None = None
    most: float | None = None
    above: float | None = None
    """What a number must exceed, where there is no least one."""
    check: Callable[[Any], Any] | None = None
    """Gives the value as it is meant. Raises DifftoolError 2 for one that does not exist."""
    typed: Any = None
    """The type on the command line and in files, where it is another than that of the field."""
    read: Callable[[Any], Any] | None = None
    """From such a value to one of the field."""
    parser: Callable[[str], Any] | None = None
    """Reads the text of the command line, where it is more than a word of its type: 500k. Raises ValueError for another
    text."""
    argument: bool = False
    """Whether it has no name on the command line, but a place."""
    stored: bool = True
    """Whether the manifest tells of it."""
    filled: bool = False
    """Whether a run puts a value in the place of None, so that no manifest says None."""
    per_prompt: bool = False
    """Whether a prompt in a file of prompts may have its own."""


def setting(default: Any, help: str, *names: str, **option: Any) -> Any:
    """A field of a class of settings; `option` are the fields of `Option`."""
    return dataclasses.field(default=default, metadata={"option": Option(help, names, **option)})


def options(cls: type) -> dict[str, Option]:
    """The settings of a class that can be said, by name."""
    fields = dataclasses.fields(cls)
    return {field.name: field.metadata["option"] for field in fields if "option" in field.metadata}


def one_of(kind: str, table: Iterable[str] | Callable[[], Iterable[str]]) -> Callable[[str | None], str | None]:
    """A check for a name from a table, or from one that is read when it is asked for: hyphens and underscores, small
    and large letters are the same."""

    def read(value: str | None) -> str | None:
        names = table() if callable(table) else table
        known = {plain(name): name for name in names}
        return None if value is None else pick(kind, plain(value), known)

    return read


def fields_of(settings: Any, cls: type) -> dict[str, Any]:
    """The values of those settings that a class has too."""
    return {name: getattr(settings, name) for name in options(cls)}


def name_of(name: str, option: Option) -> str:
    """A setting as it is typed."""
    if option.argument:
        return option.metavar or name.upper()
    return option.names[0] if option.names else f"--{name.replace('_', '-')}"


def plain(name: str) -> str:
    """A name from a table as it is compared: hyphens and underscores, small and large letters are the same."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def kinds(cls: type) -> dict[str, Any]:
    """The types of the settings of a class, by name."""
    return typing.get_type_hints(cls, include_extras=True)


def checked(settings: T) -> T:
    """The settings with every value as it is meant. Raises DifftoolError 2 for a value that is of another type, out of
    its range, or does not exist."""
    changed = {}
    annotations = kinds(type(settings))
    for name, option in options(type(settings)).items():
        value = getattr(settings, name)
        if value is None:
            continue
        label, number = name_of(name, option), isinstance(value, (int, float)) and not isinstance(value, bool)
        if number and not fits(annotations[name], value):
            raise _wrong(label, EXPECTED[kind_of(annotations[name])], value)
        low = -math.inf if option.least is None else option.least
        high = math.inf if option.most is None else option.most
        if (low, high) != (-math.inf, math.inf) and not (number and low <= value <= high):
            raise _wrong(label, _range(option), value)
        if option.above is not None and not (number and value > option.above):
            raise _wrong(label, _range(option), value)
        if option.check is not None:
            changed[name] = option.check(value)
    return dataclasses.replace(settings, **changed)  # type: ignore[type-var]


def _wrong(label: str, expected: str, value: object) -> DifftoolError:
    hint = f"leave out {label} for its default"
    return DifftoolError(Exit.USAGE, f"{label} must be {expected}, not {value}", hint)


def _range(option: Option) -> str:
    """The range of a setting, in words."""
    if option.above is not None:
        limit = "" if option.most is None else f" and at most {option.most:,.0f}"
        return f"above {option.above:g}{limit}"
    low, high = (f"{end:,}" if isinstance(end, int) else f"{end:g}" for end in (option.least or 0, option.most or 0))
    if option.most is None:
        return f"at least {low}"
    return f"at most {high}" if option.least is None else f"from {low} to {high}"


EXPECTED: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Path: "the name of a file",
    str: "a text",
    object: "another kind of value",
}
"""The types of settings in words, the narrowest first."""


def kind_of(annotation: Any) -> type:
    """The narrowest of the types in an annotation."""
    parts = typing.get_args(annotation) or (annotation,)
    return next((kind for kind in EXPECTED if kind in parts), object)


def fits(annotation: Any, value: object) -> bool:
    """Whether a value is of a type as annotations write it: exactly, but that a whole number is a float too."""
    try:
        restored(annotation, stored(value))
    except ValueError:
        return False
    return True


def stored(value: Any) -> Any:
    """A value as JSON holds it: paths are absolute names, tuples are lists."""
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, (tuple, list)):
        return [stored(part) for part in value]
    return value


def manifest_of(settings: Any) -> dict[str, Any]:
    """The settings as a manifest holds them."""
    return {name: stored(getattr(settings, name)) for name, option in options(type(settings)).items() if option.stored}


def restored(annotation: Any, value: Any) -> Any:
    """A value of JSON as the annotation wants it: the inverse of `stored`. Raises ValueError where it is none."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return restored(inner[0], value)
    if origin in (typing.Union, types.UnionType):
        for kind in inner:
            try:
                return restored(kind, value)
            except ValueError:
                continue
        raise ValueError(f"{value!r} is none of {annotation}")
    if annotation is Any or annotation is object:
        return value
    if origin in (tuple, list, Sequence):
        if not isinstance(value, list):
            raise ValueError(f"{value!r} is no list")
        if origin is not tuple or inner[-1] is Ellipsis:
            parts = [restored(inner[0], part) for part in value]
        elif len(inner) == len(value):
            parts = [restored(kind, part) for kind, part in zip(inner, value, strict=True)]
        else:
            raise ValueError(f"{value!r} has not {len(inner)} parts")
        return tuple(parts) if origin is tuple else parts
    if annotation is Path and isinstance(value, str):
        return Path(value)
    if annotation is float and type(value) in (int, float) and math.isfinite(value):
        return value
    if annotation in (None, types.NoneType) and value is None:
        return None
    if annotation in (int, str, bool) and type(value) is annotation:
        return value
    raise ValueError(f"{value!r} is no {getattr(annotation, '__name__', annotation)}")


def from_manifest(cls: type[T], values: Mapping[str, object]) -> T:
    """The settings that a manifest holds. What it does not tell of, as it is of before the setting was added, has its
    default. Raises ValueError for settings that this version does not know, and for values of another type."""
    annotations, known = kinds(cls), options(cls)
    if strange := next((name for name in values if name not in known), None):
        raise ValueError(f"there is no setting {strange!r}")
    if lacking := next((name for name, value in values.items() if value is None and known[name].filled), None):
        raise ValueError(f"{lacking} has no value")
    return cls(**{name: restored(annotations[name], value) for name, value in values.items()})


def from_typed(cls: type[T], values: Mapping[str, object]) -> T:
    """The settings as they were typed: on the command line or in a file. Raises DifftoolError 2 for what cannot be
    read."""
    return with_typed(cls(), values)


def with_typed(settings: T, values: Mapping[str, object]) -> T:
    """The settings with what was typed, beside a prompt too, in the place of theirs; None was not typed. Raises
    DifftoolError 2 for what cannot be read."""
    known = options(type(settings))
    fields = {}
    for name, value in values.items():
        if value is not None:
            read = known[name].read
            fields[name] = value if read is None else read(value)
    return dataclasses.replace(settings, **fields)  # type: ignore[type-var]
