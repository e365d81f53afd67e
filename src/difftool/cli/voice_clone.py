from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import DifftoolError, Exit
from ..files import expanded, read_text
from ..presets import family
from ..voice import ENGINES, MODES
from .console import Console, Result
from .options import (
    INPUT,
    MACHINE,
    MOST,
    OUTPUT,
    SAMPLING,
    BatchSize,
    Device,
    DryRun,
    Dtype,
    Eta,
    Half,
    LowVram,
    ModelsDir,
    OutputDir,
    Overwrite,
    Schedule,
    Threads,
    VoicesDir,
    dtype_of,
    known_sampler,
    one_of,
    one_of_each,
)
from .speech import SEVERAL_RUNS, anew, carry_out, dry, places, read_out

MOST_SAMPLES = 4096
SENTENCE = "This is a test recording to make AI clone my voice."
"""What is spoken when nobody gives a text."""


@one_of_each(("text", "textfile"), ("dtype", "half"), ("batch_size", "low_vram"))
def clone(
    console: Console,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="What to say; none: what is piped in, or a test sentence.")
    ] = None,
    textfile: Annotated[
        str | None, typer.Option("--textfile", metavar="FILE", help="A file to say; - is stdin.", rich_help_panel=INPUT)
    ] = None,
    voice: Annotated[
        str, typer.Option("--voice", help="A folder of the voices, a&b for a mix, or random.", rich_help_panel=INPUT)
    ] = "random",
    voices_dir: VoicesDir = None,
    preset: Annotated[
        str,
        typer.Option("--preset", help=f"{', '.join(family('voice'))}.", callback=one_of("preset", family("voice"))),
    ] = "fast",
    candidates: Annotated[
        int,
        typer.Option(
            "--candidates", help="How many of the best to keep.", min=1, max=MOST_SAMPLES, rich_help_panel=SAMPLING
        ),
    ] = 1,
    samples: Annotated[
        int | None,
        typer.Option("--samples", help="Samples of the decoder to choose from.", min=1, rich_help_panel=SAMPLING),
    ] = None,
    max_mel_tokens: Annotated[
        int | None,
        typer.Option("--max-mel-tokens", help="Codes of a part at most; 500 are 23 s.", rich_help_panel=SAMPLING),
    ] = None,
    temperature: Annotated[
        float, typer.Option("--temperature", help="How freely codes are drawn.", rich_help_panel=SAMPLING)
    ] = 0.8,
    top_p: Annotated[
        float, typer.Option("--top-p", help="Draw from the likeliest codes of this share.", rich_help_panel=SAMPLING)
    ] = 0.8,
    top_k: Annotated[
        int, typer.Option("--top-k", help="Draw from so many codes at most; 0 is all.", rich_help_panel=SAMPLING)
    ] = 50,
    repetition_penalty: Annotated[
        float, typer.Option("--repetition-penalty", help="Against codes that came before.", rich_help_panel=SAMPLING)
    ] = 2.0,
    sampler: Annotated[
        str | None,
        typer.Option(
            "--sampler",
            help="Of the diffusion, by any name; the preset's unless told otherwise.",
            callback=known_sampler,
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            "--diffusion-iterations",
            help="Steps of the diffusion.",
            min=1,
            max=MOST,
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    schedule: Schedule = None,
    eta: Eta = None,
    guidance: Annotated[
        float | None,
        typer.Option("--guidance", "--cfg", help="Scale of guidance at the end; 1 is off.", rich_help_panel=SAMPLING),
    ] = None,
    diffusion_temperature: Annotated[
        float, typer.Option("--diffusion-temperature", help="Of its first noise.", rich_help_panel=SAMPLING)
    ] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Other seeds say it otherwise.", rich_help_panel=SAMPLING)] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The result: .wav, .flac, .mp3 or .ogg.", rich_help_panel=OUTPUT),
    ] = None,
    output_dir: OutputDir = None,
    overwrite: Overwrite = False,
    save_stages: Annotated[
        Path | None,
        typer.Option("--save-stages", metavar="FILE.npz", help="Also what the networks said.", rich_help_panel=OUTPUT),
    ] = None,
    redo: Annotated[
        str | None,
        typer.Option("--redo", metavar="3,7-9", help="Say these parts of a long text again.", rich_help_panel=OUTPUT),
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            "--max-minutes", help="Stop a long text in time; the same command goes on.", min=0, rich_help_panel=OUTPUT
        ),
    ] = None,
    dry_run: DryRun = False,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            help="native, or stock: tortoise-tts, where it is installed.",
            callback=one_of("engine", ENGINES),
            rich_help_panel=MACHINE,
        ),
    ] = "native",
    compat: Annotated[
        str | None,
        typer.Option(
            "--compat",
            help="As tortoise-tts 3.0.0 says it: stock, or stock-kv with its cache.",
            callback=one_of("compat", MODES),
            rich_help_panel=MACHINE,
        ),
    ] = None,
    ar_checkpoint: Annotated[
        Path | None,
        typer.Option("--ar-checkpoint", help="Another autoregressive.pth.", rich_help_panel=MACHINE),
    ] = None,
    models_dir: ModelsDir = None,
    cache: Annotated[
        bool,
        typer.Option("--cache/--no-cache", help="Keep what is known of a voice beside it.", rich_help_panel=MACHINE),
    ] = True,
    batch_size: BatchSize = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    half: Half = False,
    low_vram: LowVram = False,
    threads: Threads = None,
) -> Result:
    """Say a text in a voice.

    A long text is said in parts, in a folder beside the result; the same command goes on where it was stopped.

    Examples:

    difftool voice clone --voice me --preset fast "It is late, and nobody is at home."

    difftool voice clone --voice me --textfile book.txt -o book.mp3
    """
    if max_minutes is not None and not max_minutes >= 0:  # which NaN is not
        raise DifftoolError(Exit.USAGE, f"max-minutes is a number of minutes, not {max_minutes}", "leave it out")
    said = _said(console, text, textfile)
    to = places("voice clone", console.run_id, candidates, seed, output, output_dir, save_stages)
    if to.default and max_minutes is not None:
        raise DifftoolError(Exit.USAGE, SEVERAL_RUNS, "name it with -o FILE")
    from ..voice.long_text import spans
    from ..voice.plan import plan

    if redo is not None:
        spans(redo)  # which tells what is wrong whatever the text and the models are
    planned = plan(
        said,
        voice,
        preset=preset,
        engine=engine,
        compat=compat,
        samples=samples,
        candidates=candidates,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        repetition_penalty=repetition_penalty,
        max_mel_tokens=max_mel_tokens,
        sampler=sampler,
        steps=steps,
        schedule=schedule,
        eta=eta,
        guidance=guidance,
        diffusion_temperature=diffusion_temperature,
        seed=seed,
        batch_size=batch_size,
        device=device,
        dtype=dtype_of(dtype, half),
        threads=threads,
        ar_checkpoint=ar_checkpoint,
        voices_dir=voices_dir,
        models_dir=models_dir,
    )
    if len(planned.parts) == 1:
        to = anew(console, to, output, overwrite=overwrite)
    if dry_run:
        return dry(planned, to)
    if len(planned.parts) > 1:
        return read_out(console, planned, to, redo, max_minutes, overwrite=overwrite, low_vram=low_vram, cache=cache)
    if redo is not None:
        raise DifftoolError(Exit.USAGE, "the text is said in one go and has no parts", "take another --seed")
    return carry_out(console, planned, to, overwrite=overwrite, low_vram=low_vram, cache=cache)


def _said(console: Console, text: str | None, textfile: str | None) -> str:
    """The text to say. Raises DifftoolError 2 where it is empty, 4 where a file cannot be read."""
    if text is not None:
        found, where = text, "the text"
    elif textfile is not None and textfile != "-":
        found, where = read_text(expanded(textfile)), textfile
    elif textfile == "-" or _is_fed():
        found, where = read_text(None), "what is piped in"
    else:
        console.say(f"no text was given; saying: {SENTENCE}")
        return SENTENCE
    if not found.strip():
        raise DifftoolError(Exit.USAGE, f"{where} is empty", 'give a text: difftool voice clone "Hello." or --textfile')
    return found


def _is_fed() -> bool:
    """Whether something comes in: from a pipe, a socket or a file, and not from a terminal or nowhere."""
    try:
        kind = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # closed by whoever called
        return False
    return any(is_one(kind) for is_one in (stat.S_ISFIFO, stat.S_ISSOCK, stat.S_ISREG))
