"""The result of a run: its notes, its figures and the page that plays its sounds."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from ...audio.files import Samples
from ...audio.notes import load
from ...device import machine_name
from ...learning.config import RunConfig
from ...learning.folder import REPORT, best_average
from ...learning.report import Outcome, ReportLabels
from ...learning.report import write as write_page
from ...learning.runlog import PLOT, ClosingLine, held_out_of, improving, read_log, updates_of
from ..library import WEIGHTS
from . import ITEMS, Clip
from .previews import SAMPLES

if TYPE_CHECKING:
    from .plan import Job

log = logging.getLogger(__name__)

FIGURES = {
    "likeness": ("likeness", "cosine of the voiceprints of the speech and of the held-out clips; 1 is the same"),
    "wer": ("word error rate", "of Whisper, in percent"),
}
"""Label and explanation of each figure."""
WORSE = 0.01
"""Share by which the held-out loss may rise after its minimum without a note."""


class Sentence(NamedTuple):
    """A held-out sentence, (S,) at 24 kHz, spoken without and with what was learned."""

    text: str
    before: Samples
    after: Samples


class Recorded(NamedTuple):
    """A held-out clip, (S,) at 24 kHz."""

    text: str
    sound: Samples


class Figures(NamedTuple):
    """Figures of speech by name, those of FIGURES that could be measured."""

    before: Mapping[str, float]
    after: Mapping[str, float]
    recorded: Mapping[str, float]
    """Of the held-out clips themselves"""

    @property
    def named(self) -> dict[str, float]:
        """All in one: NAME, NAME_before and NAME_recorded."""
        named = {**self.after}
        for kind, figures in (("before", self.before), ("recorded", self.recorded)):
            named |= {f"{name}_{kind}": value for name, value in figures.items()}
        return named


Judge = Callable[[Sequence[Sentence], Sequence[Recorded]], Figures]
"""Judges sentences by the held-out clips. It is passed to a run: nothing that is trained knows its judges."""


class Tuned(NamedTuple):
    """The result of a run."""

    folder: Path
    weights: Path
    """What the engine speaks with."""
    clips: int
    """Clips heard in all, repeats included."""
    loss: float
    """The held-out loss of these weights."""
    loss_before: float
    quality: Mapping[str, float] | None
    """The figures of the speech; None if it was not judged."""
    notes: Sequence[str]
    held: Sequence[Clip]
    """The held-out clips."""
    left_out: Mapping[str, str]
    """Clips that could not be learned from: the reason by name."""
    plot: Path
    report: Path
    finished_before: bool
    """Whether nothing was left to do."""
    config: RunConfig


def notes_of(folder: Path, config: RunConfig) -> list[str]:
    """What is to be said of a run."""
    lines, best = read_log(folder), best_average(folder)
    notes = []
    if best:
        loss, before = held_out_of(best.line), config["train"].get("held_out_before", float("inf"))
        total, seen = config["train"]["images"], best.line["images"]
        last = held_out_of([line for line in updates_of(lines) if "held_out" in line][-1])
        notes.append(f"held-out loss {before:.4f} before, {loss:.4f} after {seen:,} of {total:,} {ITEMS}")
        if loss >= before:
            notes.append("the run only memorises: the held-out loss is never below that before it; use more clips")
        elif last > loss * (1 + WORSE):
            notes.append(f"after {seen:,} {ITEMS} it only memorises; the weights of that moment are kept")
    return [*notes, improving(lines)]


def result_of(job: Job, config: RunConfig, *, finished_before: bool) -> Tuned:
    """The result of a finished run, from its folder."""
    folder = job.folder
    unfinished: ClosingLine = {"finished": False, "quality": None, "notes": []}
    lines = read_log(folder)
    end = next((line for line in lines if "finished" in line), unfinished)
    return Tuned(
        folder,
        folder / WEIGHTS,
        clips=config["train"]["images"],
        loss=min(map(held_out_of, updates_of(lines)), default=float("inf")),
        loss_before=config["train"].get("held_out_before", float("nan")),
        quality=end["quality"],
        notes=end["notes"],
        held=job.tuning.clips.held,
        left_out=job.left_out,
        plot=folder / PLOT,
        report=folder / REPORT,
        finished_before=finished_before,
        config=config,
    )


def speak_command(job: Job) -> str:
    """The command that speaks with what was learned."""
    tuning = job.tuning
    name, engine = shlex.quote(tuning.voice.name), tuning.settings.engine
    return f'difftool voice clone --voice {name} --engine {engine} "It is late."'


def write_report(job: Job, config: RunConfig, figures: Figures | None, notes: Sequence[str]) -> None:
    """Writes the page of a run."""
    outcome = Outcome(
        figures.after if figures else None,
        figures.recorded if figures else {},
        notes,
        machine_name(torch.device(job.tuning.settings.device)),
        before=figures.before if figures else {},
    )
    labels = ReportLabels(ITEMS, FIGURES, {"speak": speak_command(job)})
    write_page(job.folder / REPORT, config, outcome, {}, labels, _sounds(job))


def _sounds(job: Job) -> dict[str, Path]:
    """The sounds of a run with titles: the sentence of the previews as it went, and held-out sentences."""
    samples, tuning = job.folder / SAMPLES, job.tuning
    sounds = {}
    for path in sorted(samples.glob("[0-9]" * 9 + ".mp3")):
        moment = f"after {int(path.stem):,} {ITEMS}" if int(path.stem) else "before"
        settings = (load(path)[1] or {}).get("settings", {})  # a resumed run may have another text
        sounds[f"“{settings.get('text', tuning.settings.text)}” {moment}"] = path
    for k, clip in enumerate(tuning.clips.held[: tuning.judged], 1):
        sounds |= {
            f"{k}. “{clip.text}” {kind}": samples / f"{kind}-{k}.mp3" for kind in ("recorded", "before", "after")
        }
    return {title: path for title, path in sounds.items() if path.exists()}
