"""What the usual recipe for fine-tuning Tortoise (DL-Art-School and its forks) learns, beside `voice train`: figures
and docs/tortoise-training.png, with small networks on random clips.

    python bench/tortoise_recipes.py [docs/tortoise-training.png]

Three differences are shown one by one, everything else being equal: rows that go on in silence up to 11.6 s, two voices
as two positions, and a residual that starts from the normalised input.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difftool.learning.loop import Trainee, updates
from difftool.nets.layers import Linear
from difftool.nets.tortoise.autoregressive import ConditioningEncoder, UnifiedVoice
from difftool.pictures.plots import COLOURS
from difftool.voice.engines import finished
from difftool.voice.engines.tortoise.decoding import CALM, TokenSampling, sample_codes
from difftool.voice.engines.tortoise.tuning.task import Clipset, CodePrediction, CodePredictor

CLIPS, UPDATES, DIM = 20, 120, 64
LONGEST = 250
"""Codes of 11.6 s, to which the recipe fills up every clip with silence."""
A_CODE = 1024 / 22_050
"""Seconds."""
SAMPLING = TokenSampling(0.3, 1.0, 0, 1.0)


def predictor() -> CodePredictor:
    """A small decoder with random weights."""
    torch.manual_seed(0)
    decoder = UnifiedVoice(layers=2, dim=DIM, heads=4, codes=130, code_positions=270)
    net = CodePredictor(decoder, Linear(DIM, 256))
    for module in net.modules():
        if isinstance(module, nn.Embedding):
            module.weight = nn.Parameter(0.5 * torch.randn_like(module.weight))
    return net


def clipset() -> Clipset:
    """Clips of 1.4 to 10 s."""
    drawn = torch.Generator().manual_seed(1)
    lengths = [30 + 186 * k // (CLIPS - 1) for k in range(CLIPS)]
    texts = [torch.randint(3, 255, (length // 6,), generator=drawn) for length in lengths]
    codes = [torch.randint(84, 128, (length,), generator=drawn) for length in lengths]
    voices = torch.randn(CLIPS, DIM, generator=drawn)
    return Clipset(texts, codes, voices, [range(k, k + 1) for k in range(CLIPS)])


def trained(clips: Clipset) -> CodePredictor:
    train = {"images": UPDATES * CLIPS, "batch_size": CLIPS, "lr": 6e-3, "warmup": 0.05, "ema": 0.1, "seed": 0}
    train |= {"weight_decay": 0.0, "length": {}}
    task = CodePrediction(train, predictor(), clips)  # type: ignore[arg-type]
    for _ in updates(Trainee(task.net, task.train), task, task.train):
        pass
    return task.net


@torch.no_grad()
def spoken(net: CodePredictor, clips: Clipset) -> list[int]:
    """The codes that are drawn for each clip up to the stop."""
    lengths = []
    for k, text in enumerate(clips.texts):
        voice = clips.voices.mean(0, keepdim=True)
        drawn = finished(sample_codes(net.decoder, voice, text[None], [k], SAMPLING, most=260, block=1))
        lengths.append(int((drawn.codes[0] != net.decoder.stop_code).sum()))
    return lengths


@torch.no_grad()
def text_losses(clips: Clipset) -> tuple[float, float]:
    """The loss of a text that is known by heart, with the mean of two voices at one position, and with both at two and
    the states of the recipe."""
    net, text = predictor(), clips.texts[-1]
    head, decoder = net.text_head, net.decoder
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    targets = F.pad(text, (0, 1))
    for _ in range(60):
        with torch.enable_grad():
            hidden = decoder(decoder.prefix(clips.voices[:1], text[None]))[0, 1 : len(targets) + 1]
            loss = F.cross_entropy(head(hidden), targets)
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    prefix = decoder.prefix(clips.voices[:1], text[None])
    both = torch.cat([prefix[:, :1], prefix], dim=1)
    states = [decoder(rows)[0, 1 : len(targets) + 1] for rows in (prefix, both)]
    right, shifted = (float(F.cross_entropy(head(state), targets)) for state in states)
    return right, shifted


@torch.no_grad()
def off_residual() -> float:
    """Relative difference of the voice, at full size, where the residual of each block starts from its norm."""
    torch.manual_seed(0)
    encoder, mel = ConditioningEncoder(), torch.randn(1, 80, 517)
    for block in encoder.attn:
        block.proj_out.weight.normal_(std=0.03)
    h: Tensor = encoder.init(mel.transpose(1, 2))
    for block in encoder.attn:
        h = block(h) - h + block.norm(h)
    right = encoder(mel)
    return float((h[:, 0] - right).norm() / right.norm())


def main() -> None:
    clips = clipset()
    filled = Clipset(
        clips.texts,
        [F.pad(codes, (0, LONGEST - len(codes)), value=CALM) for codes in clips.codes],
        clips.voices,
        clips.own,
    )
    own = [len(codes) for codes in clips.codes]
    print("seconds of a clip: share of its targets that are silence, where every row has 250 codes")
    for seconds in (2, 4, 6, 8, 10):
        print(f"  {seconds:2}: {1 - (int(seconds / A_CODE) + 1) / (LONGEST + 1):.0%}")
    ends = {}
    for name, rows in (("rows as they are spoken", clips), ("rows filled up to 11.6 s", filled)):
        ends[name] = spoken(trained(rows), clips)
        right = sum(found == length for found, length in zip(ends[name], own, strict=True))
        print(f"{name}: {right} of {CLIPS} stop at their own length")
    right, shifted = text_losses(clips)
    print(f"loss of a text known by heart: {right:.2f}; with two positions of voices: {shifted:.2f}")
    print(f"difference of the voice with a residual from the norm: {off_residual():.0%}")
    if sys.argv[1:]:
        draw(Path(sys.argv[1]), own, ends)


def draw(path: Path, own: list[int], ends: dict[str, list[int]]) -> None:
    figure, axes = plt.subplots(figsize=(4.8, 3.4), dpi=200, layout="constrained")
    axes.axline((0, 0), slope=1, color="0.8", zorder=0)
    for (name, found), colour, mark in zip(ends.items(), COLOURS, "ox", strict=False):
        axes.plot([n * A_CODE for n in own], [n * A_CODE for n in found], mark, color=colour, label=name)
    axes.set(xlabel="seconds of the clip", ylabel="seconds until the stop is spoken", xlim=(0, 12), ylim=(0, 12.5))
    axes.legend(frameon=False)
    figure.savefig(path)


if __name__ == "__main__":
    main()
