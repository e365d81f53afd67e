"""Words of captions as tokens."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import pairwise
from pathlib import Path

from torch import Tensor

from ...files import replace_folder, temporary, write_json, write_text

SPLIT = r"[^\W\d_]+|\d|[^\s\w]+|_+"
"""What CLIP takes for a word: letters, one digit, or signs."""
SHORTEST, LONGEST, WORDS = 32, 77, 4000
"""Tokens of a prompt, at least and at most, and words of the captions that get a token of their own."""


def write_tokenizer(folder: Path, captions: Sequence[str], tokens: int | None = None) -> None:
    """A CLIP tokenizer, as files that any version of transformers reads: the words of the captions have a token each,
    all others are spelled. A prompt has as many `tokens`, as suit the captions unless told otherwise. The folder takes
    its place in one move."""
    letters = _byte_letters()
    counts = Counter(word for caption in captions for word in re.findall(SPLIT, caption.lower()))
    words = ["".join(letters[byte] for byte in word.encode()) for word, _ in counts.most_common(WORDS)]
    merges = pairs(words)
    parts = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    parts = list(dict.fromkeys([*parts, "<|startoftext|>", "<|endoftext|>"]))
    fresh = temporary(folder)
    fresh.mkdir(parents=True)
    write_json(fresh / "vocab.json", {token: k for k, token in enumerate(parts)})
    write_text(fresh / "merges.txt", "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    special |= {"pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    write_json(fresh / "special_tokens_map.json", special)
    most = length(captions) if tokens is None else tokens
    about = {"tokenizer_class": "CLIPTokenizer", "model_max_length": most, "do_lower_case": True}
    write_json(fresh / "tokenizer_config.json", {**about, "errors": "replace", "add_prefix_space": False, **special})
    replace_folder(fresh, folder)


def length(captions: Sequence[str]) -> int:
    """Tokens that a prompt is given: twice the words of the longest caption, as others are spelled."""
    longest = max((len(re.findall(SPLIT, caption)) for caption in captions), default=0)
    return min(max(2 * longest, SHORTEST), LONGEST)


def pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909) of each word until it is one token: the pairs that
    are merged, the most common first, and of equally common ones the first in the alphabet."""
    spelled = [[*word[:-1], f"{word[-1]}</w>"] for word in words]
    counts: Counter[tuple[str, str]] = Counter()
    places: dict[tuple[str, str], set[int]] = {}

    def count(k: int, by: int) -> None:
        for pair in pairwise(spelled[k]):
            counts[pair] += by
            places.setdefault(pair, set()).add(k)
            heappush(heap, (-counts[pair], pair))

    heap: list[tuple[int, tuple[str, str]]] = []
    for k in range(len(spelled)):
        count(k, 1)
    merges = []
    while heap:
        negative, pair = heappop(heap)
        if -negative != counts[pair] or not counts[pair]:
            continue  # an older count of it
        merges.append(pair)
        for k in sorted(places[pair]):
            count(k, -1)
            merged: list[str] = []
            for part in spelled[k]:
                joins = merged and (merged[-1], part) == pair
                merged[-1:] = [merged[-1] + part] if joins else [*merged[-1:], part]
            spelled[k] = merged
            count(k, 1)
    return merges


def _byte_letters() -> list[str]:
    """The 256 letters that stand for the bytes in GPT-2's byte-level BPE, by byte: printable ones for themselves."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def tokens_of(folder: Path, captions: Sequence[str]) -> tuple[Tensor, Tensor, int, tuple[int, int]]:
    """(tokens (N, L) of captions, those of none (L,), how many tokens there are, (first, last))."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(str(folder))

    def read(texts: Sequence[str]) -> Tensor:
        out = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
        return out["input_ids"]

    ends = int(tokenizer.bos_token_id), int(tokenizer.eos_token_id)  # type: ignore[arg-type]
    return read(captions), read([""])[0], len(tokenizer), ends
