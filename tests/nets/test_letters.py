"""The letter-to-sound network, on words of the lexicon that it never saw."""

from __future__ import annotations

import zlib

import torch
from rapidfuzz.distance import Levenshtein

from difftool.models import ASSETS
from difftool.nets.mini.letters import LETTERS, LetterNet, numbered
from difftool.voice.engines.mini.words import lexicon, network

STRESS = str.maketrans("", "", "ˈˌ")


def test_words_that_it_never_saw() -> None:
    both = [pair for words in lexicon() for pair in words.items() if set(pair[0]) <= set(LETTERS) and len(pair[0]) > 2]
    held_back = [pair for pair in both if zlib.crc32(pair[0].encode()) % 50 == 0][::4]
    right = [readings.split(" ")[0].translate(STRESS) for _, readings in held_back]
    said = [sounds.translate(STRESS) for sounds in network().pronounce([word for word, _ in held_back])]
    assert len(right) > 700
    assert sum(map(Levenshtein.distance, right, said)) / sum(map(len, right)) < 0.06


def test_a_word_does_not_depend_on_those_beside_it() -> None:
    words = ["blorf", "quandrification", "e"]
    assert network().pronounce(words) == [network().pronounce([word])[0] for word in words]


def test_repeated_phonemes_are_one_and_blanks_none() -> None:
    net = LetterNet("abc", width=8, blocks=1)
    assert net._read([0, 1, 1, 0, 1, 2, 2, 3, 0]) == "aabc"


def test_other_signs_are_left_out() -> None:
    assert numbered(["a-b", "cdé"]).tolist() == [[1, 2], [3, 4]]


def test_it_is_small() -> None:
    assert sum(weight.numel() for weight in network().parameters()) <= 300_000
    assert (ASSETS / "mini" / "letters.safetensors").stat().st_size <= 600_000
    assert all(weight.dtype == torch.float32 for weight in network().parameters())
