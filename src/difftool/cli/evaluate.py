from __future__ import annotations

import time

from ..settings import manifest_of
from ..train.evaluation import Settings
from .console import Console, Result
from .options import DryRun


def evaluate(console: Console, settings: Settings, dry_run: DryRun = False) -> Result:
    """Measure how close generated pictures or sounds are to held-out real ones.

    Reports C2ST, KID, the Frechet distances of pixels and of features of a fixed random network, and a check for
    copies of training pictures. Nothing is downloaded; the standard FID needs --inception. For sounds, reports the
    Frechet distance of the bands of their spectrograms, the same check, and the ceiling: what the inversion to sound
    changes in real ones.

    Examples:

    difftool eval

    difftool eval runs/mine --data ~/pictures --count 1000
    """
    from ..train.evaluation import plan_evaluation, run_evaluation

    plan = plan_evaluation(settings)
    if dry_run:
        compared = f"{plan.held_out} of {plan.source}"
        line = f"would generate {plan.plan.count} {plan.plan.model.item}s and compare them with {compared}"
        return Result({"dry_run": True, "settings": manifest_of(plan.plan.settings)}, [line], [])
    done = run_evaluation(plan, track=console.track)
    seconds = time.monotonic() - console.began
    data = {
        "quality": done.quality,
        "count": done.count,
        "held_out": done.held_out,
        "settings": manifest_of(done.settings),
        "model": done.model,
        "timing": {"total": round(seconds, 3)},
    }
    compared = f"{done.count} {plan.plan.model.item}s of {done.name} against {done.held_out} of {done.source}"
    lines = [f"{compared}, {seconds:.0f} s"]
    shown = FIGURES if plan.data.sound is None else FIGURES_OF_SOUNDS
    for key, value in done.quality.items():
        lines.append(shown[key].format(value))
    return Result(data, lines, [])


FIGURES = {
    "c2st": "C2ST         {:8.3f}  0.5: indistinguishable from real pictures, 1: always recognised as generated",
    "fd": "FD pixels    {:8.2f}  Frechet distance of pixels, in grey levels squared",
    "fd_features": "FD features  {:8.4f}  Frechet distance of features of a fixed random network",
    "kid": "KID x 1000   {:8.3f}  kernel distance of the same features",
    "nearest": "nearest      {:8.2f}  distance to training pictures, relative to held-out ones; far below 1: copies",
    "exploded": "exploded     {:8d}  pictures brighter than any real one",
    "legible": "legible      {:8.1%}  classified as their label",
    "fid": "FID          {:8.2f}  Frechet inception distance",
}
"""A line of the report for each figure."""
FIGURES_OF_SOUNDS = {
    "fd": "FD bands     {:8.2f}  Frechet distance of bands and their changes, in dB squared",
    "nearest": "nearest      {:8.2f}  distance to training windows, relative to held-out ones; far below 1: copies",
    "ceiling": "ceiling      {:8.2f}  dB that the inversion to sound changes held-out windows by",
    "ceiling_fd": "FD ceiling   {:8.2f}  Frechet distance of the same windows before and after it",
}
