"""What only real weights show: run once by a person with a network, or with the models already here.

    python bench/acceptance.py                            # pulls sd15, tortoise and whisper-base (9 GB), then all of it
    python bench/acceptance.py --models DIR --no-pull     # the models are in a folder
    python bench/acceptance.py --steps pictures,diffusers --again

Draws and speaks with fixed seeds, compares with diffusers and, where it is installed, with tortoise-tts in the same
run, and lets Whisper hear the speech. Writes acceptance.json and acceptance.html to --out. Each step is a process of
its own: one that fails costs a line. A step that passed is not repeated while options and versions are the same. Ends
with 0 where all passed, else 1.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import html
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).parent)]

from common import ROOT, as_ours, given_to, machine, off, rows_of, said, start_of  # noqa: E402

SCHEMA = "difftool/acceptance/1"
MODELS = ("sd15", "tortoise", "whisper-base")
PROMPT, NEGATIVE = "a photograph of a lighthouse on a cliff, evening light", "blurry, text"
TEXT = "This is a test recording to make AI clone my voice."
SEEDS, STEPS = (0, 1), 25
LATENTS, PIXELS, SOUND = 1e-3, 1, 1e-3
"""The largest differences that pass: of latents in L2, of a picture in 255ths, of a sound in L2."""
WORDS = 0.2
"""Share of wrong words that passes."""
SAMPLERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ddim": ("trailing", "DDIMScheduler", {"timestep_spacing": "trailing", "set_alpha_to_one": True}),
    "euler": ("trailing", "EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "dpmpp_2m": ("karras", "DPMSolverMultistepScheduler", {"use_karras_sigmas": True, "algorithm_type": "dpmsolver++"}),
}
"""Our schedule, diffusers' scheduler, and its settings."""

Row = dict[str, Any]


class Options(NamedTuple):
    models: Path | None
    pull: bool
    out: Path
    device: str
    words: float
    preset: str


def row(what: str, figure: float | None, unit: str = "", *, bound: float | None = None, **more: Any) -> Row:
    """A line of the result; with a `bound` it passes up to that, else it is for information."""
    passed = bound is None or (figure is not None and figure <= bound)
    return {"what": what, "figure": figure, "unit": unit, "bound": bound, "ok": passed, "note": "", "error": "", **more}


def difftool(*words: object) -> dict[str, Any]:
    """Runs a command line of difftool; the data of its --json. Raises RuntimeError with what it says is wrong."""
    line = [sys.executable, "-m", "difftool", *map(str, words), "--json"]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True)
    told = json.loads(done.stdout)
    if not told["ok"]:
        raise RuntimeError(f"difftool {words[0]} ended with {done.returncode}: {told['error']['message']}")
    return told["data"]


def models_dir(o: Options) -> list[object]:
    return [] if o.models is None else ["--models-dir", o.models]


def models(o: Options) -> Iterator[Row]:
    """All files of the models are there."""
    from difftool import store

    for name in MODELS:
        failed = ""
        try:
            if o.pull:
                difftool("models", "pull", name, *models_dir(o))
        except RuntimeError as error:
            failed = said(error)
        states = [file.state for file in store.held(store.entry(name), o.models)]
        missing = sum(state not in ("whole", "unchecked") for state in states)
        yield row(f"{name}: files that are missing, of {len(states)}", missing, bound=0, error=failed)


def picture(o: Options, seed: int) -> Path:
    return o.out / f"picture-{seed}.png"


def pictures(o: Options) -> Iterator[Row]:
    """Pictures as a person draws them; the second time the same."""
    settings = ["--negative", NEGATIVE, "--model", "sd15", "--sampler", "ddim", "--schedule", "trailing"]
    settings += ["--steps", STEPS, "--device", o.device, "--dtype", "fp32", "--overwrite", *models_dir(o)]
    for seed in SEEDS:
        began = time.perf_counter()
        difftool("txt2img", PROMPT, *settings, "--seed", seed, "-o", picture(o, seed))
        yield row(f"seed {seed}", time.perf_counter() - began, "s", files=[picture(o, seed).name])
    again = o.out / "again.png"
    difftool("txt2img", PROMPT, *settings, "--seed", SEEDS[0], "-o", again)
    yield row("drawn again, 255ths that differ", apart(pixels(again), pixels(picture(o, SEEDS[0]))), bound=0)
    again.unlink()


def pixels(path: Path) -> Any:
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def apart(found: Any, wanted: Any) -> float:
    """The largest difference of two pictures, in 255ths."""
    import numpy as np

    return float(np.abs(found - wanted).max())


def diffusers(o: Options) -> Iterator[Row]:
    """The same pictures by diffusers' pipeline, from the same noise: latents, and what they look like."""
    import torch
    from peers import opened, scheduler_of

    from difftool.text2img.loading import found
    from difftool.text2img.pipeline import quiet
    from difftool.text2img.session import Session

    quiet()
    folder, _ = found("sd15", o.models)
    session = Session("sd15", device=o.device, dtype="fp32", models_dir=o.models)
    pipe = opened(folder).to(session.pipeline.device, torch.float32)
    schedulers = {sampler: scheduler_of(pipe, name, **more) for sampler, (_, name, more) in SAMPLERS.items()}
    for sampler, scheduler in schedulers.items():
        pipe.scheduler = scheduler
        yield from beside(o, session, pipe, sampler, SAMPLERS[sampler][0])


def beside(o: Options, session: Any, pipe: Any, sampler: str, schedule: str) -> Iterator[Row]:
    """One sampler beside diffusers'."""
    import torch
    from peers import levels_of
    from PIL import Image

    from difftool.pictures.sheets import to_pixels
    from difftool.text2img.draw import conditioning, decoded, states
    from difftool.text2img.session import plan_prompt_with

    own = plan_prompt_with(
        session, PROMPT, negative=NEGATIVE, sampler=sampler, schedule=schedule, steps=STEPS, seed=SEEDS[0]
    )
    if schedule == "karras":  # diffusers rounds the times, which the network is told
        pipe.scheduler.set_timesteps(STEPS)
        own = own._replace(
            choice=own.choice._replace(levels=levels_of(pipe.scheduler, own.choice.path, flow=False, clock=1.0))
        )
    size = {"height": own.height, "width": own.width, "num_inference_steps": STEPS, "guidance_scale": own.scale}
    start, began = given_to(pipe, start_of(own, SEEDS[0]), own), time.perf_counter()
    with torch.no_grad():
        made = pipe(PROMPT, negative_prompt=NEGATIVE, latents=start, output_type="latent", **size).images
        theirs, between = as_ours(pipe, made, own), time.perf_counter()
        *_, last = states(own, [SEEDS[0]], *conditioning(own))
        ended = time.perf_counter()
        wanted = to_pixels(pipe.vae.decode(theirs / pipe.vae.config.scaling_factor, return_dict=False)[0])[0]
    drawn = to_pixels(decoded(session, last.x))[0].astype(int)
    yield row(f"{sampler}: latents", off(last.x, theirs), "of L2", bound=LATENTS)
    Image.fromarray(wanted).save(o.out / f"diffusers-{sampler}.png")
    files = [f"diffusers-{sampler}.png"]
    yield row(f"{sampler}: picture", apart(drawn, wanted.astype(int)), "255ths", bound=PIXELS, files=files)
    if sampler == "ddim":
        shown = apart(pixels(picture(o, SEEDS[0])), wanted.astype(int))
        yield row("the picture that difftool txt2img drew", shown, "255ths", bound=PIXELS)
    yield row(f"{sampler}: time of difftool's over diffusers'", (ended - between) / (between - began))


def speech(o: Options) -> Iterator[Row]:
    """A known sentence in a voice that nobody has."""
    from difftool.audio.files import RATE, read_sound

    path, began = o.out / "speech.wav", time.perf_counter()
    settings = ["--voice", "random", "--preset", o.preset, "--seed", SEEDS[0], "--device", o.device]
    difftool("voice", "clone", TEXT, *settings, "--overwrite", "-o", path, *models_dir(o))
    seconds = len(read_sound(path, RATE)) / RATE
    yield row(f"preset {o.preset}", seconds, "s of speech", bound=30.0, files=[path.name])
    yield row("seconds for a second of speech, loading included", (time.perf_counter() - began) / seconds)


def hearing(o: Options) -> Iterator[Row]:
    """What Whisper understands of it."""
    from difftool.audio.files import RATE, read_sound
    from difftool.device import choose
    from difftool.voice.prep.transcribe import Whisper

    device, _ = choose(o.device)
    heard = Whisper("base", device, "en", o.models).text_of(read_sound(o.out / "speech.wav", RATE))
    yield row("wrong words", wrong_words(heard, TEXT), "of all", bound=o.words, note=f"heard: {heard}")


def wrong_words(heard: str, text: str) -> float:
    """Words that differ, over those of the text."""
    from rapidfuzz.distance import Levenshtein

    from difftool.voice.prep.transcribe import plain

    a, b = plain(heard).split(), plain(text).split()
    return Levenshtein.distance(a, b) / len(b)


def tortoise(o: Options) -> Iterator[Row]:
    """The same sentence by tortoise-tts: with --compat the same codes, and the same sound to rounding. On the CPU: on a
    GPU the original draws other numbers."""
    import torch

    from difftool.voice.plan import plan_speech_with
    from difftool.voice.speak import speak_plan

    try:
        import tortoise.api  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        yield row("tortoise-tts", None, note="left out: it is not installed; on Python 3.11: make test-stock")
        return
    sys.path.insert(0, str(ROOT / "tests" / "stock"))
    from networks import SAMPLES, stock
    from original import speech as spoken_by

    settings: dict[str, Any] = {"seed": SEEDS[0], "batch_size": SAMPLES, "preset": "ultra_fast", "models_dir": o.models}
    own, stages = plan_speech_with(TEXT, compat="stock-kv", device="cpu", dtype="fp32", **settings), {}
    ours = speak_plan(own, stages=stages).sounds[0]
    said_by, sounds = spoken_by(
        stock(own.work.folder),
        TEXT,
        num_autoregressive_samples=own.work.speech.samples,
        max_mel_tokens=own.work.speech.most,
        diffusion_iterations=own.work.speech.choice.steps,
        cond_free=False,
        use_deterministic_seed=SEEDS[0],
    )
    same = stages["codes"].shape == said_by["codes"].shape
    yield row("codes that differ", int((stages["codes"] != said_by["codes"]).sum()) if same else None, bound=0)
    yield row("sound", off(torch.from_numpy(ours), sounds[0]), "of L2", bound=SOUND)


STEPS_BY_NAME: dict[str, Callable[[Options], Iterator[Row]]] = {
    one.__name__: one for one in (models, pictures, diffusers, speech, hearing, tortoise)
}


def child(name: str, o: Options) -> list[Row]:
    """The rows of a step, which runs in a process of its own, and one more where that fails."""
    line = [sys.executable, "-W", "ignore", __file__, "--step", name, "--out", o.out, "--device", o.device]
    line += ["--words", o.words, "--preset", o.preset]
    line += [] if o.models is None else ["--models", o.models]
    line += [] if o.pull else ["--no-pull"]
    env = {**os.environ, "NVIDIA_TF32_OVERRIDE": "0"}  # in which GPUs would round to 10 bits
    if name == "tortoise":
        env["CUDA_VISIBLE_DEVICES"] = ""
    rows, failed = rows_of(line, None, env)
    return [*rows, row("the process", None, ok=False, error=failed)] if failed else rows


def accept(o: Options, names: list[str], *, again: bool, run: Callable[[str, Options], list[Row]] = child) -> bool:
    """Runs the steps and keeps what they said after each; whether all passed."""
    from difftool.files import write_json

    o.out.mkdir(parents=True, exist_ok=True)
    here, kept = machine(), o.out / "acceptance.json"
    before = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {"steps": {}}
    told = [str(o.models), o.pull, o.device, o.words, o.preset, here["versions"], [gpu["name"] for gpu in here["gpus"]]]
    key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
    result: dict[str, Any] = {"schema": SCHEMA, "ok": False, "machine": here, "steps": {}}
    for name in names:
        step = before["steps"].get(name, {})
        if again or step.get("key") != key or not step["ok"]:
            print(f"{name} ...", file=sys.stderr, flush=True)
            began = time.monotonic()
            rows = run(name, o)
            passed = all(one["ok"] and not one["error"] for one in rows)
            step = {"key": key, "ok": passed, "seconds": round(time.monotonic() - began, 1), "rows": rows}
        result["steps"][name] = step
        write_json(kept, result)
    result["ok"] = all(step["ok"] for step in result["steps"].values())
    write_json(kept, result)
    (o.out / "acceptance.html").write_text("\n".join(page(result, o.out)), encoding="utf-8")
    return result["ok"]


def page(result: dict[str, Any], folder: Path) -> Iterator[str]:
    """The page: one file with figures, pictures and sounds."""
    style = (ROOT / "src" / "difftool" / "templates" / "report.css").read_text(encoding="utf-8")
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Acceptance of difftool</title>'
    yield '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
    yield f"<style>{style}</style></head><body><main>"
    yield f"<h1>Acceptance of difftool: {'passed' if result['ok'] else 'failed'}</h1>"
    for name, step in result["steps"].items():
        about = html.escape((STEPS_BY_NAME[name].__doc__ or "").strip())
        yield f"<h2>{html.escape(name)}: {'passed' if step['ok'] else 'failed'}, {step['seconds']:g} s</h2>"
        yield f'<p class="soft">{about}</p><table>'
        for one in step["rows"]:
            yield f"<tr><th>{html.escape(one['what'])}</th><td>{html.escape(told_of(one))}</td></tr>"
        yield "</table>"
        yield from (shown(folder / file) for one in step["rows"] for file in one.get("files", []))
    yield f"<h2>Machine</h2><pre>{html.escape(json.dumps(result['machine'], indent=2))}</pre></main></body></html>"


def told_of(one: Row) -> str:
    """A row in a line."""
    figure = "" if one["figure"] is None else f"{one['figure']:.4g} {one['unit']}".strip()
    bound = "" if one["bound"] is None else f" (at most {one['bound']:g}: {'passed' if one['ok'] else 'FAILED'})"
    return "; ".join(part for part in (figure + bound, one["note"], one["error"]) if part)


def shown(file: Path) -> str:
    """A picture or a sound within a page."""
    if not file.exists():
        return f"<p>{html.escape(file.name)} is not there</p>"
    code, name = base64.b64encode(file.read_bytes()).decode(), html.escape(file.name)
    if file.suffix == ".wav":
        return f'<p>{name}<br><audio controls src="data:audio/wav;base64,{code}"></audio></p>'
    return f'<p>{name}<br><img alt="{name}" src="data:image/png;base64,{code}"></p>'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="the folder of models; none: the usual one")
    parser.add_argument("--no-pull", dest="pull", action="store_false", help="the models are there")
    parser.add_argument("--out", type=Path, default=Path("outputs/acceptance"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--preset", default="ultra_fast", help="of the speech")
    parser.add_argument("--words", type=float, default=WORDS, help="the share of wrong words that passes")
    parser.add_argument("--steps", default=",".join(STEPS_BY_NAME), help="names, with commas between them")
    parser.add_argument("--again", action="store_true", help="also what passed before")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    o = Options(asked.models, asked.pull, asked.out, asked.device, asked.words, asked.preset)
    if asked.step:
        for one in STEPS_BY_NAME[asked.step](o):
            print(json.dumps(one), flush=True)
        return
    names = [name.strip() for name in asked.steps.split(",")]
    if unknown := [name for name in names if name not in STEPS_BY_NAME]:
        parser.error(f"there is no step {unknown[0]!r}; known: {', '.join(STEPS_BY_NAME)}")
    passed = accept(o, names, again=asked.again)
    for name, step in json.loads((o.out / "acceptance.json").read_text(encoding="utf-8"))["steps"].items():
        for one in step["rows"]:
            print(f"{'ok' if one['ok'] and not one['error'] else 'FAILED':7} {name}: {one['what']}: {told_of(one)}")
    print(o.out / "acceptance.html")
    sys.exit(not passed)


if __name__ == "__main__":
    main()
