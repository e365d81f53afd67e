from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..limits import counted
from ..voice.tuning.settings import Settings
from .console import Console, Result
from .options import DryRun, Open, Overwrite
from .viewer import open_page
from .voice_library import Name

if TYPE_CHECKING:
    from ..voice.tuning.plan import Job
    from ..voice.tuning.report import Tuned

FINISHED = "finished before, nothing left to do; --overwrite starts over"
SHOWN = 3
"""Clips that are left out in a summary."""


def train(
    console: Console,
    settings: Settings,
    name: Name,
    overwrite: Overwrite = False,
    open_report: Open = False,
    dry_run: DryRun = False,
) -> Result:
    """Fine-tune an engine on a voice that voice prep made, so that voice clone speaks more like its owner.

    Some clips are held out; of all weights those with the least loss on them are kept. voice clone uses them for this
    voice and engine, unless --no-trained is given. The small engine in this package, mini, takes 20 minutes by default.

    Repeat the command to resume an interrupted run.

    Examples:

    difftool voice train me --engine mini

    difftool voice train me --engine tortoise --minutes 480
    """
    from ..voice.tuning.plan import prepared

    job = prepared(replace(settings, voice=name))
    tuning = job.tuning
    if job.left_out:
        some = [f"{clip} ({reason})" for clip, reason in [*job.left_out.items()][:SHOWN]]
        more = ["..."] if len(job.left_out) > SHOWN else []
        console.warn(f"{counted(len(job.left_out), 'clip')} left out: {', '.join([*some, *more])}")
    if dry_run:
        return _dry(job, overwrite=overwrite)
    from ..voice.judging.tuned import judge_with
    from ..voice.tuning.run import run

    console.resume = "resume with the same command, without --overwrite"
    judge = judge_with(tuning.settings.device, cast(Path | None, tuning.settings.models_dir))
    done = run(job, console.began, overwrite=overwrite, judge=judge, track=console.track)
    result = _result(job, done, time.monotonic() - console.began)
    return result._replace(after=partial(open_page, console, done.report)) if open_report else result


def _dry(job: Job, *, overwrite: bool) -> Result:
    """Reports what a run would do."""
    config, finished = job.standing(overwrite=overwrite)
    folder, clips = str(job.folder), job.tuning.clips
    if finished:
        data = {"dry_run": True, "finished_before": True, "folder": folder}
        return Result(data, [f"{folder}: {FINISHED}"], [])
    ((unit, amount),) = config["train"]["length"].items()
    settings = job.tuning.settings
    summary = [
        f"would train {settings.engine} ({settings.method}) for {amount:g} {unit} on {settings.device}",
        f"with {counted(len(clips.train), 'clip')} of {job.tuning.voice.name}, {len(clips.held)} more held out",
        f"would write {folder}",
    ]
    data = {
        "dry_run": True,
        "config": config,
        "folder": folder,
        "held_out": len(clips.held),
        "left_out": job.left_out,
        "would_write": [folder],
    }
    return Result(data, summary, [])


def _result(job: Job, done: Tuned, seconds: float) -> Result:
    """Reports a finished run."""
    from ..voice.tuning.report import speak_command

    data = {
        "outputs": [{"path": str(done.weights)}],
        "folder": str(done.folder),
        "plot": str(done.plot),
        "report": str(done.report),
        "engine": job.tuning.settings.engine,
        "clips": done.clips,
        "held_out": {"before": done.loss_before, "after": done.loss},
        "quality": done.quality,
        "notes": done.notes,
        "left_out": done.left_out,
        "finished_before": done.finished_before,
        "config": done.config,
        "timing": {"total": round(seconds, 3)},
    }
    took = f"; {FINISHED}" if done.finished_before else f", {seconds:.0f} s"
    summary = [f"{done.clips:,} clips heard{took}", *done.notes]
    if done.quality is not None:
        summary.append(_quality(done.quality))
    paths = {"run": done.folder, "weights": done.weights, "report": done.report}
    summary += [f"{name:9} {path}" for name, path in paths.items()]
    summary.append(f"{'next':9} {speak_command(job)}")
    return Result(data, summary, [done.folder])


def _quality(figures: Mapping[str, float]) -> str:
    """The figures of the speech on one line."""
    line = "likeness {likeness:.3f} to the held-out clips, {likeness_before:.3f} before"
    if "wer" in figures:
        line += "; word error rate {wer:.1f} %, {wer_before:.1f} % before"
    return line.format(**figures)
