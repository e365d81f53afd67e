"""`difftool voice clone` against tortoise-tts 3.0.0 in its best form on a CPU (its cache of keys and values, 16 samples
at once, float32): one sentence, preset ultra_fast, the same random weights of full size, stage by stage.

    make bench-clone      # that is .venv-stock/bin/python bench/clone.py; it needs 8 GB in a temporary folder

The decoder's random weights are kept from stopping, so that samples are 140 codes long (6.5 s of sound). Every side is
a process of its own, from import to sound. Sides alternate; a figure is the median of the rounds, a factor that of the
factors of the rounds. Shares are those of the peak of a product of matrices in the same run, for the multiplications
that the original needs. What its own speech do_tts.py takes, which draws one sample at a time on a CPU, is measured
over 20 codes and scaled.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STARTED = time.perf_counter()
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests"), str(ROOT / "tests" / "stock")]

import torch  # noqa: E402
from networks import CODE, DTYPES, FORMATS, SAMPLES, random_checkpoints, seconds, stages_of_stock, stock  # noqa: E402

TEXT = "This is a test recording to make AI clone my voice."
CODES, CLIPS, FEW, ROUNDS = 140, 3, 20, 5
SIDES = ("stock", *FORMATS)
STAGES = {
    "conditioning": ("a voice of 3 clips", 1),
    "autoregressive": (CODE, CODES),
    "clvp": ("CLVP of 16 samples", 1),
    "latents": ("latents of the winner", 1),
    "diffusion": ("a step of diffusion", 30),
    "vocoder": ("vocoder", 1),
}
"""What each consists of, of what `networks.py` measures, and how often."""


def main(folder: Path) -> None:
    random_checkpoints(folder)
    make_voice(folder)
    run("fp32", folder)  # converts the checkpoints
    rounds: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(ROUNDS):
        for side in SIDES:
            rounds[side].append(run(side, folder))
    taken = {side: {key: statistics.median(one[key] for one in of) for key in of[0]} for side, of in rounds.items()}
    told = run("work", folder)
    peaks = {dtype: told.pop(f"peak {dtype}") for dtype in DTYPES}
    print(", ".join(f"peak {dtype}: {peak / 1e9:.0f} GFLOP/s" for dtype, peak in peaks.items()))

    def faster(what: str, side: str) -> str:
        if side == "stock" or what not in rounds["stock"][0]:
            return ""
        pairs = zip(rounds["stock"], rounds[side], strict=True)
        return f" {statistics.median(theirs[what] / mine[what] for theirs, mine in pairs):5.2f} times"

    for stage, (unit, times) in STAGES.items():
        line = f"{stage:15}"
        for side in SIDES:
            spent = taken[side].get(stage, 0.0)
            peak = peaks["fp32"] if side in ("stock", "fp32") else peaks.get("bf16", peaks["fp32"])
            share = told[unit] * times / spent / peak if spent else 0.0
            line += f"   {side} {spent:6.2f} s ({share:4.0%}){faster(stage, side)}" if spent else f"   {side} none"
        print(line)
    for what in ("speaking", "load", "total", "memory"):
        unit = "GB" if what == "memory" else "s"
        line = f"{what:15}" + "".join(f"   {side} {taken[side][what]:6.2f} {unit}" for side in SIDES)
        line += "".join(f"   {dtype}{faster(what, dtype)}" for dtype in FORMATS)
        print(line)
    speech = run("speech", folder)["few"] * SAMPLES * CODES / FEW
    stages = sum(taken["stock"][stage] for stage in STAGES if stage != "autoregressive")
    for dtype in FORMATS:
        factor = (speech + stages) / taken[dtype]["speaking"]
        print(f"do_tts.py: {speech:.0f} s for the codes, one sample at a time; {dtype} is {factor:.1f} times as fast")


def run(side: str, folder: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, side, str(folder)], check=True, stdout=subprocess.PIPE, text=True
    )
    told = json.loads(done.stdout.splitlines()[-1])
    print(side, {key: round(value, 2) for key, value in told.items()}, file=sys.stderr, flush=True)
    return told


def make_voice(folder: Path) -> None:
    import soundfile

    place = folder / "voices" / "me" / "refs" / "tortoise"
    place.mkdir(parents=True)
    (folder / "voices" / "me" / "voice.json").write_text('{"consent": {"kind": "synthetic"}}')
    for k in range(CLIPS):
        noise = torch.randn(132_300, generator=torch.Generator().manual_seed(k)) * 0.1
        soundfile.write(place / f"{k}.wav", noise.numpy(), 22_050, subtype="FLOAT")


def ours(dtype: str, folder: Path) -> dict[str, float]:
    import difftool

    done = difftool.voice.clone(
        TEXT,
        "me",
        preset="ultra_fast",
        max_mel_tokens=CODES,
        dtype=dtype,
        models_dir=folder,
        voices_dir=folder / "voices",
        cache=False,
    )
    spent = dict(done.seconds)
    load = spent.pop("load")
    return spent | {"speaking": sum(spent.values()), "load": load}


def original(folder: Path) -> dict[str, float]:
    """Times its stages from outside."""
    import tortoise.api
    from tortoise.utils.audio import load_audio

    began = time.perf_counter()
    tts = stock(folder)
    load = time.perf_counter() - began
    spent: dict[str, float] = {}

    def timed(stage: str, holder: Any, name: str) -> None:
        inner = getattr(holder, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            result = inner(*args, **kwargs)
            spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - began
            return result

        setattr(holder, name, call)

    timed("conditioning", tts, "get_conditioning_latents")
    timed("autoregressive", tts.autoregressive, "inference_speech")
    timed("latents", tts.autoregressive, "forward")
    timed("clvp", tts.clvp, "forward")
    timed("diffusion", tortoise.api, "do_spectrogram_diffusion")
    timed("vocoder", tts.vocoder, "inference")
    clips = [load_audio(str(path), 22_050) for path in sorted((folder / "voices").rglob("*.wav"))]
    began = time.perf_counter()
    tts.tts_with_preset(
        TEXT,
        "ultra_fast",
        voice_samples=clips,
        verbose=False,
        use_deterministic_seed=0,
        max_mel_tokens=CODES,
    )
    return spent | {"speaking": time.perf_counter() - began, "load": load}


def speech(folder: Path) -> dict[str, float]:
    """One sample of FEW codes, as do_tts.py draws all of them on a CPU, where it takes one at a time."""
    tts = stock(folder)
    text = torch.nn.functional.pad(torch.tensor([tts.tokenizer.encode(TEXT)]), (0, 1))
    voice = torch.zeros(1, 1024)
    asked = {"do_sample": True, "top_p": 0.8, "temperature": 0.8, "repetition_penalty": 2.0, "max_generate_length": FEW}
    draw: Callable[[], Any] = lambda: tts.autoregressive.inference_speech(voice, text, num_return_sequences=1, **asked)  # noqa: E731
    return {"few": seconds(draw, 2)}


def work(folder: Path) -> dict[str, float]:
    """The multiplications of the original's stages, and the peaks of the machine."""
    from torch.utils.flop_counter import FlopCounterMode

    from difftool.nets.layers import packed, product

    told: dict[str, float] = {}
    for name, stage in stages_of_stock(stock(folder)).items():
        with FlopCounterMode(display=False) as counter:
            stage()
        told[name] = counter.get_total_flops()
    for name, dtype in DTYPES.items():
        a = torch.randn(2048, 2048).to(dtype)
        blocks = packed(a)
        best = min(seconds(lambda a=a: a @ a, 9), seconds(lambda a=a, b=blocks: product(a, b), 9))
        told[f"peak {name}"] = 2 * 2048**3 / best
    return told


if __name__ == "__main__":
    if len(sys.argv) > 2:
        side, place = sys.argv[1], Path(sys.argv[2])
        with torch.no_grad():
            sides = {"stock": original, "speech": speech, "work": work}
            found = sides[side](place) if side in sides else ours(side, place)
        found["total"] = time.perf_counter() - STARTED
        lines = Path("/proc/self/status").read_text().splitlines()
        found["memory"] = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e6
        print(json.dumps(found))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
