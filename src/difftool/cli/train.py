from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..files import default_dir
from ..presets import family
from ..train.recipe import AIMS, BETAS, TIMES, WEIGHTINGS
from .console import Console, Result
from .options import MACHINE, OUTPUT, Device, DryRun, Dtype, Overwrite, Threads, count_of, one_of, one_of_each, size_of

if TYPE_CHECKING:
    from ..train.data.pictures import Pictures
    from ..train.run import Trained

LENGTH, DATA, LEARNING = "Length (one of)", "Data", "Learning"


@one_of_each(
    ("folder", "data"), ("steps", "images", "epochs", "minutes"), ("dtype", "half"), ("batch_size", "low_vram")
)
def train(
    console: Console,
    folder: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="A folder, zip, .npz, .npy, .parquet, IDX or CIFAR file, hf:owner/name, digits, shapes, moons, "
            "swiss_roll or eight_gaussians; none: the preset's own.",
        ),
    ] = None,
    data: Annotated[str | None, typer.Option("--data", help="The same as DATA.", rich_help_panel=DATA)] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="WxH", help="Cut and scale the pictures to this.", rich_help_panel=DATA),
    ] = None,
    held_out: Annotated[
        float | None,
        typer.Option(
            "--held-out",
            help="Share kept back for judging (0.05, of 100 or more).",
            min=0,
            max=0.99,
            rich_help_panel=DATA,
        ),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option(
            "--flip/--no-flip",
            help="Mirror a picture half of the times it is seen.",
            show_default=False,
            rich_help_panel=DATA,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help=f"One of {', '.join(family('train'))}.",
            callback=one_of("preset", family("train")),
            rich_help_panel=LEARNING,
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="How long the whole command may take.", rich_help_panel=LENGTH)
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            "--images", parser=count_of, metavar="N", help="Pictures to see: 500k, 2M.", rich_help_panel=LENGTH
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", parser=count_of, metavar="N", help="Updates of the weights.", rich_help_panel=LENGTH),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option("--epochs", help="Times through the data.", rich_help_panel=LENGTH)
    ] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Highest learning rate.", rich_help_panel=LEARNING)] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Pictures an update.", min=1, rich_help_panel=LEARNING)
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            help=f"What the network predicts: {', '.join(AIMS)}; flows and edm bring paths of their own.",
            callback=one_of("target", AIMS),
            rich_help_panel=LEARNING,
        ),
    ] = None,
    weight: Annotated[
        str | None,
        typer.Option(
            "--weight",
            help=f"What an error counts: {', '.join(WEIGHTINGS)}.",
            callback=one_of("weight", WEIGHTINGS),
            rich_help_panel=LEARNING,
        ),
    ] = None,
    times: Annotated[
        str | None,
        typer.Option(
            "--times",
            help=f"Which noise is trained at: {', '.join(TIMES)}.",
            callback=one_of("times", TIMES),
            rich_help_panel=LEARNING,
        ),
    ] = None,
    betas: Annotated[
        str | None,
        typer.Option(
            "--betas",
            help=f"The path of v, eps and x0: {', '.join(BETAS)}.",
            callback=one_of("betas", BETAS),
            rich_help_panel=LEARNING,
        ),
    ] = None,
    learned_range: Annotated[
        bool | None,
        typer.Option(
            "--learned-range/--no-learned-range",
            help="Learn the variance of ddpm's steps too.",
            show_default=False,
            rich_help_panel=LEARNING,
        ),
    ] = None,
    label_dropout: Annotated[
        float | None,
        typer.Option(
            "--label-dropout", help="Share of labels hidden, for guidance.", min=0, max=1, rich_help_panel=LEARNING
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", help="Of weights, order, times and noise.", rich_help_panel=LEARNING)
    ] = 0,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir", "--out", help="The run's folder; one that holds this run goes on.", rich_help_panel=OUTPUT
        ),
    ] = None,
    save_every: Annotated[
        int | None,
        typer.Option(
            "--save-every",
            parser=count_of,
            metavar="N",
            help="Pictures between checkpoints (a minute).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    preview_every: Annotated[
        int | None,
        typer.Option(
            "--preview-every",
            parser=count_of,
            metavar="N",
            help="Pictures between grids (a fifth of the run).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    micro_batch: Annotated[
        int | None,
        typer.Option("--micro-batch", help="Pictures at once; found by itself.", min=1, rich_help_panel=MACHINE),
    ] = None,
    compile: Annotated[
        bool,
        typer.Option(
            "--compile/--no-compile",
            help="Compile the network: minutes at first, faster after that.",
            show_default=False,
            rich_help_panel=MACHINE,
        ),
    ] = False,
    checkpointing: Annotated[
        bool,
        typer.Option(
            "--checkpointing/--no-checkpointing",
            help="Compute stages twice, for less memory.",
            show_default=False,
            rich_help_panel=MACHINE,
        ),
    ] = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
) -> Result:
    """Train a model on your pictures; without a folder, on the digits in two minutes.

    Sub-folders of pictures become labels. The same command in the same --output-dir goes on where it was stopped.

    Examples:

    difftool train

    difftool train ~/pictures --minutes 60 --output-dir runs/mine

    difftool train mnist/ --preset mnist --target eps --betas linear
    """
    wanted = size_of(size)
    to = output_dir or default_dir("train", console.run_id)
    from ..train.recipe import prepare  # which reads the settings before it imports what takes seconds

    job = prepare(
        data if folder is None else folder,
        preset=preset,
        steps=steps,
        images=images,
        epochs=epochs,
        minutes=minutes,
        batch_size=batch_size,
        lr=lr,
        target=target,
        weight=weight,
        times=times,
        betas=betas,
        learned_range=learned_range,
        label_dropout=label_dropout,
        flip=flip,
        held_out=held_out,
        size=wanted,
        seed=seed,
        micro_batch=micro_batch,
        compile=compile,
        checkpointing=checkpointing,
        device=device,
        dtype=dtype,
        threads=threads,
    )
    from ..train.run import check, run

    if dry_run:
        return _dry(*check(job, to, overwrite), job.pictures, to, overwrite)
    console.resume = f"go on with the same command, with --output-dir {shlex.quote(str(to))} and without --overwrite"
    done = run(
        job,
        to,
        console.began,
        save_every=save_every,
        preview_every=preview_every,
        overwrite=overwrite,
        track=console.track,
    )
    return _told(done, time.monotonic() - console.began)


def _told(done: Trained, seconds: float) -> Result:
    """What a run left, for people and for programs."""
    from ..models import typed

    told = {
        "outputs": [{"path": str(done.grid), "seed": 0}],
        **{key: str(getattr(done, key)) for key in ("folder", "plot", "report")},
        **{key: getattr(done, key) for key in ("images", "loss", "quality", "notes", "skipped", "finished_before")},
        "config": json.loads((done.folder / "config.json").read_text(encoding="utf-8")),
        "timing": {"total": round(seconds, 3)},
    }
    took = "; it was finished, and nothing was left to do" if done.finished_before else f", {seconds:.0f} s"
    loss = "no update was finite" if done.loss is None else f"loss {done.loss:.4f}"
    summary = [f"{done.images:,} pictures seen, {loss}{took}"]
    if done.skipped:
        summary.append(f"{len(done.skipped)} files could not be read and were left out")
    if done.quality is not None:
        line = "C2ST {c2st:.3f} (0.5: as if real, 1: told apart), FD {fd:.1f}, nearest {nearest:.2f}"
        line += ", {legible:.0%} read as their label" if "legible" in done.quality else ""
        line += ", {exploded} exploded" if done.quality["exploded"] else ""
        summary.append(line.format(**done.quality))
    summary += done.notes
    where = {
        "run": done.folder,
        "pictures": done.grid,
        "loss": done.plot,
        "report": done.report,
        "next": f"difftool sample {shlex.quote(typed(done.folder))}",
    }
    if "autoencoder" in told["config"]:
        from ..text2img.settings import BUNDLED

        where["next"] = f"difftool txt2img PROMPT --model {shlex.quote(typed(done.folder, BUNDLED))}"
    return Result(told, summary + [f"{what:9} {path}" for what, path in where.items()], [done.folder])


def _dry(config: dict[str, Any], finished: bool, pictures: Pictures, to: Path, overwrite: bool) -> Result:
    if finished:
        return Result({"dry_run": True, "finished_before": True, "folder": str(to)}, [f"{to} is finished already"], [])
    from ..models import build_net
    from ..train.recipe import classes_of

    recipe = config["train"]
    held = 0 if pictures.held_out is None else len(pictures.held_out.pixels)
    told = {"dry_run": True, "config": config, "folder": str(to), "held_out": held, "skipped": pictures.skipped}
    (unit, value), found = next(iter(recipe["length"].items())), recipe["data"]
    last = f"would {'write' if overwrite or not (to / 'config.json').exists() else 'go on in'} {to}"
    if "autoencoder" in config:
        what = f"an autoencoder, then a text encoder and a U-Net on {found['name']} ({found['pictures']:,})"
        summary = [f"would train {what} for {value:g} {unit}", last]
        return Result(told, summary, [])
    parameters = sum(p.numel() for p in build_net(config["net"]).parameters())
    what = "x".join(map(str, [*reversed(config["size"]), config["net"]["channels"]]))
    classes = f" in {classes_of(config['classes'])}" if config["classes"] else ""
    how = f"{recipe['batch_size']} an update, lr {recipe['lr']:g}, target {config['target']}, seed {recipe['seed']}"
    summary = [
        f"would train {parameters:,} parameters on {found['pictures']:,} pictures of {what}: {found['name']}{classes}",
        *([f"and judge by {held:,} more, held out"] if held else []),
        f"for {value:g} {unit}, {how}{', mirrored half of the time' if recipe.get('flip') else ''}",
        # weights, their average, gradients and the two moments of AdamW, in fp32
        f"needs {parameters * 20 / 1e6:.0f} MB for weights and optimiser, and what a batch takes",
        last,
    ]
    return Result({**told, "parameters": parameters}, summary, [])
