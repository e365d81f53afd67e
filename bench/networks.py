"""Tortoise's networks against tortoise-tts 3.0.0: loading, memory, speed and what half precision costs, with the same
random weights of full size, on the CPU.

    make bench-stock        # that is .venv-stock/bin/python bench/networks.py; it needs 8 GB in a temporary folder
    .venv-stock/bin/python bench/networks.py busy      # a code, while another process takes one core

The sentence is 140 codes (6.5 s of sound) of 40 tokens, in 16 samples, with the voice's latents given. Rounds
alternate; a figure is the median of the ratios of neighbouring rounds. The share is that of the peak of a product of
matrices, measured in the same rounds, and of the multiplications that the original does.
"""

from __future__ import annotations

import os
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
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "stock")]

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from difftool.device import IDLE_SPINS, cpu_computes_bf16  # noqa: E402
from difftool.nets.small_batch import quantisable  # noqa: E402

CODES, TOKENS, SAMPLES, ROUNDS = 140, 40, 16, 5
DTYPES = {"fp32": torch.float32}
if cpu_computes_bf16():
    DTYPES["bf16"] = torch.bfloat16
FORMATS = dict(DTYPES)
"""What the decoder can run in."""
if quantisable():
    FORMATS["int8"] = torch.int8
CODE = "a code of 16 samples"
"""The stage that is measured in each of FORMATS; the others are in DTYPES."""


def main(folder: Path) -> None:
    random_checkpoints(folder)
    loads = [("load", side) for side in ("stock", *(f"ours {name}" for name in DTYPES))]
    for what, side in (*loads, *loads, ("speed", ""), ("half", "")):  # the first time converts, and warms the cache
        subprocess.run([sys.executable, "-W", "ignore", __file__, what, side, str(folder)], check=True)


def random_checkpoints(folder: Path) -> None:
    """Official files of full size with random weights."""
    from tiny_tortoise import checkpoint

    from difftool.nets.tortoise.official import CHECKPOINTS

    def draw(seed: int, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    for file, row in CHECKPOINTS.items():
        weights = checkpoint(file, {}, draw)
        if file == "autoregressive.pth":
            weights["mel_head.bias"][8192:] = -50.0  # of the codes that start and stop
        torch.save({row.inside: weights} if row.inside else weights, folder / file)


def load(side: str, folder: Path) -> None:
    """From the shell to the first pass of each network, one after the other, with the voice's latents given."""
    voice, text = torch.zeros(1, 1024), torch.full((1, TOKENS), 5)
    codes, mel = torch.full((SAMPLES, CODES), 5), torch.zeros(1, 100, 609)
    passing = 0.0

    def first(run: Callable[[], object]) -> None:
        nonlocal passing
        began = time.perf_counter()
        run()
        passing += time.perf_counter() - began

    if side == "stock":
        tts, told = stock(folder), {"precomputed_aligned_embeddings": torch.zeros(1, 1024, 609)}
        first(lambda: stock_latents(tts.autoregressive, voice, text, codes[:1]))
        first(lambda: tts.clvp(F.pad(text, (0, 1)).repeat(SAMPLES, 1), codes))
        first(lambda: tts.diffusion(mel, torch.tensor([5]), **told))
        first(lambda: tts.vocoder.inference(mel))
    else:
        from difftool.voice.engines.tortoise.networks import open_network

        runs: dict[str, Callable[[Any], object]] = {
            "autoregressive": lambda net: net.latents(voice, text, codes[:1]),
            "clvp": lambda net: net(text, codes),
            "diffusion": lambda net: net(mel, torch.tensor([5.0]), net.unconditional(1, 609)),
            "vocoder": lambda net: net(mel, torch.zeros(1, 64, 619)),
        }
        for name, run in runs.items():
            net = open_network(name, folder, dtype=DTYPES[side.split()[1]])
            first(lambda run=run, net=net: run(net))
            del net  # as the engine does on a CPU: the next one is mapped from the cache of the disk
    loading = time.perf_counter() - STARTED - passing
    memory = {
        key: int(line.split()[1]) / 1e6
        for line in Path("/proc/self/status").read_text().splitlines()
        for key in ("VmHWM", "VmRSS")
        if line.startswith(key)
    }
    kept = f"{memory['VmRSS']:.2f} GB at the end, {memory['VmHWM']:.2f} GB at most"
    print(f"{side:10} {loading:5.1f} s from the shell to four networks that ran once; resident {kept}", flush=True)


def stock(folder: Path) -> Any:
    """`TextToSpeech` with the checkpoints of a folder, in its best form on a CPU."""
    import tortoise.api

    tortoise.api.get_model_path = lambda name, models_dir=None: folder / name
    tts = tortoise.api.TextToSpeech(enable_redaction=False, kv_cache=True, autoregressive_batch_size=SAMPLES)
    tts.vocoder.requires_grad_(False)
    return tts


def stock_latents(net: Any, voice: torch.Tensor, text: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    lengths = torch.tensor([text.shape[1]]), codes.clone(), torch.tensor([codes.shape[1] * 1024])
    return net(voice, text, *lengths, return_latent=True, clip_inputs=False)


def speed(folder: Path) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    from difftool.nets.layers import packed, product

    theirs = stages_of_stock(stock(folder))
    stock_code = theirs.pop(CODE)
    work = {}
    for name, stage in theirs.items():
        with FlopCounterMode(display=False) as counter:
            stage()
        work[name] = counter.get_total_flops()
    mine = {dtype: stages(folder, DTYPES[dtype]) for dtype in DTYPES}

    def peak(dtype: torch.dtype) -> float:
        a = torch.randn(2048, 2048).to(dtype)
        blocks = packed(a)
        return 2 * 2048**3 / min(seconds(lambda: a @ a, 5), seconds(lambda: product(a, blocks), 5))

    taken: dict[str, list[dict[str, float]]] = {name: [] for name in theirs}
    peaks: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        peaks.append({dtype: peak(DTYPES[dtype]) for dtype in DTYPES})
        for name in theirs:
            round_ = {"stock": seconds(theirs[name])} | {dtype: seconds(mine[dtype][name]) for dtype in DTYPES}
            taken[name].append(round_)
    for dtype in DTYPES:
        print(f"peak {dtype}: {statistics.median(p[dtype] for p in peaks) / 1e9:.0f} GFLOP/s")
    del mine
    codes(folder, stock_code, statistics.median(p["fp32"] for p in peaks))
    for name, rounds in taken.items():
        line = f"{name:28} stock {statistics.median(r['stock'] for r in rounds) * 1e3:6.0f} ms"
        share = [work[name] / r["stock"] / p["fp32"] for r, p in zip(rounds, peaks, strict=True)]
        line += f" ({statistics.median(share):4.0%} of the peak)"
        for dtype in DTYPES:
            faster = statistics.median(r["stock"] / r[dtype] for r in rounds)
            share = [work[name] / r[dtype] / p[dtype] for r, p in zip(rounds, peaks, strict=True)]
            line += f"   {dtype} {statistics.median(r[dtype] for r in rounds) * 1e3:5.0f} ms"
            line += f" ({statistics.median(share):4.0%}), {faster:4.2f} times as fast"
        print(line, flush=True)


def codes(folder: Path, theirs: Callable[[], object], peak: float) -> None:
    """A code of 16 samples in every number format, with the shares of the peak of a product of matrices in float32
    (FLOP/s) and of the speed at which memory is read."""
    sides = {"stock": theirs} | {name: code(open_decoder(folder, dtype)) for name, dtype in FORMATS.items()}
    large = torch.zeros(1 << 28)
    size = 30 * 12 * 1024**2 + 8194 * 1024  # weights that a code passes through
    taken: dict[str, list[float]] = {name: [] for name in (*sides, "memory")}
    for _ in range(ROUNDS):
        for name, side in sides.items():
            taken[name].append(seconds(side))
        taken["memory"].append(large.nbytes / seconds(large.sum))
    memory = statistics.median(taken["memory"])
    print(f"memory is read at {memory / 1e9:.1f} GB/s")
    for name in sides:
        spent = statistics.median(taken[name])
        line = f"{CODE}, {name:5} {spent * 1e3:5.0f} ms, {2 * size * SAMPLES / spent / peak:4.0%} of the peak"
        width = FORMATS.get(name, torch.float32).itemsize
        line += f", {size * width / spent / memory:4.0%} of the speed of memory"
        faster = statistics.median(a / b for a, b in zip(taken["stock"], taken[name], strict=True))
        print(f"{line}, {faster:4.2f} times as fast", flush=True)


def busy(folder: Path) -> None:
    """How much longer a code of 16 samples takes while another process takes one core, with idle threads as PyTorch
    lets them spin, and as they rest in `voice clone`."""
    default = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    resting = default | {"GOMP_SPINCOUNT": IDLE_SPINS}
    for side, how, env in (
        ("stock", "", default),
        *((name, "spinning", default) for name in FORMATS),
        *((name, "resting", resting) for name in FORMATS),
    ):
        alone = milliseconds(side, folder, env)
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            beside = milliseconds(side, folder, env)
        finally:
            other.kill()
            other.wait()
        print(f"{side:6} {how:8} {alone:5.0f} ms, {beside:5.0f} ms beside another", flush=True)


def milliseconds(side: str, folder: Path, env: dict[str, str]) -> float:
    """The milliseconds of a code of 16 samples in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "one", side, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
    return float(done.stdout.split()[-1])


def one(side: str, folder: Path) -> None:
    """Prints the milliseconds of a code of 16 samples."""
    stage = stages_of_stock(stock(folder))[CODE] if side == "stock" else code(open_decoder(folder, FORMATS[side]))
    stage()
    taken = []
    for _ in range(15):
        began = time.perf_counter()
        stage()
        taken.append(time.perf_counter() - began)
    print(statistics.median(taken) * 1e3)


def open_decoder(folder: Path, dtype: torch.dtype) -> Any:
    from difftool.voice.engines.tortoise.networks import open_network

    return open_network("autoregressive", folder, dtype=dtype)


def code(decoder: Any) -> Callable[[], torch.Tensor]:
    """The next code of 16 samples, in the middle of a sentence."""
    g, half, prefix = given(), CODES // 2, TOKENS + 4
    cache = decoder.new_cache(SAMPLES, prefix + CODES)
    decoder(torch.randn(1, prefix, 1024).expand(SAMPLES, -1, -1), cache)
    for m in range(half):
        decoder(decoder.embed(g["codes"][:, m : m + 1], m), cache, prefix + m, shared=prefix)

    def step() -> torch.Tensor:
        said = decoder.embed(g["codes"][:, half : half + 1], half)
        return decoder.logits(decoder(said, cache, prefix + half, shared=prefix))

    return step


def seconds(stage: Callable[[], object], times: int = 3) -> float:
    """The shortest of some runs, after one to warm up."""
    stage()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        stage()
        taken.append(time.perf_counter() - began)
    return min(taken)


def given() -> dict[str, torch.Tensor]:
    from tiny_tortoise import integers, noise

    return {
        "voice": noise(1, 1, 1024),
        "text": integers(2, 3, 255, 1, TOKENS),
        "codes": integers(3, 0, 8192, SAMPLES, CODES),
        "latents": noise(4, 1, CODES, 1024),
        "tone": noise(5, 1, 2048),
        "x": noise(6, 1, 100, 609),
        "mel": noise(7, 1, 100, 609) - 5,
        "noise": noise(8, 1, 64, 619),
        "clips": noise(9, 3, 132_300) * 0.1,
    }


def stages_of_stock(tts: Any) -> dict[str, Callable[[], object]]:
    g = given()
    told = {"precomputed_aligned_embeddings": tts.diffusion.timestep_independent(g["latents"], g["tone"], 609, False)}
    t, text = torch.tensor([500]), F.pad(g["text"], (0, 1)).repeat(SAMPLES, 1)
    decoder, half = tts.autoregressive.inference_model, CODES // 2
    decoder.store_mel_emb(torch.randn(1, TOKENS + 4, 1024))
    ids = torch.cat([torch.ones(SAMPLES, TOKENS + 4, dtype=torch.long), g["codes"][:, : half + 1]], dim=1)
    past = decoder(ids[:, :-1], use_cache=True, return_dict=True).past_key_values
    mask = torch.ones_like(ids)
    return {
        CODE: lambda: decoder(ids[:, -1:], past_key_values=past, attention_mask=mask, use_cache=True, return_dict=True),
        "latents of the winner": lambda: stock_latents(tts.autoregressive, g["voice"], g["text"], g["codes"][:1]),
        "CLVP of 16 samples": lambda: tts.clvp(text, g["codes"]),
        "a step of diffusion": lambda: tts.diffusion(g["x"], t, **told),
        "a step, unconditional": lambda: tts.diffusion(g["x"], t, conditioning_free=True, **told),
        "vocoder": lambda: tts.vocoder.inference(g["mel"], g["noise"]),
        "a voice of 3 clips": lambda: tts.get_conditioning_latents([clip[None] for clip in g["clips"]]),
    }


def stages(folder: Path, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    import torchaudio

    from difftool.nets.tortoise.mel import conditioning_mel, diffusion_mel
    from difftool.voice.engines.tortoise.networks import FILES, open_network

    net = {name: open_network(name, folder, dtype=dtype) for name in FILES if not name.startswith("random")}
    g, t = given(), torch.tensor([500.0])
    decoder, diffusion = net["autoregressive"], net["diffusion"]
    condition, nothing = diffusion.condition(g["latents"], g["tone"], 609), diffusion.unconditional(1, 609)

    def voice() -> tuple[torch.Tensor, torch.Tensor]:
        sound = torchaudio.functional.resample(g["clips"], 22_050, 24_000)[:, :102_400]
        return net["conditioning_encoder"](conditioning_mel(g["clips"])), net["contextual_embedder"](
            diffusion_mel(sound)
        )

    return {
        "latents of the winner": lambda: decoder.latents(g["voice"], g["text"], g["codes"][:1]),
        "CLVP of 16 samples": lambda: net["clvp"](g["text"], g["codes"]),
        "a step of diffusion": lambda: diffusion(g["x"], t, condition),
        "a step, unconditional": lambda: diffusion(g["x"], t, nothing),
        "vocoder": lambda: net["vocoder"](g["mel"], g["noise"]),
        "a voice of 3 clips": voice,
    }


def half(folder: Path) -> None:
    """What fewer bits change: the distribution of the next code, and the spectrogram after 30 steps from the same
    latents and noise. Random logits are almost flat: what sharper ones, of a standard deviation of 4, lose is told
    too."""
    from tiny_tortoise import chain, off

    from difftool.voice.engines.tortoise.networks import open_network

    g = given()
    logits = {}
    for name, dtype in FORMATS.items():
        decoder = open_decoder(folder, dtype)
        logits[name] = decoder.logits(decoder.latents(g["voice"], g["text"], g["codes"][:1]))
        del decoder
    full = logits.pop("fp32")
    for name, reduced in logits.items():
        for what, sharper in (("as they are", 1.0), ("made sharper", 4 / float(full.std()))):
            p, q = ((side * sharper).log_softmax(-1) for side in (full, reduced))
            entropy = float(-(p.exp() * p).sum(-1).mean())
            lost = float((p.exp() * (p - q)).sum(-1).mean())
            print(f"{name}: logits {what} (entropy {entropy:.1f}): mean KL {lost:.1e}", flush=True)
    mels = {}
    for name, dtype in DTYPES.items():
        diffusion = open_network("diffusion", folder, dtype=dtype)
        mels[name] = chain(diffusion, diffusion.condition(g["latents"], g["tone"], 609), None, 30)
        del diffusion
    if "bf16" in mels:
        print(f"bf16: the mel after 30 steps differs by {off(mels['bf16'], mels['fp32']):.2%} (L2)")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    if len(sys.argv) > 3:
        what, side, place = sys.argv[1:]
        parts = {"load": lambda at: load(side, at), "one": lambda at: one(side, at), "speed": speed, "half": half}
        parts[what](Path(place))
    else:
        with tempfile.TemporaryDirectory() as made:
            if sys.argv[1:] == ["busy"]:
                random_checkpoints(Path(made))
                busy(Path(made))
            else:
                main(Path(made))
