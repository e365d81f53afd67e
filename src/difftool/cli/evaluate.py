from __future__ import annotations

import time

from ..settings import manifest_of
from ..train.evaluation import Settings
from .console import Console, Result
from .options import DryRun


def evaluate(console: Console, settings: Settings, dry_run: DryRun = False) -> Result:
    """Measure how near the pictures that a model draws are to real ones it never saw.

    C2ST, Frechet distances of pixels and of a fixed random network's features, KID, and whether it copies. Nothing is
    downloaded; a real FID wants --inception.

    Examples:

    difftool eval

    difftool eval runs/mine --data ~/pictures --count 1000
    """
    from ..train.evaluation import measured, planned

    plan = planned(settings)
    if dry_run:
        compared = f"{len(plan.held_out.pixels)} of {plan.source}"
        line = f"would draw {settings.count} pictures and compare them with {compared}"
        return Result({"dry_run": True, "settings": manifest_of(plan.plan.settings)}, [line], [])
    done = measured(plan, track=console.track)
    seconds = time.monotonic() - console.began
    data = {
        "quality": done.quality,
        "count": done.count,
        "held_out": done.held_out,
        "settings": manifest_of(done.settings),
        "model": done.model,
        "timing": {"total": round(seconds, 3)},
    }
    head = f"{done.count} pictures of {done.name} against {done.held_out} of {done.source}, {seconds:.0f} s"
    return Result(data, [head, *(MEANT[key].format(value) for key, value in done.quality.items())], [])


MEANT = {
    "c2st": "C2ST         {:8.3f}  told apart from real ones: 0.5 never, 1 always",
    "fd": "FD pixels    {:8.2f}  Frechet distance, in grey levels squared",
    "fd_features": "FD features  {:8.4f}  the same of a fixed random network",
    "kid": "KID x 1000   {:8.3f}  kernel distance of the same",
    "nearest": "nearest      {:8.2f}  to training pictures, 1: as far as held-out ones; far below: copied",
    "exploded": "exploded     {:8d}  brighter than any real one",
    "legible": "legible      {:8.1%}  read as their label",
    "fid": "FID          {:8.2f}  Frechet inception distance",
}
