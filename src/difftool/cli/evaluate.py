from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ..errors import DifftoolError, Exit
from ..settings import manifest_of
from .console import Console, Result
from .options import MOST, SAMPLING, BatchSize, Device, DryRun, Dtype, Eta, ModelName, Schedule, Threads, known_sampler

COUNT, STEPS = 500, 50


def evaluate(
    console: Console,
    model: ModelName = None,
    data: Annotated[
        str | None, typer.Option("--data", help="What it is to be measured against, as for train; none: the digits.")
    ] = None,
    inception: Annotated[
        Path | None, typer.Option("--inception", help="pytorch-fid's weights of Inception, for a real FID.")
    ] = None,
    held_out: Annotated[
        float | None, typer.Option("--held-out", help="Share that train held out (0.05).", min=0, max=0.99)
    ] = None,
    count: Annotated[
        int, typer.Option("--count", help="Pictures to draw.", min=50, max=MOST, rich_help_panel=SAMPLING)
    ] = COUNT,
    sampler: Annotated[
        str, typer.Option("--sampler", help="As for sample.", callback=known_sampler, rich_help_panel=SAMPLING)
    ] = "ddim",
    steps: Annotated[int, typer.Option("--steps", help="Of the sampler.", min=1, rich_help_panel=SAMPLING)] = STEPS,
    schedule: Schedule = None,
    eta: Eta = None,
    guidance: Annotated[float, typer.Option("--guidance", "--cfg", help="1: off.", rich_help_panel=SAMPLING)] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the first picture.", rich_help_panel=SAMPLING)] = 1000,
    dry_run: DryRun = False,
    batch_size: BatchSize = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
) -> Result:
    """Measure how near the pictures that a model draws are to real ones it never saw.

    C2ST, Frechet distances of pixels and of a fixed random network's features, KID, and whether it copies. Nothing is
    downloaded; a real FID wants --inception.

    Examples:

    difftool eval

    difftool eval runs/mine --data ~/pictures --count 1000
    """
    from ..learning.metrics import fid
    from ..pixels.draw import draw
    from ..pixels.plan import plan
    from ..train.data.pictures import BUILT_IN, announce, load
    from ..train.quality import FEWEST, by_share, judged, measure

    if inception is not None and not inception.is_file():
        raise DifftoolError(Exit.FILE, f"there is no file {inception}", "name pytorch-fid's weights of Inception")
    how = {
        "sampler": sampler,
        "steps": steps,
        "schedule": schedule,
        "eta": eta,
        "guidance": guidance,
        "count": count,
        "seed": seed,
        "batch_size": batch_size,
        "device": device,
        "dtype": dtype,
        "threads": threads,
    }
    planned = plan(model, **how)
    channels, height, width = planned.model.shape
    source = "digits" if data is None else data
    pictures = load(source, None if source in BUILT_IN else (width, height), held_out)
    announce(pictures)
    if pictures.pixels.shape[1:] != (height, width, channels):
        found = "x".join(map(str, pictures.pixels.shape[1:]))
        what = f"{planned.model.name} draws {height}x{width}x{channels}, and {source} is {found}"
        raise DifftoolError(Exit.FILE, what, "name the data it was trained on with --data")
    if not judged(pictures):
        what = f"{source} holds out fewer than {FEWEST} pictures"
        raise DifftoolError(Exit.FILE, what, "take more pictures, or a larger --held-out")
    assert pictures.held_out is not None
    planned = plan(planned.model, **how, label=by_share(pictures.held_out, planned.model.classes, count))
    if dry_run:
        line = f"would draw {count} pictures and compare them with {len(pictures.held_out.pixels)} of {source}"
        return Result({"dry_run": True, "settings": manifest_of(planned.settings)}, [line], [])
    drawn = draw(planned, track=console.track)
    console.say("judging")
    quality = measure(drawn, pictures)
    if inception is not None:
        quality["fid"] = fid(drawn.pixels, pictures.held_out.pixels, inception)
    seconds = time.monotonic() - console.began
    told = {
        "quality": quality,
        "count": count,
        "held_out": len(pictures.held_out.pixels),
        "settings": manifest_of(planned.settings),
        "model": drawn.manifest["model"],
        "timing": {"total": round(seconds, 3)},
    }
    head = (
        f"{count} pictures of {planned.model.name} against {len(pictures.held_out.pixels)} of {source}, {seconds:.0f} s"
    )
    return Result(told, [head, *(MEANT[key].format(value) for key, value in quality.items())], [])


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
