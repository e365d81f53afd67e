"""Engines that speak: a folder or a file each, and a row of `ENGINES`.

An engine is a module with the names of `Engine`. It imports nothing heavy at its top, so that a command line can list
the options of every engine at once.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeAlias, TypeVar, cast

from ...errors import DifftoolError, Exit, pick, unknown
from ...settings import Option, kinds, name_of, options, plain

if TYPE_CHECKING:
    from torch import Tensor

    from ...audio.files import Samples
    from ..library import Voice
    from ..settings import Settings
    from ..text import Part

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]
"""Work that yields at every step and has a result at the end."""

ENGINES = {
    "tortoise": "difftool.voice.engines.tortoise",
    "stock": "difftool.voice.engines.stock",
}
"""The modules of the engines; the first that can serve is the default."""
AUTO = "auto"
ALIASES = {"native": "tortoise"}
"""Names of earlier versions."""
PRESETS = ("draft", "ultra_fast", "fast", "standard", "high_quality")
"""Presets that every engine has."""


class Reference(NamedTuple):
    """What an engine hears of a voice; nothing for a random one."""

    voices: Sequence[Voice]
    """One, or several that are mixed."""
    clips: Sequence[Tensor]
    """Clips (S,) at 22,050 Hz that were given in the place of a voice."""


class Spoken(NamedTuple):
    """One candidate for a text."""

    sound: Samples
    """(S,) float32 within [-1, 1] at 24 kHz"""
    sample: int
    """Which of the samples it is."""
    score: float | None
    """How good the engine thinks it is, where it says that."""
    stopped: bool
    """Whether it came to its end, and was not cut off."""


class Speaker(ABC):
    """An engine at work in one voice."""

    keep = False
    """Whether networks stay open after a part, for another comes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """How long each stage took."""

    def prepare(self, reference: Reference) -> Steps[None]:
        """Gets to know the voice."""
        yield from ()

    @abstractmethod
    def say(self, text: str, seed: int, stages: dict[str, Tensor] | None = None) -> Steps[list[Spoken]]:
        """The candidates for a part, the best first. `stages` takes what networks returned on the way."""


@dataclass(frozen=True)
class Work(ABC):
    """What an engine will do in a run: all is checked, and nothing is opened."""

    settings: Settings
    options: Any
    """Of the engine, every default filled in."""
    reference: Reference
    parts: list[Part]

    packages: ClassVar[Sequence[str]] = ("numpy",)
    """What the result depends on."""
    stages: ClassVar[Sequence[str]] = ("load", "speaking")
    """Of the work, as timed."""

    @property
    def one_seed(self) -> bool:
        """Whether all parts have the seed of the run, and not one of their own."""
        return False

    @property
    def files(self) -> Sequence[str]:
        """Of the networks that are needed."""
        return ()

    @property
    def folder(self) -> Path | None:
        """Where those are."""
        return None

    @property
    def limit(self) -> str:
        """The length at which a part is cut off, in words."""
        return ""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Of one part."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """How it speaks, in few words."""

    @abstractmethod
    def speaker(self) -> Speaker:
        """The engine, ready to get to know a voice."""

    def check_files(self) -> None:  # noqa: B027
        """Raises DifftoolError 4 where a network is missing."""

    def check_stages(self) -> None:
        """Raises DifftoolError where `stages` cannot be told."""
        what = f"the engine {self.settings.engine} tells of no stages"
        raise DifftoolError(Exit.USAGE, what, "leave out --save-stages")

    def models(self) -> dict[str, str]:
        """SHA-256 of the files of the networks."""
        return {}

    def unspoken(self) -> str:
        """The characters of the text that have no sound."""
        return ""


class Engine(Protocol):
    """The names that the module of an engine has."""

    Options: type[Any]
    """A frozen dataclass of the settings that it alone has, made with `difftool.settings.setting`."""
    AUTOMATIC: bool
    """Whether it may be chosen without being named."""
    REFERENCES: str
    """The folder below refs/ of a voice with clips for this engine."""
    LATENTS: bool
    """Whether it speaks in voices of which there are Tortoise's latents only."""

    def presets(self) -> Collection[str]:
        """The names of its presets, those of `PRESETS` among them."""
        ...

    def installed(self, models_dir: str | Path | None) -> bool:
        """Whether the networks of a usual run are here."""
        ...

    def filled(self, settings: Settings, options: Any) -> tuple[Settings, Any]:
        """Both with the values of the preset in the place of None. Raises DifftoolError 2 for what does not fit."""
        ...

    def plan(self, settings: Settings, options: Any, reference: Reference) -> Work:
        """The text in parts, and what is needed to say them. Raises DifftoolError 2 for what cannot be spoken."""
        ...


def engine(name: str) -> Engine:
    """The engine of that name."""
    return cast(Engine, import_module(ENGINES[name]))


def known_engine(name: str) -> str:
    """The name of an engine, or auto. Raises DifftoolError 2 for another."""
    own = {known: known for known in (AUTO, *ENGINES)}
    return pick("engine", plain(name), own | ALIASES)


def known_preset(name: str) -> str:
    """The name of a preset of any engine. Raises DifftoolError 2 for another."""
    return pick("preset", plain(name), {known: known for row in ENGINES for known in engine(row).presets()})


def choose(name: str, said: Collection[str], models_dir: str | Path | None = None) -> str:
    """The engine of that name; for auto, of those that have all options that were `said` the first whose networks are
    here. Raises DifftoolError 2 for an option that the engine lacks."""
    owners = {option: _owners(option) for option in said}
    if name != AUTO:
        lacking = next((option for option, having in owners.items() if name not in having), None)
        if lacking is not None:
            message = f"the engine {name} has no {_typed(lacking, owners[lacking])}"
            raise DifftoolError(Exit.USAGE, message, f"leave it out, or say --engine {' or '.join(owners[lacking])}")
        return name
    able = [row for row in ENGINES if all(row in having for having in owners.values())]
    if not able:
        each = ", ".join(f"{_typed(option, having)} ({' or '.join(having)})" for option, having in owners.items())
        raise DifftoolError(Exit.USAGE, f"no engine has all of these options: {each}", "leave out those of others")
    automatic = (row for row in able if engine(row).AUTOMATIC and engine(row).installed(models_dir))
    return next(automatic, able[0])


def _owners(option: str) -> list[str]:
    """The engines that have an option. Raises DifftoolError 2 where there are none."""
    having = [name for name in ENGINES if option in options(engine(name).Options)]
    if not having:
        raise unknown("option", option, {known for name in ENGINES for known in options(engine(name).Options)})
    return having


def _typed(option: str, having: Sequence[str]) -> str:
    return name_of(option, options(engine(having[0]).Options)[option])


def united() -> type:
    """The options of all engines in one class for the command line, None where nobody says them. Raises TypeError where
    two engines have an option of one name and different types."""
    fields: dict[str, tuple[Any, list[Option]]] = {}
    defaults: dict[str, dict[str, list[str]]] = {}
    for name in ENGINES:
        own = engine(name).Options
        annotations, standard = kinds(own), {field.name: field.default for field in dataclasses.fields(own)}
        for key, option in options(own).items():
            kind, shared = fields.setdefault(key, (annotations[key], []))
            if kind != annotations[key]:
                raise TypeError(f"{key} is a {annotations[key]} of the engine {name}, and a {kind} of another")
            shared.append(option)
            if standard[key] is not None:
                defaults.setdefault(key, {}).setdefault(str(standard[key]), []).append(name)
    rows = [(key, kind | None, _field(shared, defaults.get(key, {}))) for key, (kind, shared) in fields.items()]
    groups = dict.fromkeys(group for name in ENGINES for group in getattr(engine(name).Options, "exclusive", ()))
    return dataclasses.make_dataclass("EngineOptions", rows, namespace={"exclusive": (*groups,)}, frozen=True)


def _field(shared: Sequence[Option], defaults: Mapping[str, Sequence[str]]) -> Any:
    """An option that several engines may have. A bound or check that differs is left to the engine that is chosen."""
    first = shared[0]
    unequal = [key for key in ("least", "most", "check", "parser", "read") if _differ(key, shared)]
    help = first.help
    if len(defaults) == 1:
        help = f"{help.removesuffix('.')}; {next(iter(defaults))} by default."
    elif defaults:
        each = ", ".join(f"{value} ({' and '.join(names)})" for value, names in defaults.items())
        help = f"{help.removesuffix('.')}; by default {each}."
    merged = dataclasses.replace(first, help=help, **dict.fromkeys(unequal))
    return dataclasses.field(default=None, metadata={"option": merged})


def _differ(key: str, shared: Iterable[Option]) -> bool:
    values = [getattr(option, key) for option in shared]
    return any(value != values[0] for value in values)
