"""What is spoken in the course of a run, and its place in the folder of the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...progress import Track
from .. import output
from ..plan import SpeechPlan, plan_speech
from ..settings import Settings as SpeechSettings
from ..speak import Cloned, speak_plan
from . import Tuning

SAMPLES = "samples"


def preview_path(folder: Path, items: int) -> Path:
    """The preview after so many clips."""
    return folder / SAMPLES / f"{items:09d}.mp3"


def speech_of(tuning: Tuning, text: str, trained: Path | None = None) -> SpeechPlan:
    """The plan to speak a text in the voice with these learned weights, by default those of the base. Raises
    DifftoolError as `plan_speech`."""
    settings = tuning.settings
    plan = plan_speech(
        SpeechSettings(
            text=text,
            voice=tuning.voice.name,
            voices_dir=tuning.voice.folder.parent,
            engine=settings.engine,
            preset=tuning.preset,
            models_dir=settings.models_dir,
            device=settings.device,
            threads=settings.threads,
            trained=False,
        ),
        {},
    )
    reference = plan.work.reference._replace(trained=trained)
    return replace(plan, work=replace(plan.work, reference=reference))


def speak(tuning: Tuning, text: str, path: Path, trained: Path | None = None, track: Track | None = None) -> Cloned:
    """Speaks a text, as `speech_of`, and writes it to a file."""
    plan = speech_of(tuning, text, trained)
    cloned = speak_plan(plan, track=track)
    path.parent.mkdir(exist_ok=True)
    output.write(plan, cloned, [path])
    return cloned
