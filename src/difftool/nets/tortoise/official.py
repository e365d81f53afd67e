"""The official checkpoints: what they call what our networks hold, and how they lay it out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .autoregressive import ConditioningEncoder, UnifiedVoice
from .clvp import CLVP, ROTARY
from .diffusion import ContextualEmbedder, DiffusionTts
from .latents import RandomLatents
from .vocoder import UnivNet

Shape = tuple[int, ...]
Shapes = dict[str, Shape]


class Layout(NamedTuple):
    """How one of our tensors is laid out in a checkpoint: the names of the tensors there that make it, by the official
    name; their shapes, by our shape; and ours, from theirs."""

    names: Callable[[str], tuple[str, ...]]
    shapes: Callable[[Shape], tuple[Shape, ...]]
    ours: Callable[..., Tensor]


SAME = Layout(lambda name: (name,), lambda s: (s,), lambda w: w)
POINTWISE = SAME._replace(shapes=lambda s: ((*s, 1),), ours=lambda w: w.squeeze(-1))
"""A convolution over one frame, for us a linear layer."""
TRANSPOSED = SAME._replace(shapes=lambda s: (s[::-1],), ours=lambda w: w.T)
"""GPT-2's linear layers are (in, out)."""
TAPS = SAME._replace(shapes=lambda s: ((s[0], s[1] // 3, 3),), ours=lambda w: w.transpose(1, 2).flatten(1))
"""Of `Conv3`."""
JOINED = Layout(
    lambda name: tuple(name.replace("to_qkv", f"to_{part}") for part in "qkv"),
    lambda s: ((s[0] // 3, s[1]),) * 3,
    lambda *parts: torch.cat(parts),
)
FOLDED = Layout(
    lambda name: (f"{name}_g", f"{name}_v"),
    lambda s: ((s[0], *[1] * (len(s) - 1)), s),
    lambda g, v: g * v / v.flatten(1).norm(dim=1).view(-1, *[1] * (v.ndim - 1)),
)
"""Weight normalisation (Salimans & Kingma 2016, arXiv:1602.07868)."""


class Checkpoint(NamedTuple):
    """An official file, which may hold more than one of our networks."""

    parts: Mapping[str, tuple[str, Callable[..., nn.Module]]]
    """Our networks in it: by name, the prefix of their tensors there and the class."""
    names: tuple[tuple[str, str], ...] = ()
    """Substitutions, one after the other, that turn our names into the official ones."""
    layouts: tuple[tuple[str, Layout], ...] = ()
    """By our name (prefix and all), the first pattern that fits; none: the same."""
    unused: Callable[[Shapes], Shapes] = lambda shapes: {}
    """What else must be there, though nothing here needs it, from the official shapes of what is needed."""
    legacy: str = "(?!)"
    """What may be there, and is dropped."""
    inside: str | None = None
    """The key under which a file that holds more keeps it."""


_POINTWISE = (r".*\b(qkv|proj_out)\.weight", POINTWISE)

CHECKPOINTS: dict[str, Checkpoint] = {
    "autoregressive.pth": Checkpoint(
        {
            "autoregressive": ("", UnifiedVoice),
            "conditioning_encoder": ("conditioning_encoder.", ConditioningEncoder),
        },
        (
            (r"^text_positions\.", "text_pos_embedding.emb."),
            (r"^code_positions\.", "mel_pos_embedding.emb."),
            (r"^code_(embedding|head)\.", r"mel_\1."),
            (r"^blocks\.", "gpt.h."),
            (r"^ln_f\.", "gpt.ln_f."),
        ),
        ((r".*\bc_\w+\.weight", TRANSPOSED), (r".*\binit\.weight", POINTWISE), _POINTWISE),
        lambda shapes: {
            "text_head.weight": shapes["text_embedding.weight"],
            "text_head.bias": shapes["text_embedding.weight"][:1],
        },
        legacy=r"gpt\.h\.\d+\.attn\.(masked_)?bias",
    ),
    "diffusion_decoder.pth": Checkpoint(
        {
            "diffusion": ("", DiffusionTts),
            "contextual_embedder": ("contextual_embedder.", ContextualEmbedder),
        },
        (
            (r"^latent_conv\.", "latent_conditioner.0."),
            *((rf"^latent_attn\.{i}\.", f"latent_conditioner.{i + 1}.") for i in range(4)),
            *((rf"^contextual_embedder\.attn\.{i}\.", f"contextual_embedder.{i + 2}.") for i in range(5)),
            (r"^contextual_embedder\.conv\.", "contextual_embedder."),
            (r"^integrator\.", "conditioning_timestep_integrator."),
            (r"\bres\.", "resblk."),
            (r"\.norm_in\.", ".in_layers.0."),
            (r"\.conv_in\.", ".in_layers.2."),
            (r"\.time\.", ".emb_layers.1."),
            (r"\.norm_out\.", ".out_layers.0."),
            (r"\.conv_out\.", ".out_layers.3."),
            (r"^norm_out\.", "out.0."),
            (r"^conv_out\.", "out.2."),
            (r"\bpositions\.weight$", "relative_pos_embeddings.relative_attention_bias.weight"),
        ),
        (
            (r".*\b(inp_block|latent_conv|conv_out)\.weight", TAPS),
            (r".*\b(conv_in|integrating_conv)\.weight", POINTWISE),
            _POINTWISE,
        ),
        lambda shapes: {
            "code_embedding.weight": (8193, shapes["code_norm.weight"][0]),
            **{
                f"code_converter.{i}.{name.split('.', 2)[2]}": shape
                for i in range(3)
                for name, shape in shapes.items()
                if name.startswith(f"latent_conditioner.{i + 1}.")
            },
            "mel_head.weight": (*shapes["inp_block.weight"][1::-1], 3),
            "mel_head.bias": shapes["inp_block.weight"][1:2],
        },
    ),
    "clvp2.pth": Checkpoint(
        {"clvp": ("", CLVP)},
        (
            (r"^(text|speech)\.emb\.", r"\1_emb."),
            (r"^(text|speech)\.to_latent\.", r"to_\1_latent."),
            (r"^(text|speech)\.", r"\1_transformer.transformer."),
            (r"\bblocks\.(\d+)\.norm\.", r"attn_layers.layers.\1.0.0."),
            (r"\bblocks\.(\d+)\.gated\.", r"attn_layers.layers.\1.1.wrap.net.0.proj."),
            (r"\bblocks\.(\d+)\.out\.", r"attn_layers.layers.\1.1.wrap.net.3."),
            (r"\bblocks\.(\d+)\.", r"attn_layers.layers.\1.1.wrap."),
        ),
        ((r".*\bto_qkv\.weight", JOINED),),
        lambda shapes: {
            f"{side}_transformer.transformer.attn_layers.rotary_pos_emb.inv_freq": (ROTARY // 2,)
            for side in ("text", "speech")
        },
    ),
    "vocoder.pth": Checkpoint(
        {"vocoder": ("", UnivNet)},
        (
            (r"\binput_conv\.", "input_conv.0."),
            (r"\bresidual_convs\.(\d)\.second\.", r"residual_convs.\1.3."),
            (r"\bresidual_convs\.(\d)\.first\.", r"residual_convs.\1.1."),
            (r"\bconvt_pre\.", "convt_pre.1."),
            (r"\bconv_blocks\.(\d)\.", r"conv_blocks.\1.1."),
            (r"\bconv_post\.", "conv_post.1."),
        ),
        ((r".*\.weight", FOLDED),),
        inside="model_g",
    ),
    "rlg_auto.pth": Checkpoint({"random_autoregressive": ("", RandomLatents)}),
    "rlg_diffuser.pth": Checkpoint({"random_diffusion": ("", partial(RandomLatents, dim=2048))}),
}


def sources(
    checkpoint: Checkpoint, nets: Mapping[str, nn.Module]
) -> dict[str, tuple[Layout, tuple[str, ...], tuple[Shape, ...]]]:
    """For each tensor of our networks (by the name they have in `checkpoint.parts`), by its prefixed name: the layout,
    and the names and shapes of the official tensors that make it."""
    found = {}
    for name, net in nets.items():
        for own, tensor in net.state_dict(prefix=checkpoint.parts[name][0]).items():
            theirs = own
            for pattern, replacement in checkpoint.names:
                theirs = re.sub(pattern, replacement, theirs)
            layout = next((row for pattern, row in checkpoint.layouts if re.fullmatch(pattern, own)), SAME)
            found[own] = layout, layout.names(theirs), layout.shapes(tuple(tensor.shape))
    return found


def shapes(checkpoint: Checkpoint, nets: Mapping[str, nn.Module]) -> Shapes:
    """Name and shape of every tensor that an official file has."""
    needed = {
        name: shape
        for _, names, theirs in sources(checkpoint, nets).values()
        for name, shape in zip(names, theirs, strict=True)
    }
    return needed | checkpoint.unused(needed)


def ours(checkpoint: Checkpoint, nets: Mapping[str, nn.Module], official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors, by prefixed name, from those of an official file that has the right `shapes`."""
    return {
        own: layout.ours(*(official[name].float() for name in names))
        for own, (layout, names, _) in sources(checkpoint, nets).items()
    }
