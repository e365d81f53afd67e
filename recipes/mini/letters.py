"""Trains the letter-to-sound network, FOLDER/letters.safetensors, on the lexicon.

A word of each fifty is held back, and the errors on these are printed. The same seed gives the same network on the same
machine, also where the stage was stopped and repeated.
"""

from __future__ import annotations

import json
import lzma
import random
import time
import zlib
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import torch
from lexicon import lexicon_path
from plan import out_of_time
from rapidfuzz.distance import Levenshtein
from safetensors.torch import save_file

from difftool.errors import DifftoolError, Exit
from difftool.files import replacing
from difftool.nets.mini.letters import LETTERS, SLOTS, LetterNet, numbered
from difftool.voice.engines.mini.words import SOUNDS

STEPS, BATCH, RATE = 3600, 512, 3e-3
HELD_BACK, KEPT_EVERY = 50, 200
"""A word of so many is held back; the state is kept after so many steps."""
Pair = tuple[str, str]


def make(folder: Path, end: float) -> None:
    """The stage."""
    if not lexicon_path(folder).exists():
        raise DifftoolError(Exit.FILE, f"{lexicon_path(folder)} is missing", "run the stage lexicon first")
    torch.manual_seed(0)
    learned, held_back = split(lexicon_path(folder))
    net = LetterNet(SOUNDS)
    print(f"{len(learned):,} words", flush=True)
    train(net, learned, folder / "letters.pt", end)
    net.eval()
    weights = {name: weight.detach().half().contiguous() for name, weight in net.state_dict().items()}
    net.load_state_dict({name: weight.float() for name, weight in weights.items()})
    print(json.dumps(judge(net, held_back)), flush=True)
    save_file(weights, weights_path(folder))


def weights_path(folder: Path) -> Path:
    """The network, in halves."""
    return folder / "letters.safetensors"


def split(lexicon: Path) -> tuple[list[Pair], list[Pair]]:
    """Words in small letters and their phonemes: those to learn, and those that are held back."""
    pairs: dict[str, str] = {}
    for line in lzma.decompress(lexicon.read_bytes()).decode().split("\n"):
        word, _, readings = line.partition(" ")
        sounds, small = readings.split(" ")[0], word.lower()
        is_spelled = word[1:] == small[1:] and set(small) <= set(LETTERS)
        if is_spelled and len(small) > 2 and _fits(small, sounds):
            pairs.setdefault(small, sounds)
    learned, held_back = [], []
    for word, sounds in sorted(pairs.items()):
        (learned if zlib.crc32(word.encode()) % HELD_BACK else held_back).append((word, sounds))
    return learned, held_back


def _fits(word: str, sounds: str) -> bool:
    """Whether the letters have slots for all sounds, and for a blank between equal ones."""
    blanks = sum(first == second for first, second in pairwise(sounds))
    return 0 < len(sounds) + blanks <= SLOTS * len(word)


def train(net: LetterNet, pairs: list[Pair], kept: Path, end: float, steps: int = STEPS) -> None:
    """Trains from the state that is `kept`, where there is one. Raises DifftoolError 75 at the end of the budget, with
    the state kept."""
    optimiser = torch.optim.AdamW(net.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps, pct_start=0.06)
    parts = {"net": net, "optimiser": optimiser, "schedule": schedule}
    first = 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        first = state.pop("step")
        for name, values in state.items():
            parts[name].load_state_dict(values)
    for step, batch in enumerate(islice(batches(pairs), first, steps), first + 1):
        loss = loss_of(net, batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        late = time.monotonic() > end
        if step % KEPT_EVERY == 0 or late:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
            with replacing(kept) as part:
                torch.save({"step": step, **{name: each.state_dict() for name, each in parts.items()}}, part)
        if late and step < steps:
            raise out_of_time(f"stopped after {step:,} of {steps:,} updates; the state is saved")


def loss_of(net: LetterNet, batch: list[Pair]) -> torch.Tensor:
    """The CTC loss of some words."""
    words, sounds = zip(*batch, strict=True)
    targets = torch.tensor([SOUNDS.index(sound) + 1 for line in sounds for sound in line])
    lengths = torch.tensor([SLOTS * len(word) for word in words])
    scores = net(numbered(words)).transpose(0, 1)
    return torch.nn.functional.ctc_loss(scores, targets, lengths, torch.tensor([*map(len, sounds)]))


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
    said: list[str] = []
    for start in range(0, len(pairs), BATCH):
        said += net.pronounce([word for word, _ in pairs[start : start + BATCH]])
    right = [sounds for _, sounds in pairs]
    return {**errors(right, said), **errors(_unstressed(right), _unstressed(said), " without stress")}


def errors(right: list[str], said: list[str], name: str = "") -> dict[str, float]:
    """The phoneme error rate, and the share of words that are right."""
    both = [*zip(right, said, strict=True)]
    rate = sum(Levenshtein.distance(*two) for two in both) / sum(map(len, right))
    share = sum(one == other for one, other in both) / len(both)
    return {f"phoneme errors{name}": rate, f"right words{name}": share}


def _unstressed(words: list[str]) -> list[str]:
    """Phonemes without stress marks."""
    plain = str.maketrans("", "", "ˈˌ")
    return [sounds.translate(plain) for sounds in words]
