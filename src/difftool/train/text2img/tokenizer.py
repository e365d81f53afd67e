"""A CLIP tokenizer, trained on captions."""

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
"""CLIP's words: letters, one digit, or punctuation."""
SHORTEST, LONGEST, WORDS = 32, 77, 4000
"""Least and most tokens of a prompt, and most words of the captions that get their own token."""


def write_tokenizer(folder: Path, captions: Sequence[str], tokens: int | None = None) -> None:
    """Writes a CLIP tokenizer, as files for any version of transformers: each word of the captions is one token, other
    words are spelled. `tokens` is the length of a prompt, by default one that suits the captions. The folder is
    replaced in one move."""
    letters = _byte_letters()
    # the most common words, as letters that stand for bytes
    counts = Counter(word for caption in captions for word in re.findall(SPLIT, caption.lower()))
    common = [word.encode() for word, _ in counts.most_common(WORDS)]
    words = ["".join(letters[byte] for byte in word) for word in common]
    merges = pairs(words)
    # the vocabulary: letters, letters at the end of a word, merged pairs, special tokens
    ends = [f"{letter}</w>" for letter in letters]
    merged = [first + second for first, second in merges]
    vocabulary = dict.fromkeys([*letters, *ends, *merged, "<|startoftext|>", "<|endoftext|>"])
    fresh = temporary(folder)
    fresh.mkdir(parents=True)
    write_json(fresh / "vocab.json", {token: k for k, token in enumerate(vocabulary)})
    lines = [f"{first} {second}\n" for first, second in merges]
    write_text(fresh / "merges.txt", "#version: 0.2\n" + "".join(lines))
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    special |= {"pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    write_json(fresh / "special_tokens_map.json", special)
    most = length(captions) if tokens is None else tokens
    about = {"tokenizer_class": "CLIPTokenizer", "model_max_length": most, "do_lower_case": True}
    write_json(fresh / "tokenizer_config.json", {**about, "errors": "replace", "add_prefix_space": False, **special})
    replace_folder(fresh, folder)


def length(captions: Sequence[str]) -> int:
    """Length of a prompt in tokens: twice the words of the longest caption, as unknown words are spelled."""
    longest = max((len(re.findall(SPLIT, caption)) for caption in captions), default=0)
    return min(max(2 * longest, SHORTEST), LONGEST)


def pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909) until each word is one token: the merged pairs, the
    most common first, ties in alphabetical order."""
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
    """The 256 letters of GPT-2's byte-level BPE, by byte: printable bytes stand for themselves."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def tokens_of(folder: Path, captions: Sequence[str]) -> tuple[Tensor, Tensor, int, tuple[int, int]]:
    """(tokens (N, L) of captions, tokens (L,) of an empty caption, size of the vocabulary, (first, last token))."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(str(folder))

    def read(texts: Sequence[str]) -> Tensor:
        out = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
        return out["input_ids"]

    ends = int(tokenizer.bos_token_id), int(tokenizer.eos_token_id)  # type: ignore[arg-type]
    return read(captions), read([""])[0], len(tokenizer), ends
