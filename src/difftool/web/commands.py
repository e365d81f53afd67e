"""Settings of the page as command lines of difftool: which ones it may give, and how they are typed."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from ..errors import DifftoolError, Exit, pick, unknown
from ..settings import plain
from .shapes import News, Outcome, Settings

GUIDING = ("guidance", "guidance_mode", "guidance_interval", "guidance_rescale")
SAMPLER = ("sampler", "steps", "schedule", "eta")
MACHINE = ("device", "dtype", "threads", "batch_size")
FLAGS = ("low_vram",)
"""Settings that are true or false. A flag in the place of another option would take the next word as its value."""
LONGEST = 200_000
"""Characters of a value."""
FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Control characters and lone surrogates, which no text has."""


class Kind(NamedTuple):
    """A kind of job: its command and the settings that the page may give. Those that name files of this machine are not
    among them."""

    command: str
    argument: str
    """The setting that is a positional argument."""
    is_required: bool
    settings: tuple[str, ...]


KINDS = {
    "speech": Kind(
        "voice clone",
        "text",
        True,
        (
            *("text", "voice", "engine", "preset", "seed", "candidates", "speed", *GUIDING, *SAMPLER, *MACHINE),
            *("samples", "max_mel_tokens", "temperature", "top_p", "top_k", "repetition_penalty"),
            *("diffusion_temperature", "sway"),
        ),
    ),
    "pictures": Kind(
        "txt2img",
        "prompt",
        True,
        (
            *("prompt", "negative", "model", "preset", "size", "seed", "count", "churn", "true_cfg", "skip_layers"),
            *("clip_skip", "low_vram", *GUIDING, *SAMPLER, *MACHINE),
        ),
    ),
    "sample": Kind(
        "sample",
        "model",
        False,
        (
            *("model", "label", "seed", "count", "churn", "seconds", "vocoder", "dynamic_threshold"),
            *(*GUIDING, *SAMPLER, *MACHINE),
        ),
    ),
}
"""What a job can be, but for `voice prep`, which is made of takes."""


class Run(Protocol):
    """Runs a command line, as the console script does: its words, the ID of the run, and a function that is told of
    progress. Returns the exit code, and the JSON object that it printed."""

    def __call__(self, argv: Sequence[str], run_id: str, report: Callable[[News], None], /) -> Outcome: ...


class CommandLine(NamedTuple):
    """The command line of the house, as the server uses it."""

    run: Run
    check: Callable[[Sequence[str]], None]
    """Raises DifftoolError 2 for a command line that cannot be read."""
    device: Callable[[], str]
    """What commands run on by default, in words."""
    preload: Sequence[str]
    """The modules that commands import, which are imported once for all."""


class Line(NamedTuple):
    """A command line: the words of its command, its options, and its arguments."""

    command: tuple[str, ...]
    options: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    @property
    def typed(self) -> str:
        """As a user would type it."""
        return shlex.join(["difftool", *self.words()])

    def words(self, *more: str) -> list[str]:
        """Its words after `difftool`, with more options."""
        tail = ["--", *self.arguments] if self.arguments else []
        return [*self.command, *more, *self.options, *tail]


def line_of(kind: str, settings: Settings, models: Mapping[str, str]) -> Line:
    """The command line of a job; `models` are the names of models for it, and what the command calls them. Raises
    DifftoolError 2 for a setting that the page cannot give, or a value that no command line has."""
    row = pick("kind", kind, KINDS)
    options, arguments = [], []
    for name, value in settings.items():
        if name not in row.settings:
            raise unknown("setting", name, row.settings)
        if value is None:
            continue
        if name == "model":
            value = pick("model", str(value), models)
        if name == row.argument:
            arguments = [_text(name, value)]
        else:
            options.append(_option(name, value))
    if row.is_required and not (arguments and arguments[0].strip()):
        raise DifftoolError(Exit.USAGE, f"the {row.argument} is empty", f"type a {row.argument}")
    return Line(tuple(row.command.split()), tuple(options), tuple(arguments))


def _option(name: str, value: object) -> str:
    spelled = f"--{name.replace('_', '-')}"
    if name not in FLAGS:
        return f"{spelled}={_text(name, value)}"
    if not isinstance(value, bool):
        raise DifftoolError(Exit.USAGE, f"{name} must be true or false", f"leave out {name} for its default")
    return spelled if value else spelled.replace("--", "--no-", 1)


def _is_given(name: str, value: object) -> bool:
    """Whether a job may have a setting of a file that anybody may have made."""
    with suppress(DifftoolError):
        return bool(_option(name, value))
    return False


def _text(name: str, value: object) -> str:
    """A value as it is typed. Raises DifftoolError 2 for one that cannot be."""
    is_finite = not isinstance(value, float) or math.isfinite(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or not is_finite:
        message = f"{name} must be a text or a number"
        raise DifftoolError(Exit.USAGE, message, f"leave out {name} for its default")
    text = str(value)
    if FORBIDDEN.search(text):
        raise DifftoolError(Exit.USAGE, f"{name} has control characters", "remove them")
    if len(text) > LONGEST:
        raise DifftoolError(Exit.USAGE, f"{name} has more than {LONGEST:,} characters", "split it into several jobs")
    return text


def settings_in(note: Mapping[str, object], models: Mapping[str, Mapping[str, str]]) -> tuple[str, Settings] | None:
    """The kind of job that made a result, and its settings for the form, from its manifest; None where the page has no
    such jobs. Settings of the machine are left out, and models that are not here."""
    kind = next((name for name, row in KINDS.items() if row.command == note.get("command")), None)
    stored = note.get("settings")
    if kind is None or not isinstance(stored, Mapping):
        return None
    item = note.get("item")
    settings: dict[str, object] = {}
    for name in KINDS[kind].settings:
        value = stored.get(name)
        if name == "size" and isinstance(value, list):
            value = "x".join(map(str, value))
        if name in MACHINE or not _is_given(name, value):
            continue
        if name != "model" or plain(str(value)) in {plain(known) for known in models.get(kind, {})}:
            settings[name] = value
    if isinstance(item, Mapping) and isinstance(item.get("seed"), int) and "count" in settings:
        settings |= {"seed": item["seed"], "count": 1}
    return kind, settings


def prep_line(recordings: Sequence[Path], transcripts: Sequence[Path], options: Sequence[str]) -> Line:
    """The command line that makes a voice of recordings."""
    given = [f"--transcript={path}" for path in transcripts]
    return Line(("voice", "prep"), (*options, *given), tuple(map(str, recordings)))
