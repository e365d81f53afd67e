"""`difftool txt2img` beside diffusers' pipelines, in one run: the same random weights, steps and start.

python bench/txt2img.py overhead    # our loop against the pipeline's, around the same tiny parts
python bench/txt2img.py start       # from the shell to the first picture, against importing the pipeline
python bench/txt2img.py memory      # of a file of 200 prompts: bytes at the 20th picture and at the last
python bench/txt2img.py full        # the architectures of SD 1.5 and SDXL: two steps of 256x256 in bf16
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))


def tiny(place: str, kind: str = "sd") -> Path:
    from tiny_pipelines import make

    return make(kind, Path(place))


def overhead(steps: int = 50, rounds: int = 9) -> None:
    """Prints what a picture takes of ours as a share of what it takes of the pipeline, latents only, in rounds that
    alternate."""
    import diffusers
    import torch

    from difftool.text2img.draw import conditioning, states
    from difftool.text2img.session import Session, plan_prompt_with

    samplers = {"ddim": "DDIMScheduler", "dpmpp_2m": "DPMSolverMultistepScheduler"}
    for kind, (sampler, name) in itertools.product(("sd", "sdxl"), samplers.items()):
        with tempfile.TemporaryDirectory() as place:
            folder = tiny(place, kind)
            pipe = diffusers.DiffusionPipeline.from_pretrained(str(folder))
            pipe.set_progress_bar_config(disable=True)
            pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config)
            session = Session(folder, device="cpu")
            one = plan_prompt_with(session, "a red circle", sampler=sampler, steps=steps, guidance=5.0)

            def ours(one: Any = one) -> None:
                towards, away = conditioning(one)
                for _ in states(one, [0], towards, away):
                    pass

            def theirs(pipe: Any = pipe) -> None:
                pipe("a red circle", num_inference_steps=steps, guidance_scale=5.0, output_type="latent")

            with torch.no_grad():
                taken: dict[Any, list[float]] = {ours: [], theirs: []}
                for work in (ours, theirs) * (rounds + 1):
                    began = time.perf_counter()
                    work()
                    taken[work].append(time.perf_counter() - began)
            ratios = [a / b for a, b in zip(taken[ours][1:], taken[theirs][1:], strict=True)]
            print(
                f"{kind}, {sampler}: {median(ratios):.2f} of the pipeline ({min(ratios):.2f} to {max(ratios):.2f})",
                flush=True,
            )


def start(rounds: int = 5) -> None:
    """Prints seconds from the shell to the end of a picture, and of importing diffusers' pipeline, alternating."""
    with tempfile.TemporaryDirectory() as place:
        folder = tiny(place)
        command = [
            sys.executable,
            "-m",
            "difftool",
            "txt2img",
            "a red circle",
            "--model",
            str(folder),
            "--steps",
            "2",
            "-q",
        ]
        lines = {
            "difftool txt2img": [*command, "--overwrite", "-o", f"{place}/a.png"],
            "importing the pipeline": [sys.executable, "-c", "from diffusers import StableDiffusionPipeline"],
        }
        taken: dict[str, list[float]] = {name: [] for name in lines}
        for _ in range(rounds):
            for name, line in lines.items():
                began = time.perf_counter()
                subprocess.run(line, check=True, capture_output=True)
                taken[name].append(time.perf_counter() - began)
        for name, seconds in taken.items():
            print(f"{name}: {median(seconds):.1f} s", flush=True)


def memory(count: int = 200) -> None:
    """Prints the memory of a run over a file of prompts, as it goes."""
    import psutil

    with tempfile.TemporaryDirectory() as place:
        folder, file = tiny(place), Path(place) / "prompts.txt"
        file.write_text("".join(f"a red circle number {k}\n" for k in range(count)))
        line = [
            sys.executable,
            "-m",
            "difftool",
            "txt2img",
            "--prompts",
            str(file),
            "--model",
            str(folder),
            "--steps",
            "2",
        ]
        out, seen = Path(place) / "out", {}
        with subprocess.Popen(
            [*line, "--size", "64x64", "--output-dir", str(out), "-q"], stdout=subprocess.DEVNULL
        ) as run:
            process = psutil.Process(run.pid)
            while run.poll() is None:
                drawn = len(list(out.glob("*.png"))) if out.exists() else 0
                seen[drawn] = process.memory_info().rss if process.is_running() else 0
                time.sleep(0.02)
        at = {mark: next((seen[k] for k in sorted(seen) if k >= mark and seen[k]), 0) for mark in (20, 100, count - 5)}
        print(", ".join(f"{rss / 1e6:.0f} MB at picture {mark}" for mark, rss in at.items()), flush=True)


def full() -> None:
    """Prints seconds and memory of real architectures with random weights, each in a process of its own."""
    for kind in ("sd1", "sdxl"):
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
            subprocess.run([sys.executable, __file__, "weights", kind, place], check=True)
            line = [
                sys.executable,
                "-m",
                "difftool",
                "txt2img",
                "a red circle",
                "--model",
                f"{place}/{kind}",
                "--steps",
                "2",
            ]
            line += ["--size", "256x256", "--dtype", "bf16", "-o", f"{place}/a.png", "--json"]
            began = time.perf_counter()
            with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as run:
                told = run.stdout.read() if run.stdout else ""
                _, status, usage = os.wait4(run.pid, 0)
                run.returncode = os.waitstatus_to_exitcode(status)
            spans = json.loads(told)["data"]["timing"]
            print(
                f"{kind}: {time.perf_counter() - began:.1f} s ({spans}), {usage.ru_maxrss / 1e6:.1f} GB at most",
                flush=True,
            )


def weights(kind: str, place: str) -> None:
    """Writes a folder with the architecture of a family and random weights in bf16."""
    import torch
    from tiny_pipelines import write_tokenizer

    from difftool.files import write_json
    from difftool.models import ASSETS
    from difftool.text2img.pipeline import class_of

    about = json.loads((ASSETS / "single" / f"{kind}.json").read_text())
    root = Path(place) / kind
    root.mkdir()
    write_json(root / "model_index.json", about["model_index"])
    for name, config in about.items():
        if name.startswith("tokenizer"):
            write_tokenizer(root / name, ["a red circle"], 77)
        elif name == "scheduler":
            (root / name).mkdir()
            write_json(root / name / "scheduler_config.json", config)
        elif name != "model_index":
            made = class_of(about["model_index"][name][1])
            with torch.device("meta"):
                net = made(made.config_class(**config)) if hasattr(made, "config_class") else made.from_config(config)
            net = net.to(torch.bfloat16).to_empty(device="cpu")
            with torch.no_grad():
                for p in net.parameters():
                    p.normal_(0, 0.02) if p.ndim > 1 else p.fill_(1.0)
            net.save_pretrained(root / name)


if __name__ == "__main__":
    what, *rest = sys.argv[1:] or ["overhead"]
    globals()[what](*rest)
