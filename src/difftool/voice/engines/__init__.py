"""Engines that speak: a folder or a file each, and a row of `ENGINES`.

An engine is a module with the names of `Engine`. It imports nothing heavy at its top, so that `--help` can list the
options of every engine quickly.
"""

from __future__ import annotations

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeAlias, TypeVar, cast

from ...errors import DifftoolError, Exit, pick, unknown
from ...settings import Given, Option, kinds, knows, name_of, options, plain

if TYPE_CHECKING:
    from torch import Tensor

    from ...audio.files import Samples
    from ..library import Voice
    from ..settings import Settings
    from ..text import Part

log = logging.getLogger(__name__)

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]
"""Work that yields at every step and has a result at the end."""

ENGINES = {
    "tortoise": "difftool.voice.engines.tortoise",
    "f5": "difftool.voice.engines.f5",
    "mini": "difftool.voice.engines.mini",
    "stock": "difftool.voice.engines.stock",
}
"""The modules of the engines, in the order in which auto tries them."""
AUTO = "auto"
ALIASES = {"native": "tortoise"}
"""Names of earlier versions."""
BUNDLED = "mini"
"""The engine whose networks are in the package."""
MODELS = {"f5": "f5 vocos"}
"""What `models pull` downloads for an engine, where it is more than that of its name."""
PRESETS = ("draft", "ultra_fast", "fast", "standard", "high_quality")
"""Presets that every engine has."""
CLIP_HZ = 22_050
"""Samples a second of clips that are given instead of a voice."""


class Reference(NamedTuple):
    """The recordings of a voice for an engine; empty for a random voice."""

    voices: Sequence[Voice]
    """One, or several that are mixed."""
    clips: Sequence[Tensor]
    """Clips (S,) at CLIP_HZ given instead of a voice."""
    trained: Path | None = None
    """The file of what the engine has learned of the voice, as `voice train` wrote it."""


class Spoken(NamedTuple):
    """One candidate for a text."""

    sound: Samples
    """(S,) float32 within [-1, 1] at 24 kHz"""
    sample: int
    """Its number among the samples."""
    score: float | None
    """The score that the engine gives it, None where it has none."""
    stopped: bool
    """Whether it ended by itself and was not cut off."""


class Speaker(ABC):
    """An engine at work in one voice."""

    keep = False
    """Whether networks stay in memory for the next part."""
    others: Sequence[int] = ()
    """Samples of the text said last that are not among its candidates, the best first; they can still be made."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """Time of each stage."""

    def prepare(self, reference: Reference) -> Steps[None]:
        """Computes the conditioning of the voice."""
        yield from ()

    @abstractmethod
    def say(self, text: str, seed: int, stages: dict[str, Tensor] | None = None) -> Steps[list[Spoken]]:
        """The candidates for a part, the best first. `stages` receives intermediate tensors of the networks."""

    def make(self, sample: int) -> Spoken:
        """The candidate from one of `others`. Raises KeyError for a sample that was not drawn."""
        raise KeyError(sample)


@dataclass(frozen=True)
class Work(ABC):
    """The work of an engine in a run: everything is checked, and no network is open yet."""

    settings: Settings
    options: Any
    """Options of the engine, every default filled in."""
    reference: Reference
    parts: list[Part]

    packages: ClassVar[Sequence[str]] = ("numpy",)
    """Packages that the result depends on."""
    stages: ClassVar[Sequence[str]] = ("load", "speaking")
    """Stages of the work, as timed."""

    @property
    def one_seed(self) -> bool:
        """Whether all parts use the seed of the run instead of one of their own."""
        return False

    @property
    def unused(self) -> Sequence[str]:
        """Settings of `voice clone` that have no effect here."""
        return ()

    @property
    def files(self) -> Sequence[str]:
        """Files of the networks that are needed."""
        return ()

    @property
    def folder(self) -> Path | None:
        """The folder of these files."""
        return None

    @property
    def limit(self) -> str:
        """The length at which a part is cut off, in words."""
        return ""

    @property
    def terms(self) -> Mapping[str, str]:
        """What every file says of the networks: their licence, what they were trained on, their limits."""
        return {}

    @property
    @abstractmethod
    def steps(self) -> int:
        """Steps of one part."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """The settings that matter most, in a few words."""

    @abstractmethod
    def speaker(self) -> Speaker:
        """The engine, ready to prepare a voice."""

    def check_files(self) -> None:  # noqa: B027
        """Raises DifftoolError 4 where a network is missing."""

    def check_stages(self) -> None:
        """Raises DifftoolError where the engine has no `stages` to save."""
        message = f"the engine {self.settings.engine} does not support --save-stages"
        raise DifftoolError(Exit.USAGE, message, "leave out --save-stages")

    def models(self) -> dict[str, str]:
        """SHA-256 of the files of the networks."""
        return {}

    @property
    def inputs(self) -> Mapping[str, str]:
        """Recordings that the text is spoken into, and their SHA-256."""
        return {}

    @property
    def words(self) -> str | None:
        """The words of the reference, where the speech depends on them."""
        return None

    def unspoken(self) -> Sequence[str]:
        """Characters, or words, of the text that are left out."""
        return ""


class Engine(Protocol):
    """The interface of the module of an engine."""

    Options: type[Any]
    """A frozen dataclass of its own settings, made with `difftool.settings.setting`."""
    AUTOMATIC: bool
    """Whether auto may choose it."""
    REFERENCES: str
    """The folder below refs/ of a voice with clips for this engine."""
    LATENTS: bool
    """Whether it can use voices that have only Tortoise's latents."""
    QUANTISABLE: bool
    """Whether it can round weights to 8 bits (--dtype int8)."""

    def presets(self) -> Collection[str]:
        """The names of its presets, those of `PRESETS` among them."""
        ...

    def installed(self, models_dir: str | Path | None) -> bool:
        """Whether the networks of a usual run are installed."""
        ...

    def filled(self, settings: Settings, options: Any) -> tuple[Settings, Any]:
        """Both with None replaced by the values of the preset. Raises DifftoolError 2 for invalid settings."""
        ...

    def plan(self, settings: Settings, options: Any, reference: Reference) -> Work:
        """The text in parts, and all that is needed to speak them. Raises DifftoolError 2 for a text that cannot be
        spoken."""
        ...


def finished(steps: Steps[T]) -> T:
    """The result of work whose steps nobody counts."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def engine(name: str) -> Engine:
    """The engine of that name."""
    return cast(Engine, import_module(ENGINES[name]))


@knows(lambda: (AUTO, *ENGINES))
def known_engine(name: str) -> str:
    """The name of an engine, or auto. Raises DifftoolError 2 for another."""
    own = {known: known for known in (AUTO, *ENGINES)}
    return pick("engine", plain(name), own | ALIASES)


def _presets() -> list[str]:
    return list(dict.fromkeys(known for row in ENGINES for known in engine(row).presets()))


@knows(_presets)
def known_preset(name: str) -> str:
    """The name of a preset of any engine. Raises DifftoolError 2 for another."""
    return pick("preset", plain(name), {known: known for known in _presets()})


def choose_engine(
    name: str, given: Mapping[str, object], models_dir: str | Path | None = None, *, quantised: bool = False
) -> str:
    """The engine of that name; for auto, the first installed one that takes all options in `given`, and 8-bit weights
    if `quantised`. Raises DifftoolError 2 for an option that the engine lacks."""
    suitable = [row for row in ENGINES if not quantised or engine(row).QUANTISABLE]
    owners = {option: _owners(option) for option in given}
    if name != AUTO:
        lacking = next((option for option, names in owners.items() if name not in names), None)
        if lacking is not None:
            having = owners[lacking]
            message = f"the engine {name} has no {_typed(lacking, having)}"
            raise DifftoolError(Exit.USAGE, message, f"leave it out, or use --engine {' or '.join(having)}")
        if name not in suitable:
            hint = f"use --engine {' or '.join(suitable)}, or leave out --dtype"
            raise DifftoolError(Exit.USAGE, f"the engine {name} has no int8", hint)
        return name
    able = _able(given) or [row for row in ENGINES if all(row in names for names in owners.values())]
    able = [row for row in able if row in suitable]
    if not able:
        pairs = [f"{_typed(option, names)} ({' or '.join(names)})" for option, names in owners.items()]
        if quantised:
            pairs.append(f"--dtype int8 ({' or '.join(suitable)})")
        message = f"no engine has all of these options: {', '.join(pairs)}"
        raise DifftoolError(Exit.USAGE, message, "use options of one engine only")
    automatic = (row for row in able if engine(row).AUTOMATIC and engine(row).installed(models_dir))
    return next(automatic, able[0])


def _able(given: Mapping[str, object]) -> list[str]:
    """The engines that have all options in `given` and know their values."""

    def takes(name: str, option: str) -> bool:
        check, value = options(engine(name).Options)[option].check, given[option]
        try:
            return check is None or not isinstance(value, str) or check(value) is not None
        except DifftoolError:
            return False

    return [name for name in ENGINES if all(name in _owners(key) and takes(name, key) for key in given)]


def warn_of_bundled(chosen: str, given: Mapping[str, object]) -> None:
    """Warns where auto took the engine in the package although a larger one takes all options in `given`."""
    larger = _able(given)[0]
    if chosen == BUNDLED != larger:
        models = MODELS.get(larger, larger)
        better = f"for a larger one run difftool models pull {models}; --engine {chosen} hides this warning"
        log.warning("speaking with the small engine in the package, %s; %s", chosen, better)


def warn_of_unused(work: Work) -> None:
    """Warns of settings that have no effect with the engine and were changed."""
    known, usual = options(type(work.settings)), type(work.settings)()
    for name in work.unused:
        value = getattr(work.settings, name)
        if value != getattr(usual, name):
            label = name_of(name, known[name])
            shown = label.replace("--", "--no-", 1) if value is False else label
            log.warning("%s has no effect with the engine %s", shown, work.settings.engine)


def _owners(option: str) -> list[str]:
    """The engines that have an option. Raises DifftoolError 2 where there are none."""
    having = [name for name in ENGINES if option in options(engine(name).Options)]
    if not having:
        known = {own for name in ENGINES for own in options(engine(name).Options)}
        raise unknown("option", option, known)
    return having


def _typed(option: str, having: Sequence[str]) -> str:
    return name_of(option, options(engine(having[0]).Options)[option])


def united() -> type:
    """The options of all engines in one class for the command line, None where they are not given. Raises TypeError
    where two engines have an option of one name and different types."""
    fields: dict[str, tuple[Any, dict[str, Option]]] = {}
    for name in ENGINES:
        own = engine(name).Options
        annotations = kinds(own)
        standard = {field.name: field.default for field in dataclasses.fields(own)}
        for key, option in options(own).items():
            kind, shared = fields.setdefault(key, (annotations[key], {}))
            if kind != annotations[key]:
                raise TypeError(f"{key} is a {annotations[key]} in the engine {name}, but a {kind} in another")
            help = option.help
            if standard[key] is not None:
                help = f"{help.removesuffix('.')}; default: {standard[key]}."
            shared[name] = dataclasses.replace(option, help=help)
    rows = [(key, kind | None, _field(shared)) for key, (kind, shared) in fields.items()]
    classes = [engine(name).Options for name in ENGINES]
    groups = dict.fromkeys(group for own in classes for group in getattr(own, "exclusive", ()))
    return dataclasses.make_dataclass("EngineOptions", rows, namespace={"exclusive": (*groups,)}, frozen=True)


def _field(shared: Mapping[str, Option]) -> Any:
    """An option of the engines in `shared`. Help that differs is shown for each; bounds and checks that differ are left
    to the chosen engine."""
    first, *others = shared.values()
    keys = ("least", "most", "check", "parser", "read")
    unequal = [key for key in keys if any(getattr(option, key) != getattr(first, key) for option in others)]
    helps: dict[str, list[str]] = {}
    for name, option in shared.items():
        helps.setdefault(option.help, []).append(name)
    help = first.help
    if len(helps) > 1:
        help = " ".join(f"{text.removesuffix('.')} ({' and '.join(names)})." for text, names in helps.items())
    merged = dataclasses.replace(first, help=help, **dict.fromkeys(unequal))
    if "check" in unequal:
        merged = dataclasses.replace(merged, values=lambda params: _named(shared.values(), params))
    return dataclasses.field(default=None, metadata={"option": merged})


def _named(shared: Iterable[Option], params: Given) -> list[str]:
    """The names that one of the options takes."""
    known = [getattr(option.check, "values", None) for option in shared]
    return [*dict.fromkeys(name for values in known if values for name in values(params))]
