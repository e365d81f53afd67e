"""Conditioning by family: how a prompt is encoded, and how the network is called."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..core.predict import Net
from .encoders import T5_TOKENS, Conditioning, encode_clip, encode_t5, padded, windows
from .pipeline import Pipeline, is_clip
from .prompts import Prompt

log = logging.getLogger(__name__)


def encode_prompts(pipeline: Pipeline, prompts: Sequence[Prompt | None], skip: int = 1) -> list[Conditioning]:
    """The conditioning of each of these prompts, (1, ...), all of one length. None stands for no prompt. `skip` counts
    CLIP's layers from the end, 1 is the last."""
    empty = Prompt((), ())
    given = [prompt or empty for prompt in prompts]
    rows = _tokens(pipeline, given)
    conditionings = READ[pipeline.family](pipeline, given, rows, skip)
    if pipeline.zeros_for_nothing:
        for k, prompt in enumerate(prompts):
            if prompt is None:
                words, whole = conditionings[k]
                zeros = None if whole is None else torch.zeros_like(whole)
                conditionings[k] = Conditioning(torch.zeros_like(words), zeros)
    return conditionings


def _tokens(pipeline: Pipeline, prompts: Sequence[Prompt]) -> list[list]:
    """The windows of each prompt for each CLIP, as many as the longest prompt needs."""
    clips = [
        (tokenizer, encoder.config.max_position_embeddings)
        for tokenizer, encoder in zip(pipeline.tokenizers, pipeline.encoders, strict=True)
        if is_clip(encoder)
    ]
    counts = [len(windows(*reader, prompt).ids) for reader in clips for prompt in prompts]
    most = max(counts, default=1)
    return [[windows(*reader, prompt, most) for reader in clips] for prompt in prompts]


def _sd(pipeline: Pipeline, prompts: Sequence[Prompt], rows: list[list], skip: int) -> list[Conditioning]:
    encoder = pipeline.encoders[0]
    return [Conditioning(encode_clip(encoder, row[0], skip, normed=True, device=pipeline.device)[0]) for row in rows]


def _sdxl(pipeline: Pipeline, prompts: Sequence[Prompt], rows: list[list], skip: int) -> list[Conditioning]:
    return [Conditioning(*_two(pipeline, row, skip, wholes=1)) for row in rows]


def _two(pipeline: Pipeline, row: list, skip: int, wholes: int) -> tuple[Tensor, Tensor]:
    """The vectors of both CLIPs side by side, from the last layer but one (which these families were trained on) or an
    earlier one, and the pooled vectors of the last `wholes` of them."""
    pairs = zip(pipeline.encoders[:2], row, strict=True)
    layer = max(skip, 2)
    both = [encode_clip(encoder, tokens, layer, normed=False, device=pipeline.device) for encoder, tokens in pairs]
    words = torch.cat([words for words, _ in both], dim=-1)
    whole = torch.cat([whole for _, whole in both[-wholes:]], dim=-1)
    return words, whole


def _sd3(pipeline: Pipeline, prompts: Sequence[Prompt], rows: list[list], skip: int) -> list[Conditioning]:
    width, length = pipeline.net.config.joint_attention_dim, T5_TOKENS[pipeline.kind]
    conditionings = []
    for prompt, row in zip(prompts, rows, strict=True):
        words, whole = _two(pipeline, row, skip, wholes=2)
        more = _t5(pipeline, prompt, 2, length)
        if more is None:
            more = words.new_zeros(1, length, width)
        both = torch.cat([padded(words, width), more.to(words)], dim=1)
        conditionings.append(Conditioning(both, whole))
    return conditionings


def _flux(pipeline: Pipeline, prompts: Sequence[Prompt], rows: list[list], skip: int) -> list[Conditioning]:
    conditionings = []
    for prompt, row in zip(prompts, rows, strict=True):
        _, whole = encode_clip(pipeline.encoders[0], row[0], 1, normed=True, device=pipeline.device)
        words = _t5(pipeline, prompt, 1, T5_TOKENS[pipeline.kind])
        assert words is not None
        conditionings.append(Conditioning(words, whole))
    return conditionings


def _t5(pipeline: Pipeline, prompt: Prompt, at: int, length: int) -> Tensor | None:
    if len(pipeline.encoders) <= at or pipeline.encoders[at] is None:
        return None
    words, left = encode_t5(pipeline.encoders[at], pipeline.tokenizers[at], prompt, length, pipeline.device)
    if left:
        log.warning(f"the prompt is cut at T5's limit of {length} tokens; the last {left} are ignored")
    return words


READ: dict[str, Callable[[Pipeline, Sequence[Prompt], list[list], int], list[Conditioning]]] = {
    "sd": _sd,
    "sdxl": _sdxl,
    "sd3": _sd3,
    "flux": _flux,
}


def caller(pipeline: Pipeline, width: int, height: int, guidance: float, skip: Sequence[int] | None = None) -> Net:
    """The network as the engine calls it, net(x, t, words=..., whole=...), for pictures of this size. `guidance` goes
    to networks with a guidance embedding, and SD 3 can `skip` layers."""
    net, dtype = pipeline.net, pipeline.dtype
    if pipeline.family == "sd3":
        more = {} if skip is None else {"skip_layers": [*skip]}
        return lambda x, t, words, whole: net(
            hidden_states=x,
            timestep=t,
            encoder_hidden_states=words,
            pooled_projections=whole,
            return_dict=False,
            **more,
        )[0]
    if pipeline.family == "flux":
        return _flux_caller(pipeline, guidance)
    named = {}
    if pipeline.embedded:
        named["timestep_cond"] = guidance_embedding(guidance - 1, net.config.time_cond_proj_dim).to(
            pipeline.device, dtype
        )
    # SDXL is conditioned on original size, crop offset and target size
    ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=dtype, device=pipeline.device)

    def unet(x: Tensor, t: Tensor, words: Tensor, whole: Tensor | None = None) -> Tensor:
        more = {name: value.expand(len(x), -1) for name, value in named.items()}
        if whole is not None:
            more["added_cond_kwargs"] = {"text_embeds": whole, "time_ids": ids.expand(len(x), -1)}
        return net(x, t, encoder_hidden_states=words, return_dict=False, **more)[0]

    return unet


def _flux_caller(pipeline: Pipeline, guidance: float) -> Net:
    net, dtype, device = pipeline.net, pipeline.dtype, pipeline.device
    scale = torch.tensor([guidance], device=device) if pipeline.embedded else None

    def transformer(x: Tensor, t: Tensor, words: Tensor, whole: Tensor) -> Tensor:
        b, c, h, w = x.shape
        # FLUX takes patches of 2x2 as a sequence, and their positions
        patches = x.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, 4 * c)
        places = torch.zeros(h // 2, w // 2, 3, device=device, dtype=dtype)
        places[..., 1] += torch.arange(h // 2, device=device)[:, None]
        places[..., 2] += torch.arange(w // 2, device=device)[None, :]
        out = net(
            hidden_states=patches,
            timestep=t.to(dtype),
            guidance=None if scale is None else scale.expand(b),
            encoder_hidden_states=words,
            pooled_projections=whole,
            txt_ids=torch.zeros(words.shape[1], 3, device=device, dtype=dtype),
            img_ids=places.flatten(0, 1),
            return_dict=False,
        )[0]
        return out.reshape(b, h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)

    return transformer


def guidance_embedding(scale: float, width: int) -> Tensor:
    """(1, width): the guidance embedding of latent consistency models (Luo et al. 2023, arXiv:2310.04378)."""
    half = width // 2
    freqs = torch.exp(torch.arange(half, dtype=torch.float32) * (-math.log(10_000.0) / (half - 1)))
    angles = 1000.0 * scale * freqs
    return torch.nn.functional.pad(torch.cat([angles.sin(), angles.cos()]), (0, width % 2))[None]
