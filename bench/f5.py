"""F5-TTS against f5-tts 1.1.22 on the CPU: the same random weights of full size, the same sentence, whole runs.

    make test-f5 && .venv-f5/bin/python bench/f5.py [STEPS...]      # by default 16 and 32; it needs 6 GB of memory

A reference of 8 s, and 6 s that are said. Every run is a process of its own: the network is opened, and the run is
timed from the text to the sound. Rounds alternate, the package first; a ratio is the median of those of the rounds.
The share of the peak is that of a product of matrices in the same round, and of the multiplications that are needed
with all modulations computed once.
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

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "stock")]

import torch  # noqa: E402

RATE, HOP = 24_000, 256
REFERENCE_SECONDS, SAID_SECONDS = 8, 6
REFERENCE = REFERENCE_SECONDS * RATE // HOP + 1
"""Frames of the reference."""
SPEECH = SAID_SECONDS * RATE // HOP
TOKENS, ROUNDS, GUIDANCE = 210, 3, 3.0
SIDES = ("package", "fp32", "bf16")


def main(folder: Path, steps: list[int]) -> None:
    make_files(folder)
    for count in steps:
        rounds = [{side: run(side, folder, count) for side in SIDES} for _ in range(ROUNDS)]
        for side in SIDES:
            report(count, side, [(each["package"], each[side]) for each in rounds])


def make_files(folder: Path) -> None:
    """Official files of full size with random weights."""
    from safetensors.torch import save_file
    from tiny_f5 import weights

    from difftool.nets.f5.architecture import V1
    from difftool.nets.f5.official import checkpoint_of
    from difftool.nets.vocos.official import CHECKPOINT

    def draw(seed: int, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    made = weights(checkpoint_of(V1), draw)
    save_file({f"ema_model.transformer.{name}": value for name, value in made.items()}, folder / "model.safetensors")
    torch.save(weights(CHECKPOINT, draw), folder / "pytorch_model.bin")


def run(side: str, folder: Path, steps: int) -> dict[str, float]:
    """The figures of one run in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, side, str(folder), str(steps)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def report(steps: int, side: str, rounds: list[tuple[dict[str, float], dict[str, float]]]) -> None:
    def median(of: Callable[[dict[str, float], dict[str, float]], float]) -> float:
        return statistics.median(of(*pair) for pair in rounds)

    stages = ", ".join(f"{stage} {median(lambda _, own: own[stage]):.1f} s" for stage in ("text", "flow", "vocoder"))  # noqa: B023
    print(
        f"{steps} steps, {side:7} {median(lambda _, own: own['total']):6.1f} s ({stages}), "
        f"{median(lambda theirs, own: theirs['total'] / own['total']):.2f} times as fast; "
        f"flow {median(lambda _, own: own['share']):.0%} of the peak; "
        f"memory {median(lambda _, own: own['most']):.2f} GB at most "
        f"({median(lambda theirs, own: own['most'] / theirs['most']):.0%}), "
        f"{median(lambda _, own: own['end']):.2f} GB at the end",
        flush=True,
    )


def one(side: str, folder: Path, steps: int) -> None:
    """Prints the figures of a run."""
    from tiny_tortoise import integers

    from difftool.nets.f5.official import VOCABULARY

    tokens = integers(1, 0, VOCABULARY, TOKENS)
    reference = torch.randn(REFERENCE, 100, generator=torch.Generator().manual_seed(2)) - 4
    dtype = torch.bfloat16 if side == "bf16" else torch.float32
    taken = (
        theirs(folder, steps, tokens, reference) if side == "package" else ours(folder, steps, tokens, reference, dtype)
    )
    kept = {
        key: int(line.split()[1]) / 1e6
        for line in Path("/proc/self/status").read_text().splitlines()
        for key in ("VmHWM", "VmRSS")
        if line.startswith(key)
    }
    taken |= {"most": kept["VmHWM"], "end": kept["VmRSS"], "share": work(steps) / taken["flow"] / peak(dtype)}
    print(json.dumps(taken))


def work(steps: int) -> float:
    """Operations of the flow: linear layers and attention of the blocks for both branches of guidance (f5-tts does the
    modulations in every step besides)."""
    n = REFERENCE - 1 + SPEECH
    return 2 * steps * (n * 22 * 16 * 1024**2 + 22 * 4 * n**2 * 1024 + 18e6 * n)


def peak(dtype: torch.dtype) -> float:
    """Operations a second of a product of matrices in its best form."""
    from difftool.nets.layers import packed, product

    a = torch.randn(2048, 2048).to(dtype)
    blocks = packed(a)
    return 2 * 2048**3 / min(shortest(lambda: a @ a), shortest(lambda: product(a, blocks)))


def shortest(stage: Callable[[], object], times: int = 5) -> float:
    stage()
    return min(timed(stage) for _ in range(times))


def timed(stage: Callable[[], object]) -> float:
    began = time.perf_counter()
    stage()
    return time.perf_counter() - began


def theirs(folder: Path, steps: int, tokens: torch.Tensor, reference: torch.Tensor) -> dict[str, float]:
    """As f5-tts opens and runs it on a CPU."""
    import original_f5
    from f5_tts.model import CFM
    from safetensors.torch import load_file

    from difftool.nets.f5.architecture import V1
    from difftool.nets.f5.official import VOCABULARY

    state = load_file(folder / "model.safetensors")
    net = original_f5.dit(V1, VOCABULARY, {name.removeprefix("ema_model.transformer."): x for name, x in state.items()})
    del state
    vocoder = original_f5.vocos(torch.load(folder / "pytorch_model.bin"), 512, 1536, 8)
    model = CFM(net, mel_spec_kwargs={"mel_spec_type": "vocos"}).eval()

    def say() -> torch.Tensor:
        mel, _ = model.sample(
            reference[None],
            tokens[None],
            REFERENCE - 1 + SPEECH,
            steps=steps,
            cfg_strength=GUIDANCE - 1,
            sway_sampling_coef=-1.0,
            seed=0,
        )
        return mel[:, REFERENCE - 1 :].mT

    return staged(net.text_embed, say, vocoder.decode)


def ours(
    folder: Path, steps: int, tokens: torch.Tensor, reference: torch.Tensor, dtype: torch.dtype
) -> dict[str, float]:
    """As `difftool voice clone --engine f5` runs it."""
    from difftool.nets.f5.architecture import V1
    from difftool.nets.f5.official import VOCABULARY
    from difftool.voice.engines import finished
    from difftool.voice.engines.f5.files import Files
    from difftool.voice.engines.f5.options import Options, choice_of
    from difftool.voice.engines.f5.synthesis import SpeechSettings, item_of, open_networks, sound_of, spectrograms

    files = Files(folder / "model.safetensors", folder / "vocab.txt", folder / "pytorch_model.bin")
    nets = open_networks(files, V1, VOCABULARY, torch.device("cpu"), dtype)
    schedule = "epss" if steps == 16 else None
    choice = choice_of(Options(sampler="euler", steps=steps, schedule=schedule, sway=-1.0))

    def say() -> torch.Tensor:
        item = item_of(nets, tokens.tolist(), reference, SPEECH, 0)
        (mel,) = finished(spectrograms(nets, SpeechSettings(choice, GUIDANCE), [item]))
        return mel

    return staged(nets.text, say, lambda mel: sound_of(nets, mel, 1.0))


def staged(
    embedder: torch.nn.Module, say: Callable[[], torch.Tensor], decode: Callable[[torch.Tensor], object]
) -> dict[str, float]:
    """Seconds of the stages: of `embedder` within `say`, which makes a mel spectrogram, and of its sound."""
    embed, text = embedder.forward, []

    def timing(*args: object, **kwargs: object) -> torch.Tensor:
        began = time.perf_counter()
        out = embed(*args, **kwargs)
        text.append(time.perf_counter() - began)
        return out

    embedder.forward = timing
    began = time.perf_counter()
    mel = say()
    flow = time.perf_counter() - began
    spoken = timed(lambda: decode(mel))
    return {"text": sum(text), "flow": flow - sum(text), "vocoder": spoken, "total": flow + spoken}


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    if sys.argv[1:2] and sys.argv[1] in SIDES:
        one(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made), [*map(int, sys.argv[1:])] or [16, 32])
