"""What difftool does on a GPU: one command, no network, under eight minutes; JSON and a table.

    python bench/gpu.py                        # all parts on the first GPU; outputs/gpu.json
    python bench/gpu.py --parts flux,stages    # some of them
    python bench/gpu.py --tiny --device cpu    # all of it with tiny networks, which is how it is tested
    python bench/gpu.py take FILE.json         # writes the memory that was measured into presets/*.toml
    python bench/gpu.py count                  # the counted needs, for presets/*.toml; needs no GPU

Weights are random and made on the device. Each part is a process of its own with a limit of its own: one that fails or
does not end costs a line. `bench/pack.py` carries what a machine without a network lacks.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).parent)]

from common import (  # noqa: E402
    ROOT,
    as_ours,
    given_to,
    machine,
    off,
    peer_of,
    random_parts,
    random_pipeline,
    rows_of,
    said,
    start_of,
    studio_of,
)

SCHEMA = "difftool/bench-gpu/1"
PRESETS = ROOT / "src" / "difftool" / "presets"
MINUTES, ROUNDS = 7.5, 3
PROMPT = "a red circle"
CODES, CLIPS = 140, 3
"""Of the sentence that is spoken, 6.5 s, and reference clips of the voice."""
ARCHITECTURES = {"shapes": "shapes", "sd": "sd1", "sdxl": "sdxl", "sd3": "sd3", "flux": "flux", "schnell": "schnell"}
STEPS = {"sd1": 50, "sdxl": 25, "flux": 10}
KARRAS = {"use_karras_sigmas": True, "algorithm_type": "dpmsolver++", "timestep_spacing": "linspace"}
SAMPLERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "euler": ("trailing", "EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "dpmpp_2m": ("karras", "DPMSolverMultistepScheduler", KARRAS),
}
"""Our schedule, diffusers' scheduler, and its settings."""

Row = dict[str, Any]


class Options(NamedTuple):
    device: str
    tiny: bool
    work: Path
    """A folder that all parts of a run share."""
    dtype: str = "bf16"


def row(what: str, figure: float | None, unit: str, *, beside: float | None = None, **more: Any) -> Row:
    """A line of the result; `beside` is what the figure is to be compared with, `peer` whose it is."""
    return {"what": what, "figure": figure, "unit": unit, "beside": beside, "peer": "", "error": "", **more}


def attempt(what: str, unit: str, work: Callable[[], Any], **more: Any) -> Row:
    """A row of what `work` measures: a figure, or (figure, beside). What it raises becomes the row's error."""
    try:
        figure = work()
    except Exception as error:
        return row(what, None, unit, **more, error=said(error))
    if isinstance(figure, tuple):
        figure, more["beside"] = figure
    return row(what, figure, unit, **more)


def _sync(device: str) -> None:
    import torch

    if device != "cpu":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], Any], device: str) -> float:
    _sync(device)
    began = time.perf_counter()
    work()
    _sync(device)
    return time.perf_counter() - began


def taken(work: Callable[[], Any], device: str) -> int:
    """Bytes of the GPU that this process holds at most while it works: PyTorch's, and what CUDA takes for itself. On a
    CPU the most that the process ever had."""
    import torch

    if device == "cpu":
        work()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    gc.collect()
    _sync(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    work()
    _sync(device)
    free, total = torch.cuda.mem_get_info(device)
    return torch.cuda.max_memory_reserved(device) + total - free - torch.cuda.memory_reserved(device)


def reckoned(command: str, name: str) -> int:
    """Bytes that `lab check` reckons with."""
    from difftool.lab.verdicts import presets

    return next(one.variants[0].vram for one in presets() if (one.command, one.name) == (command, name))


def pipeline_of(o: Options, kind: str, *, skip: tuple[str, ...] = ()) -> Any:
    """An opened pipeline of random weights; a tiny one is opened from a folder."""
    from difftool.device import choose
    from difftool.text2img.loading import open_pipeline

    place = Path(tempfile.mkdtemp(dir=o.work))
    device, dtype = choose(o.device, o.dtype)
    if not o.tiny:
        return random_pipeline(kind, device, dtype, place, skip=skip)
    from tiny_pipelines import make

    return open_pipeline(make({"sd1": "sd"}.get(kind, kind), place), device, dtype)


def told(pipeline: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """What the network is told of a prompt and of the one to be kept away from, without words: ours, and the arguments
    of diffusers' pipeline."""
    import torch

    from difftool.text2img.encoders import T5_TOKENS, Conditioning

    config = pipeline.net.config
    if pipeline.family == "flux":
        shapes = [(T5_TOKENS[pipeline.kind], config.joint_attention_dim), (config.pooled_projection_dim,)]
    else:
        shapes = [(77, config.cross_attention_dim)]
    if pipeline.family == "sdxl":
        shapes += [(config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim,)]
    for prefix in ("", "negative_"):
        drawn = [torch.randn(1, *shape, device=pipeline.device, dtype=pipeline.dtype) for shape in shapes]
        names = (f"{prefix}prompt_embeds", f"{prefix}pooled_prompt_embeds")
        yield Conditioning(*drawn), dict(zip(names, drawn, strict=False))


def speed(o: Options, kind: str) -> Iterator[Row]:
    """Steps a second of one picture, beside diffusers' pipeline around the same network."""
    pipeline = pipeline_of(o, kind, skip=("text_encoder_2",))
    for sampler, settings in SAMPLERS.items():
        if kind != "flux":
            yield from beside_diffusers(o, pipeline, sampler, *settings)
        elif sampler == "euler":
            yield from beside_diffusers(o, pipeline, sampler, "trailing", "FlowMatchEulerDiscreteScheduler", {})


def beside_diffusers(
    o: Options, pipeline: Any, sampler: str, schedule: str, scheduler: str, settings: dict[str, Any]
) -> Iterator[Row]:
    import torch

    from difftool.text2img.draw import states
    from difftool.text2img.session import plan_prompt_with

    steps = 2 if o.tiny else STEPS[pipeline.name]
    one = plan_prompt_with(studio_of(pipeline), PROMPT, sampler=sampler, schedule=schedule, steps=steps)
    (towards, given), (away, more) = told(pipeline)
    if one.scale == 1:
        away, more = None, {}
    peer, latents = peer_of(pipeline, scheduler, **settings), []

    def ours() -> None:
        *_, last = states(one, [0], towards, away)
        latents.append(last.x)

    def theirs() -> None:
        start = given_to(peer, start_of(one, 0), one)
        size = {"height": one.height, "width": one.width, "guidance_scale": one.guidance}
        made = peer(**given, **more, **size, latents=start, num_inference_steps=steps, output_type="latent")
        latents.append(as_ours(peer, made.images, one))

    def rates() -> tuple[float, float]:
        ours(), theirs()  # which warms up
        pairs = [(seconds(ours, o.device), seconds(theirs, o.device)) for _ in range(1 if o.tiny else ROUNDS)]
        mine, other = (steps / statistics.median(side) for side in zip(*pairs, strict=True))
        return mine, other

    what = f"{one.width}x{one.height}, {sampler}, {o.dtype}"
    with torch.no_grad():
        yield attempt(what, "steps/s", rates, peer="diffusers")
    if latents and sampler == "euler":  # of the other, the two grids differ in the rounding of times
        yield attempt(f"{what}: latents differ from diffusers' by", "of L2", lambda: off(latents[-2], latents[-1]))


def weights(o: Options) -> Path:
    """The folder of Tortoise's official files with random weights, made once."""
    folder = o.work / "tortoise"
    if not folder.exists():
        from networks import random_checkpoints
        from tiny_tortoise import official

        fresh = Path(tempfile.mkdtemp(dir=o.work))
        official(fresh) if o.tiny else random_checkpoints(fresh)
        fresh.rename(folder)
    return folder


def spoken(o: Options, preset: str, dtype: str, **settings: Any) -> Any:
    """A sentence in a voice of noise. Tiny networks are asked for less of everything."""
    import torch
    from clone import TEXT

    from difftool.voice.speak import clone

    clips = [torch.randn(132_300, generator=torch.Generator().manual_seed(k)) * 0.1 for k in range(CLIPS)]
    own = {"max_mel_tokens": 24, "samples": 2, "steps": 2} if o.tiny else {"max_mel_tokens": CODES}
    own |= {"clips": clips, "models_dir": weights(o), "device": o.device, "dtype": dtype}
    return clone(settings.pop("text", TEXT), preset=preset, **{**own, **settings})


def stages(o: Options) -> Iterator[Row]:
    """Seconds of Tortoise's stages by number format, preset fast, beside those in float32."""
    usual: dict[str, float] = {}
    for dtype in ("fp32", "fp16", "bf16"):
        try:
            spoken(o, "draft", dtype)  # warms up, and the first time converts the files
            found = spoken(o, "fast", dtype).seconds
        except Exception as error:
            yield row(dtype, None, "s", error=said(error))
            continue
        for stage, spent in found.items():
            yield row(f"{stage}, {dtype}", spent, "s", beside=usual.get(stage), peer="fp32")
        usual = found if dtype == "fp32" else usual


def voices(o: Options) -> Iterator[Row]:
    """Seconds that a second of speech takes, its networks loaded, and memory, by preset."""
    from difftool.presets import family

    spoken(o, "draft", o.dtype)
    for preset in family("voice"):
        done: list[Any] = []
        held = attempt(
            preset, "bytes", lambda p=preset, d=done: taken(lambda: d.append(spoken(o, p, o.dtype)), o.device)
        )
        if done:
            spent = sum(value for stage, value in done[0].seconds.items() if stage != "load")
            yield row(f"{preset}, {o.dtype}", spent / (len(done[0].sounds[0]) / 24_000), "s per s of speech")
        yield {**held, "beside": reckoned("voice clone", preset), "peer": "lab check"}


def painting(o: Options) -> Iterator[Row]:
    """Memory of all parts of an architecture, used one after the other as they are counted."""
    for name, kind in ARCHITECTURES.items():
        if not o.tiny or name == "shapes":
            about = {"beside": reckoned("txt2img", name), "peer": "lab check", "table": f"txt2img.{name}"}
            yield attempt(name, "bytes", partial(worked, o, kind), **about)


def worked(o: Options, kind: str) -> int:
    import counting
    import torch

    parts = random_parts(kind, o.device, counting.HALF)

    def work() -> None:
        with torch.no_grad(), torch.device(o.device):
            for name, net in parts.items():
                part = "text" if name.startswith("text") else "vae" if name == "vae" else "network"
                counting.WORK[part](net, kind)[part]()

    return taken(work, o.device)


def speaking(o: Options) -> Iterator[Row]:
    """Memory of Tortoise with all of its networks open, and as long a sentence and as many samples at once as are
    counted; a large GPU takes more at once, and more memory."""
    from clone import TEXT
    from counting import CODES as MOST
    from counting import ROWS

    # networks stay open where another paragraph comes
    settings: dict[str, Any] = {"text": f"{TEXT} {TEXT}\n\n" * 2, "samples": ROWS, "batch_size": ROWS, "steps": 2}
    settings |= {"max_mel_tokens": MOST}
    if o.tiny:
        settings |= {"samples": 2, "max_mel_tokens": 24}
    about = {"beside": reckoned("voice clone", "fast"), "peer": "lab check", "table": "voice.tortoise"}
    yield attempt("tortoise", "bytes", lambda: taken(lambda: spoken(o, "fast", o.dtype, **settings), o.device), **about)


def transcribing(o: Options) -> Iterator[Row]:
    """Memory of each size of Whisper while it hears 30 s."""
    import torch
    from whisper import DecodingOptions, Whisper
    from whisper.model import ModelDimensions

    from difftool.presets import family

    def hear(size: str) -> int:
        dims = family("whisper")[size]["dimensions"]
        options = DecodingOptions(language="en", fp16=o.device != "cpu", sample_len=4 if o.tiny else None)
        with torch.device(o.device):
            model = Whisper(ModelDimensions(**dims)).eval()
            torch.nn.init.normal_(model.decoder.positional_embedding, std=0.01)  # left as it comes from the memory
        mel = torch.zeros(dims["n_mels"], 3000, device=o.device, dtype=torch.float16 if options.fp16 else None)
        return taken(lambda: model.decode(mel, options), o.device)

    for size in ["tiny"] if o.tiny else family("whisper"):
        about = {"beside": reckoned("voice prep", f"whisper-{size}"), "peer": "lab check", "table": f"whisper.{size}"}
        yield attempt(size, "bytes", partial(hear, size), **about)


def training(o: Options) -> Iterator[Row]:
    """Pictures a second in training, and memory, by preset."""
    from difftool.presets import needs

    for name in ("digits", "points") if o.tiny else needs("train"):
        found: list[float] = []
        held = attempt(name, "bytes", lambda n=name, f=found: taken(lambda: f.append(rate(o, n)), o.device))
        yield from (row(f"{name}, {trained_in(o)}", one, "pictures/s") for one in found)
        yield {**held, "beside": reckoned("train", name), "peer": "lab check", "table": f"train.{name}"}


def compiling(o: Options) -> Iterator[Row]:
    """The same compiled, beside not compiled."""
    for name in ("points",) if o.tiny else ("pictures", "cifar10"):

        def rates(name: str = name) -> tuple[float, float]:
            plain = rate(o, name)
            return rate(o, name, compiled=True), plain

        yield attempt(f"{name}, {trained_in(o)}, compiled", "pictures/s", rates, peer="not compiled")


def rate(o: Options, name: str, *, compiled: bool = False) -> float:
    """Pictures a second of a preset of `train`: whole batches, as many pictures on the device as are counted."""
    from difftool.learning.loop import Trainee, seconds_per_update
    from difftool.learning.tasks import Denoising, seeded
    from difftool.models import build_net
    from difftool.train.data.tensors import data_of
    from difftool.train.recipe import prepare

    if name == "shapes":
        return reading_rate(o)
    settings = {"preset": name, "steps": 10**6, "device": o.device, "dtype": trained_in(o)}
    job = prepare(noise_pictures(o, name), **settings, compile=compiled)
    data = grown(data_of(job.pictures, job.device), 0 if o.tiny else pictures_of(name))

    def make() -> tuple[Any, Any]:
        task = Denoising(job.config, seeded(0, lambda: build_net(job.config["net"])), data, None, job.dtype)
        return Trainee(task.net, job.config["train"]), task

    each = seconds_per_update(make, job.config["train"], seconds=0.0 if o.tiny else 3.0)
    return job.config["train"]["batch_size"] / each


def trained_in(o: Options) -> str:
    """The number format of training, which has no fp16."""
    return "bf16" if o.dtype == "fp16" else o.dtype


def pictures_of(name: str) -> int:
    from difftool.presets import needs

    return needs("train")[name].pictures


def noise_pictures(o: Options, name: str) -> str:
    """A file of noise as a preset wants its pictures."""
    import numpy as np

    from difftool.presets import needs

    channels, height, width = needs("train")[name].shape
    if name == "points":
        return "moons"
    rng, classes = np.random.default_rng(0), needs("train")[name].classes
    arrays = {"images": rng.integers(0, 256, (256, height, width, channels), dtype=np.uint8)}
    if classes:
        arrays["labels"] = np.arange(256) % classes
    path = o.work / f"{name}.npz"
    np.savez(path, **arrays)
    return str(path)


def grown(data: Any, count: int) -> Any:
    """The same data over and over, as many as that."""
    import torch

    if count <= len(data.x):
        return data
    here = torch.arange(count, device=data.x.device) % len(data.x)
    return data._replace(x=data.x[here], cond={name: value[here] for name, value in data.cond.items()})


def reading_rate(o: Options) -> float:
    """The same of the two networks of the preset shapes, of which the denoiser's counts."""
    import torch

    from difftool.learning.loop import Trainee, seconds_per_update
    from difftool.learning.tasks import Data, Denoising
    from difftool.presets import family, needs
    from difftool.train.text2img.latent import Autoencoder, Autoencoding
    from difftool.train.text2img.run import TextToImage

    row_, device = family("train")["shapes"], torch.device(o.device)
    count, side = needs("train")["shapes"].pictures, needs("train")["shapes"].shape[1]
    own = {**row_["autoencoder"]["net"], "size": side, "channels": 3}
    small = side // 2 ** (len(own["widths"]) - 1)
    recipe = {**row_, "seed": 0, "images": 2**62}
    path = {"type": "discrete_vp", "betas": row_["betas"], "T": 1000, "zero_snr": True}
    config = {"net": row_["net"], "path": path, "target": row_["target"], "train": recipe}
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    tokens = torch.zeros(count, 34, dtype=torch.int64, device=device)
    latents = torch.randn(count, own["latent"], small, small, device=device)
    pixels = torch.zeros(count, 3, side, side, dtype=torch.uint8, device=device)

    def first() -> tuple[Any, Any]:
        task = Autoencoding(
            {"train": {**recipe, **row_["autoencoder"]}}, Autoencoder(own), Data(pixels, {}, {}), dtype=dtype
        )
        return Trainee(task.net, task.train), task

    def second() -> tuple[Any, Any]:
        net = TextToImage({**row_["net"], "latent": own["latent"], "size": small}, 603, 34, (601, 602))
        task = Denoising(config, net, Data(latents, {"tokens": tokens}, {"tokens": tokens[0]}), None, dtype)
        return Trainee(task.net, recipe), task

    seconds_per_update(first, {**recipe, **row_["autoencoder"]}, seconds=1.0)
    return recipe["batch_size"] / seconds_per_update(second, recipe)


def rungs(o: Options) -> Iterator[Row]:
    """A picture of SDXL with less and less of it on the device, as `--low-vram` and memory that ends go down."""
    import torch

    from difftool.lab.verdicts import presets
    from difftool.text2img.draw import draw_pictures
    from difftool.text2img.offload import ALL, LAYERS, PARTS, TILES
    from difftool.text2img.session import plan_prompt_with

    session = studio_of(pipeline_of(o, "sdxl"))
    room, steps = session.offload, 2 if o.tiny else 8
    room.bottom = LAYERS
    one = plan_prompt_with(session, PROMPT, steps=steps)
    variants = next(one.variants for one in presets() if one.name == "sdxl")
    usual = None
    for level, name in ((ALL, "all of it"), (TILES, "tiles"), (PARTS, "parts"), (LAYERS, "layers")):
        while room.level < level:
            room.ease(torch.OutOfMemoryError("out of memory, for the sake of it"), one.frame)
        spent: list[float] = []

        def picture(spent: list[float] = spent) -> None:
            spent.append(seconds(lambda: list(draw_pictures(one)), o.device))

        held = attempt(name, "bytes", lambda p=picture: (p(), taken(p, o.device))[1])
        if len(spent) > 1:
            usual = usual or spent[1]
            yield row(f"{name}, {steps} steps", spent[1], "s", beside=usual, peer="all of it")
        yield {**held, "beside": variants[level].vram, "peer": "lab check"}


class Part(NamedTuple):
    work: Callable[[Options], Iterator[Row]]
    limit: float
    """Seconds, PyTorch's import included."""


PARTS = {
    "sd": Part(partial(speed, kind="sd1"), 60),
    "sdxl": Part(partial(speed, kind="sdxl"), 60),
    "flux": Part(partial(speed, kind="flux"), 90),
    "vram txt2img": Part(painting, 100),
    "stages": Part(stages, 110),
    "training": Part(training, 90),
    "voices": Part(voices, 90),
    "rungs": Part(rungs, 80),
    "vram voice": Part(speaking, 60),
    "vram whisper": Part(transcribing, 60),
    "compile": Part(compiling, 110),
}
"""By what they are worth: where the time ends, the last ones are left out."""


def child(name: str, o: Options, limit: float) -> list[Row]:
    """The rows of a part, which runs in a process of its own, and one more where that fails."""
    line = [sys.executable, "-W", "ignore", __file__, "part", name, "--device", o.device, "--dtype", o.dtype]
    line += ["--work", str(o.work)]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(o.work / "cache")}
    rows, failed = rows_of([*line, *(["--tiny"] if o.tiny else [])], limit, env)
    rows += [row("the process", None, "", error=failed)] if failed else []
    return [{"part": name, **one} for one in rows]


def measure(o: Options, names: list[str], minutes: float, to: Path) -> bool:
    """Runs parts one after the other and keeps what they said after each; whether all went well."""
    from difftool.files import write_json

    began = time.monotonic()
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "tiny": o.tiny,
        "device": o.device,
        "dtype": o.dtype,
        "machine": machine(),
        "rows": [],
    }
    for name in names:
        left = minutes * 60 - (time.monotonic() - began)
        if left < 10:
            rows = [{"part": name, **row("the part", None, "", error="no time was left")}]
        else:
            print(f"{name} ...", file=sys.stderr, flush=True)
            rows = child(name, o, min(PARTS[name].limit, left))
        result["rows"] += rows
        result["seconds"] = round(time.monotonic() - began, 1)
        to.parent.mkdir(parents=True, exist_ok=True)
        write_json(to, result)
    show(result)
    print(to)
    return not any(one["error"] for one in result["rows"])


def show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    gpus = ", ".join(gpu["name"] for gpu in result["machine"]["gpus"]) or "no GPU"
    table = Table("part", "what", "figure", "unit", "beside", "error", title=f"{gpus}, {result['seconds']:.0f} s")
    for one in result["rows"]:
        figure, beside = (shown(one[key], one["unit"]) for key in ("figure", "beside"))
        unit = "GiB" if one["unit"] == "bytes" else one["unit"]
        table.add_row(one["part"], one["what"], figure, unit, f"{beside} {one['peer']}" if beside else "", one["error"])
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def shown(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value / 2**30:.2f}" if unit == "bytes" else f"{value:.4g}"


def take(file: Path, presets: Path = PRESETS) -> list[str]:
    """Writes the memory that was measured into the tables of presets; the names of those."""
    result = json.loads(file.read_text(encoding="utf-8"))
    if result["device"] == "cpu" or result["tiny"]:
        sys.exit(f"error: {file} was not measured on a GPU at full size\nhint: run python bench/gpu.py on one")
    found = []
    for one in result["rows"]:
        if one["figure"] is None or not one.get("table"):
            continue
        family, name = one["table"].split(".", 1)
        path = presets / f"{family}.toml"
        header = rf"(?m)^(\[{re.escape(name)}\.needs\].*\n)(?:measured = .*\n)?"
        text, count = re.subn(header, rf"\g<1>measured = {one['figure']:_}\n", path.read_text(encoding="utf-8"))
        if count:
            path.write_text(text, encoding="utf-8")
            found.append(one["table"])
    return found


def tables() -> None:
    """Prints the counted needs as TOML."""
    import counting

    from difftool.presets import family, needs

    def toml(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{name} = {number:_}" for name, number in value.items()) + " }"
        return f"{value:_}"

    found = {f"train {name}": counting.training(name) for name in needs("train") if name != "shapes"}
    found |= {f"txt2img {name}": counting.painting(kind) for name, kind in ARCHITECTURES.items()}
    found |= {"voice tortoise": counting.speaking(), "mini mini": counting.speaking_small()}
    found["f5 f5"] = counting.speaking_by_flow()
    found |= {f"whisper {size}": counting.transcribing(size) for size in family("whisper")}
    for name, need in found.items():
        print(f"[{name.split()[1]}.needs] # {name.split()[0]}.toml")
        print("\n".join(f"{key} = {toml(value)}" for key, value in need.items()), "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=("run", "take", "count", "part"), default="run")
    parser.add_argument("name", nargs="?", help="the file to take")
    parser.add_argument("--parts", default=",".join(PARTS), help="names, with commas between them")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--dtype", choices=("bf16", "fp16", "fp32"), default="bf16", help="where there is a choice")
    parser.add_argument("--tiny", action="store_true", help="tiny networks")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="which all of it may take")
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu.json"))
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    names = [name.strip() for name in asked.parts.split(",")]
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}; known: {', '.join(PARTS)}")
    if asked.action == "part":
        for one in PARTS[asked.name].work(Options(asked.device, asked.tiny, asked.work, asked.dtype)):
            print(json.dumps(one), flush=True)
    elif asked.action == "take":
        print("\n".join(take(Path(asked.name))))
    elif asked.action == "count":
        tables()
    else:
        with tempfile.TemporaryDirectory() as work:
            well = measure(Options(asked.device, asked.tiny, Path(work), asked.dtype), names, asked.minutes, asked.out)
        sys.exit(not well)


if __name__ == "__main__":
    main()
