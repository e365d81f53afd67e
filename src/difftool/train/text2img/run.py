"""Text to image: an autoencoder, then a denoiser of its latents with a text encoder. Two runs in one folder, which
becomes a Stable Diffusion folder that other tools can open."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ... import files, processes
from ...core.grid import grid as levels_of
from ...core.guide import cfg
from ...core.noise import START, Noise
from ...core.predict import TARGETS, denoiser
from ...core.solve import first_order
from ...learning.config import NetConfig, RunConfig, TrainConfig, last_part, part_at
from ...learning.driver import Cost, RunContext, learn, with_measured_sizes
from ...learning.folder import clear, resumable, standing
from ...learning.loop import Trainee
from ...learning.metrics import quality_of, scattered
from ...learning.runlog import EventLog
from ...learning.tasks import Data, Denoising, seeded
from ...models import SCHEMA, build_path, save_model
from ...pictures.png import write_png
from ...pictures.sheets import image_grid, to_pixels
from ..data.pictures import Pictures
from ..data.tensors import data_of
from ..previews import AUTOENCODER, PIPELINE, grid_path, layout, nearest_strip, show
from ..quality import JUDGE_SEED, JUDGED, is_measurable
from ..recipe import Job, PictureConfig
from .latent import AT_ONCE, Autoencoder, AutoencoderNet, Autoencoding, latents_of
from .pipeline_folder import state_of, write_network, write_pipeline
from .tokenizer import tokens_of, write_tokenizer

log = logging.getLogger(__name__)

SHOWN, STEPS = 30, 20
"""Captions of a preview, and sampling steps."""


class DenoiserRow(NetConfig):
    """The preset's network."""

    widths: list[int]
    blocks: int
    attention: list[int]
    heads: int
    text_width: int
    text_layers: int
    text_heads: int


class DenoiserNet(DenoiserRow):
    """The same with the channels and the size of its latents."""

    latent: int
    size: int


class CaptionTokens(NamedTuple):
    """The captions of a run as tokens."""

    tokens: Tensor
    held_tokens: Tensor
    nothing: Tensor
    """Tokens of an empty caption."""
    vocabulary: int
    ends: tuple[int, int]
    """First and last token of a prompt."""


class TextToImage(nn.Module):
    """A U-Net with cross-attention and its text encoder, trained together: noisy latents (B, C, H, W), times (B,) and
    tokens (B, L) in, the prediction out. `row` has the channels (latent) and size of the latents, and the preset's
    widths, blocks, attention (levels with attention), heads, text_width, text_layers and text_heads; a prompt has
    `length` tokens of a `vocabulary`, and `ends` are its first and last token."""

    def __init__(self, row: DenoiserNet, vocabulary: int, length: int, ends: tuple[int, int]) -> None:
        super().__init__()
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel

        widths, attends = tuple(row["widths"]), set(row["attention"])
        down = tuple(f"{'CrossAttn' if k in attends else ''}DownBlock2D" for k in range(len(widths)))
        self.unet = UNet2DConditionModel(
            sample_size=row["size"],
            in_channels=row["latent"],
            out_channels=row["latent"],
            down_block_types=down,
            up_block_types=tuple(name.replace("Down", "Up") for name in reversed(down)),
            block_out_channels=widths,
            layers_per_block=row["blocks"],
            cross_attention_dim=row["text_width"],
            attention_head_dim=row["heads"],
            norm_num_groups=8,
        )
        text = CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=row["text_width"],
            intermediate_size=4 * row["text_width"],
            num_hidden_layers=row["text_layers"],
            num_attention_heads=row["text_heads"],
            max_position_embeddings=length,
            projection_dim=row["text_width"],
            bos_token_id=ends[0],
            eos_token_id=ends[1],
            pad_token_id=ends[1],
        )
        self.text = CLIPTextModel(text)

    def forward(self, x: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        # on a CPU the backward pass of fused attention is slower than that of its parts, for rows as short as these
        with sdpa_kernel(SDPBackend.MATH) if x.device.type == "cpu" else nullcontext():
            return self.unet(x, t, encoder_hidden_states=self.text(tokens)[0], return_dict=False)[0]


@torch.no_grad()
def drawn(
    config: PictureConfig, net: nn.Module, vae: Autoencoder, held: Data, count: int, seed: int
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Pictures (N, H, W, C) of `count` captions of `held`, the k-th with seed + k: ddim, with the config's guidance.
    Each process draws its share."""
    mine, device = processes.share(count), held.x.device
    captions = torch.from_numpy(scattered(len(held.x), count)).to(device)
    train = config["train"]
    assert "guidance" in train
    assert "scale" in train
    levels, done = levels_of(build_path(config["path"]), STEPS), []
    for start in range(mine.start, mine.stop, AT_ONCE):
        rows = range(start, min(start + AT_ONCE, mine.stop))
        tokens = held.cond["tokens"][captions[rows.start : rows.stop]]
        both = torch.cat([tokens, held.nothing["tokens"].expand(len(rows), -1)])
        predict = denoiser(net, TARGETS[config["target"]], cond={"tokens": both})
        x = levels[0].sigma * Noise([seed + k for k in rows], held.x.shape[1:], device)(START)
        *_, last = first_order(cfg(predict, None, train["guidance"]), x, levels)
        done.append(to_pixels(vae.decoded(last.x / train["scale"])))
    parts = processes.gathered(done)
    return np.concatenate([part for several in parts for part in several])


@contextmanager
def drawing(trainee: Trainee, *, averaged: bool) -> Iterator[None]:
    """Within it a network is in evaluation mode, with its averaged weights or its own."""
    own = [p.detach().clone() for p in trainee.params] if averaged else []
    trainee.net.eval()
    try:
        if averaged:
            _take(trainee, trainee.ema.params)
        yield
    finally:
        if averaged:
            _take(trainee, own)
        trainee.net.train()


@torch.no_grad()
def _take(trainee: Trainee, weights: Sequence[Tensor]) -> None:
    for p, value in zip(trainee.params, weights, strict=True):
        p.copy_(value)


def stages(
    folder: Path, config: PictureConfig, job: Job, context: RunContext, began: float, *, overwrite: bool
) -> dict[str, float] | None:
    """Trains the autoencoder and then the denoiser of a run; returns the figures of its samples."""
    pictures, device = job.pictures, job.device
    processes.agreed(lambda: _begin(folder, config, overwrite=overwrite))
    assert pictures.held_out is not None
    data, held = (data_of(part._replace(labels=None), device) for part in (pictures, pictures.held_out))
    vae = _autoencoder(folder / AUTOENCODER, config, job, data, held, context, began)
    pixels = [cast(Tensor, part.x) for part in (data, held)]
    latents, held_latents, scale = latents_of(folder / AUTOENCODER, vae, *pixels)
    config["train"]["scale"] = scale
    words = _words(folder / "tokenizer", pictures, device)
    nothing = {"tokens": words.nothing}
    data = Data(latents, {"tokens": words.tokens}, nothing)
    held = Data(held_latents, {"tokens": words.held_tokens}, nothing)
    count = min(JUDGED if is_measurable(pictures) else 10, len(held.x))
    trainee = _denoiser(folder, config, vae, data, held, words, count, context)
    log.info(f"evaluating {count} samples")
    with drawing(trainee, averaged=True):
        pixels = drawn(config, trainee.net, vae, held, count, seed=JUDGE_SEED)
    return processes.agreed(lambda: _measured(folder, config, pictures, pixels))


def _begin(folder: Path, config: PictureConfig, *, overwrite: bool) -> None:
    """Writes the config of this run, with `overwrite` after removing another run. That of a run whose denoiser is in
    training stays until the length of an extension is known."""
    if overwrite:
        clear(folder, layout(), overwrite)
        for name in (AUTOENCODER, *PIPELINE):
            shutil.rmtree(folder / name, ignore_errors=True)
    if not resumable(folder):
        files.write_json(folder / "config.json", config)


def _words(folder: Path, pictures: Pictures, device: torch.device) -> CaptionTokens:
    """The captions of the pictures as tokens, by the tokenizer in `folder`, which is created from them once."""
    assert pictures.captions is not None
    assert pictures.held_out is not None
    assert pictures.held_out.captions is not None
    captions = pictures.captions
    processes.agreed(lambda: None if folder.exists() else write_tokenizer(folder, captions))
    tokens, nothing, vocabulary, ends = tokens_of(folder, captions)
    held_tokens = tokens_of(folder, pictures.held_out.captions)[0]
    return CaptionTokens(tokens.to(device), held_tokens.to(device), nothing.to(device), vocabulary, ends)


def _denoiser(
    folder: Path,
    config: PictureConfig,
    vae: Autoencoder,
    data: Data,
    held: Data,
    words: CaptionTokens,
    count: int,
    context: RunContext,
) -> Trainee:
    """The trained denoiser of a run; time is reserved to draw `count` samples for evaluation."""
    device = data.x.device
    row = cast(DenoiserNet, {**config["net"], "latent": data.x.shape[1], "size": data.x.shape[2]})

    def make() -> tuple[Trainee, Denoising]:
        net = seeded(
            config["train"]["seed"], lambda: TextToImage(row, words.vocabulary, len(words.nothing), words.ends)
        )
        task = Denoising(config, net, data, held, torch.bfloat16 if device.type == "cuda" else torch.float32)
        return Trainee(task.net, config["train"]), task

    shown = min(SHOWN, len(held.x))
    context = context._replace(end=with_measured_sizes(config, make, Cost(2 * shown, count, 2.5 * STEPS), context.end))
    trainee, task = make()

    def preview(trainee: Trainee, seen: int, events: EventLog | None) -> None:
        sheets = {}
        for kind in ("raw", ""):
            with drawing(trainee, averaged=not kind):
                sheets[kind] = image_grid(drawn(config, trainee.net, vae, held, shown, seed=0), 10), None
        processes.agreed(lambda: show(folder, seen, trainee.step, sheets, events))

    def publish(trainee: Trainee) -> None:
        _publish(folder, config, trainee, vae)

    learn(folder, config, trainee, task, context._replace(publish=publish, preview=preview))
    return trainee


def _publish(folder: Path, config: PictureConfig, trainee: Trainee, vae: Autoencoder) -> None:
    """Writes the current parts of the pipeline."""
    assert isinstance(trainee.net, TextToImage)
    assert "scale" in config["train"]
    weights = trainee.averaged()
    for name, part, prefix in (("unet", trainee.net.unet, "unet."), ("text_encoder", trainee.net.text, "text.")):
        write_network(folder / name, part, state_of(part, weights, prefix))
    if not (folder / "vae").exists():
        write_network(folder / "vae", vae.vae, vae.vae.state_dict(), scaling_factor=config["train"]["scale"])
    write_pipeline(folder, config["path"], config["target"])


def _measured(
    folder: Path, config: PictureConfig, pictures: Pictures, pixels: np.ndarray[Any, np.dtype[np.uint8]]
) -> dict[str, float] | None:
    """The figures of samples; also writes the strip of nearest training pictures."""
    assert pictures.held_out is not None
    write_png(grid_path(folder, config["train"]["images"], "nearest"), nearest_strip(pixels, pictures.pixels))
    if not is_measurable(pictures):
        return None
    return quality_of(pixels, pictures.held_out.pixels, pictures.pixels, pictures.tones)._asdict()


def _autoencoder(
    folder: Path, config: PictureConfig, job: Job, data: Data, held: Data, context: RunContext, began: float
) -> Autoencoder:
    """The trained autoencoder of a run, trained as a run of its own in `folder`."""
    own = autoencoder_config(config, data)
    own, _ = processes.agreed(lambda: standing(folder, own, layout(), False))

    def make() -> tuple[Trainee, Autoencoding]:
        net = seeded(own["train"]["seed"], lambda: Autoencoder(cast(AutoencoderNet, own["net"])))
        assert isinstance(net, Autoencoder)
        task = Autoencoding(own, net, data, held, job.dtype)
        return Trainee(task.net, own["train"]), task

    minutes = own["train"]["length"].get("minutes", math.inf)
    end = min(began + minutes * 60, context.end)
    end = with_measured_sizes(own, make, Cost(SHOWN, 0, 2), end)
    trainee, task = make()

    def preview(trainee: Trainee, seen: int, events: EventLog | None) -> None:
        with drawing(trainee, averaged=True), torch.no_grad():
            x = cast(Tensor, held.x)[:SHOWN]
            back = to_pixels(task.net.decoded(task.net.encoded(x)))
        both = image_grid(np.concatenate([x.permute(0, 2, 3, 1).cpu().numpy(), back]), len(x))
        processes.agreed(lambda: show(folder, seen, trainee.step, {"": (both, None)}, events))

    _, before = last_part(config["train"])
    log.info("the autoencoder stays as it is" if before else "training the autoencoder")

    def publish(trainee: Trainee) -> None:
        save_model(folder, own, trainee.averaged())

    learn(folder, own, trainee, task, context._replace(end=end, preview_every=None, publish=publish, preview=preview))
    loaded = files.load_tensors(folder / "model.safetensors").tensors
    with torch.no_grad():
        for name, p in task.net.named_parameters():
            p.copy_(loaded[name])
    return task.net.eval().requires_grad_(False)


def autoencoder_config(config: PictureConfig, data: Data) -> RunConfig:
    """The config of the autoencoder's run, with its share of the length; extensions are for the denoiser only."""
    assert "autoencoder" in config
    row, train = config["autoencoder"], config["train"]
    ((unit, value),) = train["length"].items()
    _, channels, _, size = data.x.shape
    own = {
        **{key: train[key] for key in ("preset", "data", "seed", "dtype")},
        **{key: row[key] for key in ("batch_size", "lr", "warmup", "ema", "weight_decay")},
        "length": {unit: value * row["share"]},
    }
    if unit != "minutes":
        images = part_at(train, 0).stop
        updates = math.ceil(images * row["share"] / row["batch_size"])
        own["images"] = updates * row["batch_size"]
    net = {"type": "autoencoder", **row["net"], "size": size, "channels": channels}
    return {
        "schema": SCHEMA,
        "net": cast(NetConfig, net),
        "size": config["size"],
        "train": cast(TrainConfig, own),
    }
