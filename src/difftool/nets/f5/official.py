"""The official checkpoints of F5-TTS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ...errors import DifftoolError, Exit
from ..official import JOINED, SAME, Checkpoint, Layout, Stored, loaded, stored_in
from .architecture import ARCHITECTURES, Architecture
from .dit import HEAD, DiT, TimeEmbedding
from .text import TextEmbedding

VOCABULARY = 2545
"""Tokens of the official checkpoints."""

NAMES = (
    (r"^text\.tokens\.", "text_embed.text_embed."),
    (r"^text\.blocks\.", "text_embed.text_blocks."),
    (r"\.depthwise\.", ".dwconv."),
    (r"^(text_embed.*)\.widen\.", r"\1.pwconv1."),
    (r"^(text_embed.*)\.narrow\.", r"\1.pwconv2."),
    (r"\.response\.", ".grn."),
    (r"^time\.enter\.", "time_embed.time_mlp.0."),
    (r"^time\.leave\.", "time_embed.time_mlp.2."),
    (r"^time\.blocks\.(\d+)\.", r"transformer_blocks.\1.attn_norm.linear."),
    (r"^time\.out\.", "norm_out.linear."),
    (r"^dit\.(state|given)\.", "input_embed.proj."),
    (r"^dit\.positions\.first\.", "input_embed.conv_pos_embed.conv1d.0."),
    (r"^dit\.positions\.second\.", "input_embed.conv_pos_embed.conv1d.2."),
    (r"^dit\.out\.", "proj_out."),
    (r"^dit\.blocks\.", "transformer_blocks."),
    (r"\.qkv\.", ".attn.to_qkv."),
    (r"^(transformer_blocks\.\d+)\.out\.", r"\1.attn.to_out.0."),
    (r"\.widen\.", ".ff.ff.0.0."),
    (r"\.narrow\.", ".ff.ff.2."),
)
PREFIXES = r"(ema_model\.|module\.|transformer\.)*"
"""What the package, its average and DDP put before a name."""
LEGACY = rf"{PREFIXES}(initted|step|update|mel_spec\..*)"
AVERAGE_OR_LAST = "ema_model_state_dict model_state_dict"
FLAT = SAME._replace(shapes=lambda s: ((1, 1, *s),), ours=lambda w: w.flatten())


def checkpoint_of(architecture: Architecture, vocabulary: int = VOCABULARY) -> Checkpoint:
    """The official file of an architecture, with a number of tokens. Its networks are "text", "time" and "dit"."""
    mels = architecture.mels
    columns = 2 * mels + architecture.text
    layouts = (
        (r"dit\.state\.weight", _columns(slice(mels), columns)),
        (r"dit\.given\.weight", _columns(slice(mels, None), columns)),
        (r".*\.qkv\.\w+", JOINED),
        (r".*\.response\.\w+", FLAT),
    )
    parts = {
        "text": ("text.", partial(TextEmbedding, architecture, vocabulary)),
        "time": ("time.", partial(TimeEmbedding, architecture)),
        "dit": ("dit.", partial(DiT, architecture)),
    }
    return Checkpoint(parts, NAMES, layouts, constants=_frequencies, legacy=LEGACY, inside=AVERAGE_OR_LAST)


def _columns(kept: slice, total: int) -> Layout:
    """Some of the columns of a matrix."""
    return SAME._replace(shapes=lambda s: ((s[0], total),), ours=lambda w: w[:, kept])


def _frequencies() -> Mapping[str, Tensor]:
    exponents = torch.arange(0, HEAD, 2) / HEAD
    return {"rotary_embed.inv_freq": 10_000.0**-exponents}


def load(
    name: str,
    path: Path,
    architecture: Architecture,
    vocabulary: int = VOCABULARY,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """The network "text", "time" or "dit" of an official file, or of one fine-tuned from it, ready to run.

    Raises DifftoolError 4 for a file that is missing, damaged, of another architecture or vocabulary, or contains code.
    """
    hint = f"pass another file, or its architecture: {', '.join(ARCHITECTURES)}"
    row = checkpoint_of(architecture, vocabulary)
    found = stored_in(path, row, hint)
    stored = {re.sub(f"^{PREFIXES}", "", name): tensor for name, tensor in found.items()}
    _recognise(stored, path, vocabulary)
    return loaded(name, row, stored, path, hint, device=device, dtype=dtype)


def _recognise(stored: Mapping[str, Stored], path: Path, vocabulary: int) -> None:
    """Raises DifftoolError 4, with the reason, for files that are often taken for one of F5-TTS, or have another
    vocabulary."""
    if any(name.startswith("layers.") for name in stored):
        raise DifftoolError(Exit.FILE, f"{path} is a checkpoint of E2 TTS", "pass one of F5-TTS")
    embedding = stored.get("text_embed.text_embed.weight")
    if embedding and embedding.shape[0] != vocabulary + 1:
        tokens = embedding.shape[0] - 1
        message = f"{path} was trained with {tokens:,} tokens, but the vocabulary has {vocabulary:,}"
        raise DifftoolError(Exit.FILE, message, "pass the vocab.txt that it was trained with")
