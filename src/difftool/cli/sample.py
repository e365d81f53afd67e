from __future__ import annotations

from typing import Annotated

import typer

from ..core.grid import SPACINGS
from ..core.solve import SAMPLERS
from .console import Console, Result
from .options import (
    SAMPLING,
    BatchSize,
    Count,
    Device,
    DryRun,
    Dtype,
    Half,
    LowVram,
    Output,
    OutputDir,
    Overwrite,
    Seed,
    Threads,
    dtype_of,
    one_of,
)
from .outputs import carry_out, dry, places


def sample(
    console: Console,
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="A run, model or diffusers folder; none: the digits in the package."),
    ] = None,
    sampler: Annotated[
        str,
        typer.Option(
            "--sampler",
            help=f"One of {', '.join(SAMPLERS)}.",
            callback=one_of("sampler", SAMPLERS),
            rich_help_panel=SAMPLING,
        ),
    ] = "ddim",
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", help="Calls of the network: 25, and every level for ddpm.", min=1, rich_help_panel=SAMPLING
        ),
    ] = None,
    schedule: Annotated[
        str,
        typer.Option(
            "--schedule",
            help=f"Levels to visit: {', '.join(SPACINGS)}.",
            callback=one_of("schedule", SPACINGS),
            rich_help_panel=SAMPLING,
        ),
    ] = "trailing",
    eta: Annotated[
        float | None,
        typer.Option("--eta", help="Fresh noise: 0 none, 1 that of DDPM.", min=0, max=1, rich_help_panel=SAMPLING),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="A class, several with commas, or any.", rich_help_panel=SAMPLING)
    ] = None,
    guidance: Annotated[
        float,
        typer.Option(
            "--guidance", "--cfg", help="Scale of classifier-free guidance; 1 is off.", rich_help_panel=SAMPLING
        ),
    ] = 1.0,
    count: Count = 16,
    seed: Seed = 0,
    list_samplers: Annotated[
        bool,
        typer.Option(
            "--list-samplers/--no-list-samplers",
            help="Print the samplers, and end.",
            show_default=False,
            rich_help_panel=SAMPLING,
        ),
    ] = False,
    output: Output = None,
    output_dir: OutputDir = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    batch_size: BatchSize = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    half: Half = False,
    low_vram: LowVram = False,
    threads: Threads = None,
) -> Result:
    """Draw pictures from a model; without one, from the digits in the package.

    Examples:

    difftool sample --count 100 -o digits.png

    difftool sample outputs/train/RUN --sampler ddpm --label 3 --guidance 2
    """
    if list_samplers:
        rows = {name: {"title": row.title, "steps": row.steps, **row.defaults} for name, row in SAMPLERS.items()}
        return Result({"samplers": rows}, [f"{name:10} {row.title}" for name, row in SAMPLERS.items()], [*SAMPLERS])
    items = [(k, seed + k) for k in range(count)]
    to = places("sample", console.run_id, items, output, output_dir, overwrite=overwrite)
    from ..image.pixels import plan

    planned = plan(
        model,
        sampler=sampler,
        steps=steps,
        schedule=schedule,
        eta=eta,
        guidance=guidance,
        label=label,
        count=count,
        seed=seed,
        batch_size=1 if low_vram else batch_size,
        device=device,
        dtype=dtype_of(dtype, half),
        threads=threads,
    )
    if dry_run:
        return dry(planned, to)
    return carry_out(console, planned, to)[1]
