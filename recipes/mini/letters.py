"""Trains the letter-to-sound network in the package on the lexicon beside it: `python recipes/mini/letters.py OUT`.

OUT is the safetensors file. A word of each fifty is held back, and the errors on these are printed. It takes some ten
minutes of one core; the same seed gives the same network on the same machine.
"""

from __future__ import annotations

import json
import random
import sys
import time
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import torch
from rapidfuzz.distance import Levenshtein
from safetensors.torch import save_file

from difftool.nets.mini.letters import LETTERS, SLOTS, LetterNet, numbered
from difftool.voice.engines.mini.words import SOUNDS, lexicon

STEPS, BATCH, RATE = 3600, 512, 3e-3
HELD_BACK = 50
Pair = tuple[str, str]


def main(out: Path, steps: int = STEPS) -> None:
    torch.manual_seed(0)
    learned, held_back = split()
    net = LetterNet(SOUNDS)
    print(f"{sum(weight.numel() for weight in net.parameters()):,} parameters, {len(learned):,} words", flush=True)
    train(net, learned, steps)
    net.eval()
    weights = {name: weight.detach().half().contiguous() for name, weight in net.state_dict().items()}
    net.load_state_dict({name: weight.float() for name, weight in weights.items()})
    figures = judge(net, held_back)
    print(json.dumps(figures))
    save_file(weights, out)


def split() -> tuple[list[Pair], list[Pair]]:
    """Words in small letters and their phonemes: those to learn, and those that are held back."""
    pairs = {}
    for part in lexicon():
        for word, readings in part.items():
            sounds, small = readings.split(" ")[0], word.lower()
            if word[1:] == small[1:] and len(small) > 2 and set(small) <= set(LETTERS) and _fits(small, sounds):
                pairs.setdefault(small, sounds)
    learned, held_back = [], []
    for word, sounds in sorted(pairs.items()):
        (learned if zlib.crc32(word.encode()) % HELD_BACK else held_back).append((word, sounds))
    return learned, held_back


def _fits(word: str, sounds: str) -> bool:
    blanks = sum(first == second for first, second in pairwise(sounds))
    return 0 < len(sounds) + blanks <= SLOTS * len(word)


def train(net: LetterNet, pairs: list[Pair], steps: int) -> None:
    optimiser = torch.optim.AdamW(net.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps, pct_start=0.06)
    started, draws = time.process_time(), batches(pairs)
    for step in range(1, steps + 1):
        words, sounds = zip(*next(draws), strict=True)
        targets = torch.tensor([SOUNDS.index(sound) + 1 for line in sounds for sound in line])
        lengths = torch.tensor([SLOTS * len(word) for word in words])
        scores = net(numbered(words)).transpose(0, 1)
        loss = torch.nn.functional.ctc_loss(scores, targets, lengths, torch.tensor(list(map(len, sounds))))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 200 == 0 or step == 20:
            print(f"step {step}: loss {loss.item():.4f}, {time.process_time() - started:.0f} s", flush=True)


def batches(pairs: list[Pair]) -> Iterator[list[Pair]]:
    """Words in random order, those of a batch of similar length."""
    draw = random.Random(0)
    while True:
        order = sorted(pairs, key=lambda pair: len(pair[0]) + draw.random())
        chunks = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        draw.shuffle(chunks)
        yield from chunks


def judge(net: LetterNet, pairs: list[Pair]) -> dict[str, float]:
    """The phoneme error rate, and the share of words that are right, with and without stress marks."""
    said = [
        sounds
        for start in range(0, len(pairs), BATCH)
        for sounds in net.pronounce([word for word, _ in pairs[start : start + BATCH]])
    ]
    figures = {}
    for name, marks in (("", ""), (" without stress", "ˈˌ")):
        plain = str.maketrans("", "", marks)
        both = [(sounds.translate(plain), mine.translate(plain)) for (_, sounds), mine in zip(pairs, said, strict=True)]
        figures[f"phoneme errors{name}"] = sum(Levenshtein.distance(*two) for two in both) / sum(
            len(two[0]) for two in both
        )
        figures[f"right words{name}"] = sum(right == mine for right, mine in both) / len(both)
    return figures


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
