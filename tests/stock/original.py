"""The original's networks with given weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from tiny_tortoise import CODES, STOCK, TOKENS, integers, noise
from torch import Tensor
from tortoise.api import TextToSpeech, load_discrete_vocoder_diffuser
from tortoise.models.autoregressive import UnifiedVoice
from tortoise.models.clvp import CLVP
from tortoise.models.diffusion_decoder import DiffusionTts
from tortoise.models.random_latent_generator import RandomLatentConverter
from tortoise.models.vocoder import UnivNetGenerator
from tortoise.utils.tokenizer import VoiceBpeTokenizer

from difftool.core import START, Noise
from difftool.nets.tortoise.diffusion import frames


def original(file: str, weights: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> Any:
    """The network of an official file as `tortoise.api` makes it, but for its sizes."""
    classes: dict[str, tuple[Any, dict[str, Any]]] = {
        "autoregressive.pth": (
            UnifiedVoice,
            {
                "max_mel_tokens": 604,
                "max_text_tokens": 402,
                "max_conditioning_inputs": 2,
                "layers": 30,
                "model_dim": 1024,
                "heads": 16,
                "number_text_tokens": 255,
                "start_text_token": 255,
                "checkpointing": False,
                "train_solo_embeddings": False,
            },
        ),
        "diffusion_decoder.pth": (
            DiffusionTts,
            {
                "model_channels": 1024,
                "num_layers": 10,
                "in_channels": 100,
                "out_channels": 200,
                "in_latent_channels": 1024,
                "in_tokens": 8193,
                "dropout": 0,
                "use_fp16": False,
                "num_heads": 16,
                "layer_drop": 0,
                "unconditioned_percentage": 0,
            },
        ),
        "clvp2.pth": (
            CLVP,
            {
                "dim_text": 768,
                "dim_speech": 768,
                "dim_latent": 768,
                "num_text_tokens": 256,
                "text_enc_depth": 20,
                "text_seq_len": 350,
                "text_heads": 12,
                "num_speech_tokens": 8192,
                "speech_enc_depth": 20,
                "speech_heads": 12,
                "speech_seq_len": 430,
                "use_xformers": True,
            },
        ),
        "vocoder.pth": (UnivNetGenerator, {}),
        "rlg_auto.pth": (RandomLatentConverter, {"channels": 1024}),
        "rlg_diffuser.pth": (RandomLatentConverter, {"channels": 2048}),
    }
    make, official = classes[file]
    with warnings.catch_warnings(action="ignore"):
        net = make(**{**official, **sizes})
    net.load_state_dict(dict(weights), strict=file != "autoregressive.pth")
    net.requires_grad_(False)
    net.eval(**({"inference": True} if file == "vocoder.pth" else {}))
    return net


def outputs(net: Callable[[str], Any], steps: tuple[int, ...] = (30, 80)) -> Iterator[tuple[str, Tensor]]:
    """What `tiny_tortoise.outputs` yields, made by the original's networks, by official file."""
    decoder, diffusion = net("autoregressive.pth"), net("diffusion_decoder.pth")
    yield "conditioning_autoregressive", (voice := decoder.get_conditioning(noise(1, 2, 80, 50)[None]))
    yield "conditioning_diffusion", (tone := diffusion.get_conditioning(noise(2, 2, 100, 61)[None]))
    text = F.pad(integers(3, 3, 255, 1, TOKENS), (0, 1))
    codes = integers(4, 0, 8192, 1, CODES)
    lengths = torch.tensor([TOKENS + 1]), codes, torch.tensor([CODES * 1024])
    latents = decoder(voice, text, *lengths, return_latent=True, clip_inputs=False)
    yield "latents", latents
    yield "logits", decoder.mel_head(latents)
    del decoder
    yield "clvp", net("clvp2.pth")(text.repeat(3, 1), integers(5, 0, 8192, 3, 50))
    length = frames(CODES)
    x, t = noise(6, 1, 100, length), torch.tensor([777])
    told = {"precomputed_aligned_embeddings": diffusion.timestep_independent(latents, tone, length, False)}
    yield "diffusion", diffusion(x, t, **told)
    yield "diffusion_unconditional", diffusion(x, t, conditioning_free=True, **told)
    for n in steps:
        draw = Noise([7], (100, length))
        drawn = iter([draw(i) for i in range(n)])
        diffuser = load_discrete_vocoder_diffuser(desired_diffusion_steps=n, cond_free=n > 30, cond_free_k=2)
        with mock.patch("torch.randn_like", lambda x, drawn=drawn: next(drawn)):
            made = diffuser.p_sample_loop(
                diffusion, x.shape, noise=draw(START), model_kwargs=told, progress=False, device="cpu"
            )
        yield f"chain_{n}", made
    del diffusion
    vocoder = net("vocoder.pth")
    yield "vocoder", vocoder.inference(noise(8, 1, 100, 30) - 5, noise(9, 1, vocoder.noise_dim, 40))[:, 0]
    for name, file in (("random_autoregressive", "rlg_auto.pth"), ("random_diffusion", "rlg_diffuser.pth")):
        converter = net(file)
        with mock.patch("torch.randn", lambda n, dim, device: noise(10, n, dim)):
            yield name, converter(torch.zeros(1))


def losses(decoder: Any, voice: Tensor, text: Tensor, codes: Tensor) -> dict[str, float]:
    """The sums of -log p that the original's forward averages for one clip, with the text in the form in which `tts`
    speaks it, and without what it predicts after the first stop of either stream."""
    heads, heard = {"text": decoder.text_head, "codes": decoder.mel_head}, {}
    hooks = [
        head.register_forward_hook(lambda module, args, made, name=name: heard.update({name: made[0]}))
        for name, head in heads.items()
    ]
    spoken = F.pad(text, (0, 1))
    lengths = torch.tensor([spoken.shape[1]]), codes, torch.tensor([codes.shape[1] * 1024])
    means = decoder(voice, spoken, *lengths, clip_inputs=True)[:2]
    for hook in hooks:
        hook.remove()
    sums = {}
    for name, mean, row, stop in (("text", means[0], text, 0), ("codes", means[1], codes, decoder.stop_mel_token)):
        targets = F.pad(row[0], (0, len(heard[name]) - row.shape[1]), value=stop)
        each = F.cross_entropy(heard[name], targets, reduction="none")
        assert abs(each.mean() - mean) < 1e-5
        sums[name] = float(each[: row.shape[1] + 1].sum())
    return sums


def speaker(
    weights: Callable[[str], Mapping[str, Tensor]], sizes: Mapping[str, Any], *, kv_cache: bool, batch: int
) -> TextToSpeech:
    """The original's `TextToSpeech` on given weights, of given sizes."""
    tts = TextToSpeech.__new__(TextToSpeech)
    net = {file: original(file, weights(file), sizes.get(file, {})) for file in STOCK}
    net["autoregressive.pth"].post_init_gpt2_config(kv_cache=kv_cache)
    tts.autoregressive, tts.diffusion, tts.clvp, tts.vocoder, tts.rlg_auto, tts.rlg_diffusion = (
        net[file]
        for file in (
            "autoregressive.pth",
            "diffusion_decoder.pth",
            "clvp2.pth",
            "vocoder.pth",
            "rlg_auto.pth",
            "rlg_diffuser.pth",
        )
    )
    tts.autoregressive_batch_size, tts.tokenizer, tts.device = batch, VoiceBpeTokenizer(), torch.device("cpu")
    tts.enable_redaction, tts.half, tts.cvvp = False, False, None
    return tts


def speech(tts: TextToSpeech, text: str, **settings: Any) -> tuple[dict[str, Tensor], list[Tensor]]:
    """What the original says, (S,) each, and its stages on the way: the samples, CLVP's scores, the best mel."""
    stages: dict[str, list[Tensor]] = {}

    def keeping(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            stages.setdefault(name, []).append((args[0] if name == "mel" else result).clone())
            return result

        return call

    places = {"codes": (tts.autoregressive, "inference_speech"), "clvp": (tts.clvp, "forward")}
    places["mel"] = (tts.vocoder, "inference")
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        for name, (net, method) in places.items():
            stack.enter_context(mock.patch.object(net, method, keeping(name, getattr(net, method))))
        sound = tts.tts(text, verbose=False, **settings)
    most = max(part.shape[1] for part in stages["codes"])
    stages["codes"] = [F.pad(part, (0, most - part.shape[1]), value=8193) for part in stages["codes"]]
    sounds = [part.flatten() for part in (sound if isinstance(sound, list) else [sound])]
    return {name: torch.cat(parts) if name != "mel" else parts[0] for name, parts in stages.items()}, sounds
