"""A CLIP tokenizer, trained on captions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from ...files import replace_folder, temporary, write_json, write_text

SPLIT = r"(?i)'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
"""CLIP's words: the end of a short form, letters, one digit, or punctuation."""
SHORTEST, LONGEST, WORDS = 32, 77, 4000
"""Least and most tokens of a prompt, and most words of the captions that get their own token."""
END = "</w>"
"""Ends the last token of a word."""


def write_tokenizer(folder: Path, captions: Sequence[str], tokens: int | None = None) -> None:
    """Writes a CLIP tokenizer, as files for any version of transformers: each word of the captions is one token, other
    words are spelled. `tokens` is the length of a prompt, by default one that suits the captions. The folder is
    replaced in one move."""
    split = [*_words(captions)]
    counts = Counter(word for words in split for word in words)
    vocabulary, merges = _trained([word for word, _ in counts.most_common(WORDS)])
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    fresh = temporary(folder)
    fresh.mkdir(parents=True)
    write_json(fresh / "vocab.json", {token: k for k, token in enumerate(vocabulary)})
    write_text(fresh / "merges.txt", "".join(f"{line}\n" for line in ["#version: 0.2", *merges]))
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    special |= {"pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    write_json(fresh / "special_tokens_map.json", special)
    most = length(captions) if tokens is None else tokens
    about = {"tokenizer_class": "CLIPTokenizer", "model_max_length": most, "do_lower_case": True}
    write_json(fresh / "tokenizer_config.json", {**about, "errors": "replace", "add_prefix_space": False, **special})
    replace_folder(fresh, folder)


def length(captions: Sequence[str]) -> int:
    """Length of a prompt in tokens: twice the words of the longest caption, as unknown words are spelled."""
    longest = max(map(len, _words(captions)), default=0)
    return min(max(2 * longest, SHORTEST), LONGEST)


def _words(captions: Sequence[str]) -> Iterator[list[str]]:
    """The words of each caption as CLIP reads them, in the letters that stand for bytes in its vocabulary."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    normal = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    words = pre_tokenizers.Split(Regex(SPLIT), "removed", invert=True)
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    splitter = pre_tokenizers.Sequence([words, letters])
    for caption in captions:
        yield [word for word, _ in splitter.pre_tokenize_str(normal.normalize_str(caption))]


def _trained(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909) until each word is one token: (tokens, merges)."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    # known beforehand, since the trainer numbers those that it finds in any order, and ties are decided by number
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = [*letters, *(f"{letter}{END}" for letter in letters)]
    trainer = trainers.BpeTrainer(
        vocab_size=len(known) + sum(map(len, words)),
        special_tokens=known,
        end_of_word_suffix=END,
        show_progress=False,
    )
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=END))
    tokenizer.train_from_iterator(words, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    # a merge is a text in older releases of tokenizers
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return sorted(model["vocab"], key=model["vocab"].get), merges


def tokens_of(folder: Path, captions: Sequence[str]) -> tuple[Tensor, Tensor, int, tuple[int, int]]:
    """(tokens (N, L) of captions, tokens (L,) of an empty caption, size of the vocabulary, (first, last token))."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(str(folder))

    def read(texts: Sequence[str]) -> Tensor:
        out = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
        return out["input_ids"]

    ends = int(tokenizer.bos_token_id), int(tokenizer.eos_token_id)  # type: ignore[arg-type]
    return read(captions), read([""])[0], len(tokenizer), ends
