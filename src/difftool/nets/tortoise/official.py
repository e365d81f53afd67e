"""The names and layouts of our tensors in the official checkpoints."""

from __future__ import annotations

import re
from functools import partial

from torch import Tensor

from ..official import JOINED, SAME, Checkpoint, Layout, Shape, Shapes
from .autoregressive import ConditioningEncoder, UnifiedVoice
from .clvp import CLVP, ROTARY
from .diffusion import ContextualEmbedder, DiffusionTts
from .dvae import DiscreteEncoder
from .latents import RandomLatents
from .vocoder import UnivNet

POINTWISE = SAME._replace(shapes=lambda s: ((*s, 1),), ours=lambda w: w.squeeze(-1))
"""A convolution over one frame; a linear layer here."""
TRANSPOSED = SAME._replace(shapes=lambda s: (s[::-1],), ours=lambda w: w.T)
"""GPT-2's linear layers are (in, out)."""


def _taps(shape: Shape) -> tuple[Shape, ...]:
    out, taps = shape
    return ((out, taps // 3, 3),)


TAPS = SAME._replace(shapes=_taps, ours=lambda w: w.transpose(1, 2).flatten(1))
"""The layout of `Conv3`."""


def _gain_and_direction(shape: Shape) -> tuple[Shape, ...]:
    return (shape[0], *[1] * (len(shape) - 1)), shape


def _normalised(g: Tensor, v: Tensor) -> Tensor:
    lengths = v.flatten(1).norm(dim=1).view_as(g)
    return g * v / lengths


FOLDED = Layout(lambda name: (f"{name}_g", f"{name}_v"), _gain_and_direction, _normalised)
"""Weight normalisation (Salimans & Kingma 2016, arXiv:1602.07868)."""


_POINTWISE = (r".*\b(qkv|proj_out)\.weight", POINTWISE)

AUTOREGRESSIVE_NAMES = (
    (r"^text_positions\.", "text_pos_embedding.emb."),
    (r"^code_positions\.", "mel_pos_embedding.emb."),
    (r"^code_(embedding|head)\.", r"mel_\1."),
    (r"^blocks\.", "gpt.h."),
    (r"^ln_f\.", "gpt.ln_f."),
)
DIFFUSION_NAMES = (
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
)
CLVP_NAMES = (
    (r"^(text|speech)\.emb\.", r"\1_emb."),
    (r"^(text|speech)\.to_latent\.", r"to_\1_latent."),
    (r"^(text|speech)\.", r"\1_transformer.transformer."),
    (r"\bblocks\.(\d+)\.norm\.", r"attn_layers.layers.\1.0.0."),
    (r"\bblocks\.(\d+)\.gated\.", r"attn_layers.layers.\1.1.wrap.net.0.proj."),
    (r"\bblocks\.(\d+)\.out\.", r"attn_layers.layers.\1.1.wrap.net.3."),
    (r"\bblocks\.(\d+)\.", r"attn_layers.layers.\1.1.wrap."),
)
VOCODER_NAMES = (
    (r"\binput_conv\.", "input_conv.0."),
    (r"\bresidual_convs\.(\d)\.second\.", r"residual_convs.\1.3."),
    (r"\bresidual_convs\.(\d)\.first\.", r"residual_convs.\1.1."),
    (r"\bconvt_pre\.", "convt_pre.1."),
    (r"\bconv_blocks\.(\d)\.", r"conv_blocks.\1.1."),
    (r"\bconv_post\.", "conv_post.1."),
)


def _heads_of_text(shapes: Shapes) -> Shapes:
    """The text head of the decoder, used only in training."""
    rows = shapes["text_embedding.weight"]
    return {"text_head.weight": rows, "text_head.bias": rows[:1]}


def _codes_without_latents(shapes: Shapes) -> Shapes:
    """The layers of the diffusion for codes without latents, and its mel head."""
    converter = {}
    for name, shape in shapes.items():
        block = re.match(r"latent_conditioner\.([123])\.(.*)", name)
        if block is not None:
            converter[f"code_converter.{int(block[1]) - 1}.{block[2]}"] = shape
    dim, mels = shapes["inp_block.weight"][:2]
    codes = (8193, shapes["code_norm.weight"][0])
    return {"code_embedding.weight": codes, **converter, "mel_head.weight": (mels, dim, 3), "mel_head.bias": (mels,)}


def _decoder_of_codes(shapes: Shapes) -> Shapes:
    """The way back from codes to mels, and averages of the codes, used only in training the DVAE itself."""
    dim, codes = shapes["codebook.embed"]
    hidden, mels, _ = shapes["encoder.0.0.weight"]
    wide = 2 * hidden
    made: Shapes = {"codebook.cluster_size": (codes,), "codebook.embed_avg": (dim, codes)}
    made["decoder.0.weight"] = (wide, dim, 1)
    made["decoder.4.0.conv.weight"] = (wide, wide, 3)
    made["decoder.5.0.conv.weight"] = (hidden, wide, 3)
    made["decoder.6.weight"] = (mels, hidden, 1)
    for name in ("0", "4.0.conv", "5.0.conv", "6"):
        made[f"decoder.{name}.bias"] = made[f"decoder.{name}.weight"][:1]
    for name, shape in shapes.items():
        residual = re.match(r"encoder\.(\d)\.net", name)
        if residual is not None:
            there = int(residual[1]) - 1
            made[f"decoder.{there}{name[9:]}"] = shape
    return made


def _frequencies(shapes: Shapes) -> Shapes:
    """The rotary frequencies of CLVP, which follow from a formula."""
    where = "transformer.attn_layers.rotary_pos_emb.inv_freq"
    return {f"{side}_transformer.{where}": (ROTARY // 2,) for side in ("text", "speech")}


AUTOREGRESSIVE = Checkpoint(
    {"autoregressive": ("", UnifiedVoice), "conditioning_encoder": ("conditioning_encoder.", ConditioningEncoder)},
    AUTOREGRESSIVE_NAMES,
    ((r".*\bc_\w+\.weight", TRANSPOSED), (r".*\binit\.weight", POINTWISE), _POINTWISE),
    _heads_of_text,
    legacy=r"gpt\.h\.\d+\.attn\.(masked_)?bias",
)
DIFFUSION = Checkpoint(
    {"diffusion": ("", DiffusionTts), "contextual_embedder": ("contextual_embedder.", ContextualEmbedder)},
    DIFFUSION_NAMES,
    (
        (r".*\b(inp_block|latent_conv|conv_out)\.weight", TAPS),
        (r".*\b(conv_in|integrating_conv)\.weight", POINTWISE),
        _POINTWISE,
    ),
    _codes_without_latents,
)
CLVP2 = Checkpoint({"clvp": ("", CLVP)}, CLVP_NAMES, ((r".*\bto_qkv\.weight", JOINED),), _frequencies)
VOCODER = Checkpoint({"vocoder": ("", UnivNet)}, VOCODER_NAMES, ((r".*\.weight", FOLDED),), inside="model_g")
DVAE = Checkpoint({"dvae": ("", DiscreteEncoder)}, ((r"^codebook$", "codebook.embed"),), unused=_decoder_of_codes)
CHECKPOINTS: dict[str, Checkpoint] = {
    "autoregressive.pth": AUTOREGRESSIVE,
    "diffusion_decoder.pth": DIFFUSION,
    "clvp2.pth": CLVP2,
    "vocoder.pth": VOCODER,
    "rlg_auto.pth": Checkpoint({"random_autoregressive": ("", RandomLatents)}),
    "rlg_diffuser.pth": Checkpoint({"random_diffusion": ("", partial(RandomLatents, dim=2048))}),
    "dvae.pth": DVAE,
}
