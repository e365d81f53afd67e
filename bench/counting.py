"""What presets need, counted: parameters, and what is live at once besides them. The tables in `presets` hold what
these functions say, and a test holds them to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from meter import peak_of
from torch import Tensor, nn

from difftool.files import read_json
from difftool.models import ASSETS, build_net
from difftool.nets.f5.architecture import V1
from difftool.nets.f5.dit import HEAD, Condition, Modulations
from difftool.nets.f5.official import checkpoint_of
from difftool.nets.layers import Linear
from difftool.nets.mini.speech import CHANNELS, Speech
from difftool.nets.mini.vocoder import Vocoder
from difftool.nets.spectrum import HOP, MELS
from difftool.nets.tortoise.autoregressive import UnifiedVoice
from difftool.nets.tortoise.clvp import CLVP
from difftool.nets.tortoise.diffusion import DiffusionTts, frames
from difftool.nets.tortoise.vocoder import TAIL, UnivNet
from difftool.nets.vocos.vocoder import Vocos
from difftool.presets import family, needs
from difftool.text2img.pipeline import class_of, quiet
from difftool.text2img.settings import BUNDLED
from difftool.voice.engines.tortoise.tuning.lora import adapted
from difftool.voice.engines.tortoise.tuning.task import CodePredictor

HALF = torch.float16
TEXT, CODES, ROWS = 80, 500, 16
"""Tokens and codes of a long sentence to Tortoise, and how many samples of it are drawn or scored at once."""
LONGEST = 2063
"""Frames of the longest reference and part that F5-TTS takes together: 22 s."""
CLIP_CODES, WINDOW = 250, 448
"""Codes of a clip that Tortoise learns from, 11.6 s; frames of one for the voice in the package."""
FRAMES = 1000
"""Of the longest part that the voice in the package speaks, with room to spare: 10.7 s."""


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def on_meta(make: Callable[[], Any]) -> Any:
    """A network without numbers."""
    with torch.device("meta"):
        return make()


def empty(*shape: int, dtype: torch.dtype = torch.float32, device: str | None = "meta") -> Tensor:
    return torch.zeros(*shape, dtype=dtype, device=device)


def training(name: str) -> dict[str, int]:
    """Of a preset of `train` with a network of `nets`: parameters, and bytes that a picture keeps for the way back, in
    float32."""
    row, need = family("train")[name], needs("train")[name]
    channels, height, width = need.shape
    rows = {"rows": height} if "frames" in row else {}
    net = on_meta(lambda: build_net({**row["net"], **rows, "channels": channels, "classes": need.classes}))
    label = torch.empty(2, dtype=torch.int64, device="meta")

    def live(count: int) -> int:
        cond = {"label": label[:1].expand(count)} if need.classes else {}
        x, t = empty(count, channels, height, width), empty(count)

        def step() -> None:
            net(x, t, **cond).square().mean().backward()

        net.zero_grad(set_to_none=True)
        return peak_of(step)

    return {"parameters": parameters(net), "picture": live(3) - live(2)}


def painting(kind: str) -> dict[str, dict[str, int]]:
    """Of the architecture of a file in assets/single, or of a pipeline in assets: parameters of the text encoders, the
    network and the autoencoder; and bytes that are live in halves while each is used for one picture of the model's own
    size with guidance, and while a tile is decoded."""
    sizes, live = {"text": 0, "network": 0, "vae": 0}, {"text": 0, "network": 0, "vae": 0, "tile": 0}
    with torch.device("meta"), torch.no_grad():
        for part, net in parts(kind):
            sizes[part] += parameters(net)
            for use, work in WORK[part](net, kind).items():
                live[use] = max(live[use], peak_of(work))
    return {"parameters": sizes, "live": live}


def parts(kind: str) -> Iterator[tuple[str, Any]]:
    """(text, network or vae; the network in halves) of an architecture, on the default device."""
    about = architecture(kind)
    quiet()
    for name, made in about["model_index"].items():
        if name in about and name.startswith(("text_encoder", "unet", "transformer", "vae")):
            net = built(made[1], about[name]).to(HALF).eval().requires_grad_(False)
            yield "text" if name.startswith("text") else "vae" if name == "vae" else "network", net


def architecture(kind: str) -> dict[str, Any]:
    """The index of an architecture and, by their names in it, the configs of its parts."""
    if kind not in BUNDLED:
        return read_json(ASSETS / "single" / f"{kind}.json")
    index = read_json(ASSETS / kind / "model_index.json")
    configs = {name: ASSETS / kind / name / "config.json" for name in index}
    return {"model_index": index, **{name: read_json(path) for name, path in configs.items() if path.exists()}}


def built(kind: str, config: Mapping[str, Any]) -> Any:
    """A part of an architecture, by the name of its class, on the default device and in the default number format."""
    made = class_of(kind)
    return made(made.config_class(**config)) if hasattr(made, "config_class") else made.from_config(config)


def _reading(net: Any, kind: str) -> dict[str, Callable[[], Any]]:
    length = 512 if "T5" in type(net).__name__ else net.config.max_position_embeddings
    tokens = empty(2, length, dtype=torch.int64, device=None)
    return {"text": lambda: net(tokens)}


def _decoding(net: Any, kind: str) -> dict[str, Callable[[], Any]]:
    side, channels = {"shapes": 16, "sd1": 64, "sd2": 96}.get(kind, 128), net.config.latent_channels
    whole, part = (empty(1, channels, n, n, dtype=HALF, device=None) for n in (side, min(side, 64)))
    return {"vae": lambda: net.decode(whole), "tile": lambda: net.decode(part)}


def _stepping(net: Any, kind: str) -> dict[str, Callable[[], Any]]:
    def half(*shape: int) -> Tensor:
        return empty(*shape, dtype=HALF, device=None)

    given: dict[str, Any]
    if kind in ("flux", "schnell"):
        given = {
            "hidden_states": half(1, 4096, 64),
            "timestep": half(1),
            "guidance": half(1) if net.config.guidance_embeds else None,
            "encoder_hidden_states": half(1, 512, 4096),
            "pooled_projections": half(1, 768),
            "txt_ids": half(512, 3),
            "img_ids": half(4096, 3),
        }
    elif kind == "sd3":
        given = {
            "hidden_states": half(2, 16, 128, 128),
            "timestep": half(2),
            "encoder_hidden_states": half(2, 333, 4096),
            "pooled_projections": half(2, 2048),
        }
    else:
        side, wide = net.config.sample_size, net.config.cross_attention_dim
        words = half(2, {"shapes": 34}.get(kind, 77), wide)
        given = {"sample": half(2, 4, side, side), "timestep": half(2), "encoder_hidden_states": words}
        if kind == "sdxl":
            given["added_cond_kwargs"] = {"text_embeds": half(2, 1280), "time_ids": half(2, 6)}
    return {"network": lambda: net(**given)}


WORK: dict[str, Callable[[Any, str], dict[str, Callable[[], Any]]]] = {
    "text": _reading,
    "network": _stepping,
    "vae": _decoding,
}


def speaking() -> dict[str, dict[str, int]]:
    """Of Tortoise: parameters of its networks, and bytes that are live in float32 while each is used for a long
    sentence."""
    decoder, clvp, diffusion, vocoder = (on_meta(kind) for kind in (UnifiedVoice, CLVP, DiffusionTts, UnivNet))
    voice, text = empty(1, 1024), empty(1, TEXT, dtype=torch.int64)
    codes, length = empty(ROWS, CODES, dtype=torch.int64), frames(CODES)

    def draw() -> None:
        cache = decoder.new_cache(ROWS, TEXT + 4 + CODES)
        decoder(decoder.prefix(voice.expand(ROWS, -1), text.expand(ROWS, -1)), cache)
        decoder.logits(decoder(decoder.embed(codes[:, :1]), cache, TEXT + 4))

    def score() -> None:
        clvp.score(clvp.read(text), codes)

    def diffuse() -> None:
        condition = diffusion.condition(empty(2, CODES, 1024), empty(2, 2048), length)
        diffusion(empty(2, diffusion.mels, length), empty(2), condition)

    def sound() -> None:
        vocoder(empty(1, diffusion.mels, length), empty(1, vocoder.noise, length + TAIL))

    work = {"autoregressive": draw, "clvp": score, "diffusion": diffuse, "vocoder": sound}
    nets = {"autoregressive": decoder, "clvp": clvp, "diffusion": diffusion, "vocoder": vocoder}
    return _used(nets, work)


def speaking_small() -> dict[str, dict[str, int]]:
    """The same of the voice in the package, for its longest part with guidance."""
    speech, vocoder = on_meta(Speech), Vocoder()  # istft looks at numbers
    sizes = speech.sizes

    def flow() -> None:
        voice, mask = empty(2, sizes.slots, sizes.voice), empty(2, FRAMES, dtype=torch.bool)
        speech.flow(empty(2, CHANNELS, FRAMES), empty(2), empty(2, FRAMES, sizes.text), voice, mask)

    def sound() -> None:
        vocoder(torch.zeros(1, MELS, FRAMES), torch.zeros(1, HOP * FRAMES))

    sound()  # the tables of the spectra are computed once, and are not counted
    return _used({"speech": speech, "vocoder": vocoder}, {"speech": flow, "vocoder": sound})


def tuning(name: str) -> dict[str, int]:
    """Of an engine and a method of `voice train`: parameters, how many of them are learned, and bytes that the longest
    usual clip keeps for the way back, in float32."""
    net, work = _tuned_small() if name == "mini-full" else _tuned_tortoise(name)
    learned = sum(p.numel() for p in net.parameters() if p.requires_grad)

    def live(count: int) -> int:
        net.zero_grad(set_to_none=True)
        return peak_of(lambda: work(count).mean().backward())

    return {"parameters": parameters(net), "learned": learned, "clip": live(3) - live(2)}


def _tuned_small() -> tuple[nn.Module, Callable[[int], Tensor]]:
    speech = on_meta(Speech)
    for part in (speech.text, speech.voice):
        part.requires_grad_(False)
    sizes = speech.sizes

    def work(count: int) -> Tensor:
        voice, mask = empty(count, sizes.slots, sizes.voice), empty(count, WINDOW, dtype=torch.bool)
        text, level = empty(count, WINDOW, sizes.text), empty(count)
        return speech.flow(empty(count, CHANNELS, WINDOW), level, text, voice, mask).square()

    return speech, work


def _tuned_tortoise(name: str) -> tuple[nn.Module, Callable[[int], Tensor]]:
    decoder = on_meta(UnifiedVoice)
    net = CodePredictor(decoder, on_meta(lambda: Linear(1024, 256)))
    net.requires_grad_(name == "tortoise-full")
    if name == "tortoise-lora":
        adapted(decoder, 16)
    text, codes = empty(TEXT, dtype=torch.int64), empty(CLIP_CODES, dtype=torch.int64)

    def work(count: int) -> Tensor:
        return sum(net(empty(count, 1024), [text] * count, [codes] * count))

    return net, work


def speaking_by_flow() -> dict[str, dict[str, int]]:
    """The same of F5-TTS and Vocos, for the longest part with its reference and with guidance, in 32 steps."""
    text, time, dit = (on_meta(make) for _, make in checkpoint_of(V1).parts.values())
    vocoder, sizes = Vocos(), V1  # istft looks at numbers

    def flow() -> None:
        given, rotation = empty(2, LONGEST, sizes.dim), empty(sizes.heads, LONGEST, HEAD // 2, dtype=torch.complex64)
        modulations = Modulations(empty(1, sizes.depth, 6, sizes.dim), empty(1, 2, sizes.dim))
        dit(empty(2, LONGEST, sizes.mels), modulations, Condition(given, rotation, None, None))

    def sound() -> None:
        vocoder(torch.zeros(1, sizes.mels, LONGEST))

    tokens = empty(300, dtype=torch.int64)
    work = {"text": lambda: text(tokens, LONGEST), "time": lambda: time(empty(32)), "dit": flow, "vocoder": sound}
    return _used({"text": text, "time": time, "dit": dit, "vocoder": vocoder}, work)


def _used(nets: Mapping[str, nn.Module], work: Mapping[str, Callable[[], Any]]) -> dict[str, dict[str, int]]:
    """Parameters of networks, and bytes that are live while each does its work."""
    with torch.no_grad():
        live = {name: peak_of(one) for name, one in work.items()}
    return {"parameters": {name: parameters(net) for name, net in nets.items()}, "live": live}


def transcribing(size: str) -> dict[str, int]:
    """Of a size of Whisper: parameters, and bytes that are live in float32 while it hears 30 s."""
    from whisper.model import AudioEncoder, TextDecoder

    sides = {"audio": AudioEncoder, "text": TextDecoder}
    dims = family("whisper")[size]["dimensions"]
    row = {
        side: {k.removeprefix(f"n_{side}_"): v for k, v in dims.items() if k.startswith(f"n_{side}_")} for side in sides
    }
    first = {"audio": dims["n_mels"], "text": dims["n_vocab"]}
    nets = {
        side: on_meta(
            lambda side=side, made=made: made(first[side], *(row[side][k] for k in ("ctx", "state", "head", "layer")))
        )
        for side, made in sides.items()
    }
    mel, tokens = empty(1, dims["n_mels"], 3000), empty(5, 224, dtype=torch.int64)

    def hear() -> None:
        nets["text"](tokens, nets["audio"](mel).expand(5, -1, -1))

    with torch.no_grad():
        return {"parameters": sum(parameters(net) for net in nets.values()), "live": peak_of(hear)}
