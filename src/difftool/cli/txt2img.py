from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import DifftoolError, Exit
from .console import Console, Result
from .options import (
    MOST,
    SAMPLING,
    BatchSize,
    Device,
    DryRun,
    Dtype,
    Eta,
    Half,
    LowVram,
    ModelsDir,
    Output,
    OutputDir,
    Overwrite,
    Schedule,
    Seed,
    Threads,
    dtype_of,
    known_sampler,
    one_of_each,
    size_of,
)
from .outputs import places
from .prompted import Job, carry_out, dry, jobs_of, lora_of, nothing, sheeted, there, works_of


@one_of_each(("prompt", "prompts"), ("dtype", "half"), ("batch_size", "low_vram"))
def txt2img(
    console: Console,
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="What to draw; (word:1.3) weighs a word.")
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts",
            metavar="FILE",
            help="A prompt a line, each with options of its own after it, or a JSON object a line; - reads stdin.",
            rich_help_panel="Words and pictures",
        ),
    ] = None,
    negative: Annotated[
        str | None,
        typer.Option("--negative", "-n", help="What to keep away from.", rich_help_panel="Words and pictures"),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="A model of the store, a folder of diffusers, or a .safetensors file; shapes is in the package.",
            rich_help_panel="Words and pictures",
        ),
    ] = "shapes",
    prediction: Annotated[
        str | None,
        typer.Option(
            "--prediction",
            help="What it predicts, where its file is silent or wrong: eps, v or x0.",
            rich_help_panel="Words and pictures",
        ),
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            "--lora",
            metavar="FILE[:WEIGHT]",
            help="A LoRA to apply; may be repeated.",
            rich_help_panel="Words and pictures",
        ),
    ] = None,
    init: Annotated[
        Path | None, typer.Option("--init", help="A picture to begin from.", rich_help_panel="Words and pictures")
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            "--strength",
            help="How much of it is drawn anew: 0.75 unless told otherwise, 1 is all.",
            rich_help_panel="Words and pictures",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask", help="A picture of its size: only what is white is drawn.", rich_help_panel="Words and pictures"
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="WxH", help="The model's own unless told otherwise.", rich_help_panel=SAMPLING),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            "--sampler",
            help="By any name it has; the model's own unless told otherwise.",
            callback=known_sampler,
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            help="25; 16 for shapes, 28 for SD 3 and FLUX, 4 for turbo and LCM.",
            min=1,
            max=MOST,
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    schedule: Schedule = None,
    eta: Eta = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            "--guidance",
            "--cfg",
            help="Scale of guidance: 7, 5 for SDXL, 3.5 for FLUX, 3 for shapes; 1 is off.",
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    true_cfg: Annotated[
        float | None,
        typer.Option(
            "--true-cfg",
            help="For models that are told their guidance: that of two calls besides.",
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    clip_skip: Annotated[
        int,
        typer.Option(
            "--clip-skip", help="Layer of CLIP from its end; 1 is the last.", min=1, max=48, rich_help_panel=SAMPLING
        ),
    ] = 1,
    count: Annotated[
        int, typer.Option("--count", help="Pictures of each prompt.", min=1, max=MOST, rich_help_panel=SAMPLING)
    ] = 1,
    seed: Seed = 0,
    output: Output = None,
    output_dir: OutputDir = None,
    overwrite: Overwrite = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing/--no-skip-existing",
            help="Draw only the pictures that are not there yet.",
            show_default=False,
            rich_help_panel="Output",
        ),
    ] = False,
    dry_run: DryRun = False,
    batch_size: BatchSize = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    half: Half = False,
    low_vram: LowVram = False,
    threads: Threads = None,
    models_dir: ModelsDir = None,
) -> Result:
    """Draw pictures from words: Stable Diffusion 1, 2, XL and 3, their turbo and LCM forms, FLUX.1; and shapes, a small
    model in the package.

    shapes knows one or two of circle, square, triangle, star, cross and ring, in red, green, blue, yellow, orange,
    purple, pink, turquoise, black and white, in the middle, at the left, at the right, at the top or at the bottom, on
    a ground of such a colour.

    Examples:

    difftool txt2img "a red circle on a blue ground"

    difftool txt2img "an orange star at the top and a black ring at the left on a white ground" --count 9

    difftool txt2img "a lighthouse, (storm:1.3)" -n "people, text" --model sdxl --size 1152x896 --count 4 -o storm.png

    difftool txt2img --prompts list.txt --output-dir pictures --skip-existing
    """
    if (prompt is None) == (prompts is None):
        what = "there is nothing to draw" if prompt is None else "a prompt and a file of prompts are two things"
        raise DifftoolError(Exit.USAGE, what, 'write difftool txt2img "a red circle", or name a file with --prompts')
    common: dict[str, Any] = {
        "negative": negative,
        "sampler": sampler,
        "steps": steps,
        "schedule": schedule,
        "eta": eta,
        "guidance": guidance,
        "true_cfg": true_cfg,
        "size": size_of(size),
        "init": init,
        "strength": strength,
        "mask": mask,
        "clip_skip": clip_skip,
        "batch_size": 1 if low_vram else batch_size,
    }
    failed: dict[str, DifftoolError] = {}
    if prompt is not None:
        from ..text2img.prompts import begun_from, read

        read(prompt)  # what is wrong with it is told before that a model is missing
        begun_from(init, mask, strength)
        jobs = [Job("the prompt", {**common, "prompt": prompt, "seed": seed, "count": count}, 0)]
    else:
        assert prompts is not None
        jobs = jobs_of(prompts, {**common, "seed": seed, "count": count}, failed)
        if not jobs:
            return nothing(failed)
    named = [lora_of(one) for one in lora or ()]
    items = [item for job in jobs for item in job.items]
    keep = skip_existing and not overwrite
    to = places(
        "txt2img",
        console.run_id,
        items,
        output,
        output_dir,
        overwrite=overwrite,
        keep=keep,
        standing=console.standing_folder,
    )
    made = there(jobs, to) if keep else set()
    if not keep:
        named_here = output or (output_dir and not console.standing_folder)
        here = "" if named_here else f"--output-dir {shlex.quote(str(to.singles[0].parent))} "
        console.resume = f"run it again with {here}--skip-existing" + (", without --overwrite" if overwrite else "")
    if not failed and len(made) == len(items):
        return Result({"outputs": [], "skipped": len(made)}, [f"all {len(made)} pictures are there"], [])
    from ..text2img.session import Studio

    studio = Studio(
        model,
        prediction=prediction,
        device=device,
        dtype=dtype_of(dtype, half),
        threads=threads,
        models_dir=models_dir,
        low_vram=low_vram,
    )
    works = works_of(studio, jobs, to.singles, made, named, failed, alone=prompt is not None)
    if not works:
        return nothing(failed)
    to = sheeted(to, works, chosen=output is not None)
    if dry_run:
        return dry(works, to, failed)
    return carry_out(console, works, to, failed, skipped=len(made), alone=prompt is not None)
