"""Text to picture: an autoencoder, then a denoiser of its latents that reads captions. Two runs in one folder, which in
the end is a Stable Diffusion folder that other tools open."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

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
from ...learning.driver import Cost, Course, learn, measured
from ...learning.folder import PIPELINE, clear, standing
from ...learning.loop import Trainee
from ...learning.metrics import judge, scattered
from ...learning.runlog import Board, grid_path, nearest_strip, show
from ...learning.tasks import Data, Denoising, seeded
from ...models import SCHEMA, build_path, save_model
from ...pictures.png import write_png
from ...pictures.sheets import grid, to_pixels
from ..data.tensors import data_of
from ..quality import JUDGE_SEED, JUDGED, judged
from ..recipe import Job
from .latent import AT_ONCE, Autoencoder, Autoencoding, latents_of
from .pipeline_folder import state_of, write_network, write_pipeline
from .tokenizer import tokens_of, write_tokenizer

log = logging.getLogger(__name__)

AUTOENCODER = "autoencoder"
SHOWN, STEPS = 30, 20
"""Captions of a preview, and steps of a drawing."""


class TextToImage(nn.Module):
    """A U-Net with cross-attention and the text encoder it reads, trained together: noisy latents (B, C, H, W), times
    (B,) and tokens (B, L) in, the prediction out. `row` holds latent (channels) and size of the latents, and the
    preset's widths, blocks, attention (the levels that attend), heads, text_width, text_layers and text_heads; a prompt
    has `length` tokens of a `vocabulary`, and `ends` are its first and last."""

    def __init__(self, row: Mapping[str, Any], vocabulary: int, length: int, ends: tuple[int, int]) -> None:
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
        # on a CPU the way back through fused attention takes longer than through its parts, for rows as short as these
        with sdpa_kernel(SDPBackend.MATH) if x.device.type == "cpu" else nullcontext():
            return self.unet(x, t, encoder_hidden_states=self.text(tokens)[0], return_dict=False)[0]


@torch.no_grad()
def drawn(
    config: Mapping[str, Any], net: nn.Module, vae: Autoencoder, held: Data, count: int, seed: int
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Pictures (N, H, W, C) of `count` captions of `held`, the k-th with the seed + k: ddim, guided as the config says.
    Each process draws its share."""
    mine, device = processes.share(count), held.x.device
    captions = torch.from_numpy(scattered(len(held.x), count)).to(device)
    levels, done = levels_of(build_path(config["path"]), STEPS), []
    for start in range(mine.start, mine.stop, AT_ONCE):
        rows = range(start, min(start + AT_ONCE, mine.stop))
        told = held.cond["tokens"][captions[rows.start : rows.stop]]
        both = torch.cat([told, held.nothing["tokens"].expand(len(rows), -1)])
        predict = denoiser(net, TARGETS[config["target"]], cond={"tokens": both})
        x = levels[0].sigma * Noise([seed + k for k in rows], held.x.shape[1:], device)(START)
        *_, last = first_order(cfg(predict, None, config["train"]["guidance"]), x, levels)
        done.append(to_pixels(vae.decoded(last.x / config["train"]["scale"])))
    parts = processes.gathered(done)
    return np.concatenate([part for several in parts for part in several])


@contextmanager
def drawing(trainee: Trainee, *, averaged: bool) -> Iterator[None]:
    """Within it a network draws, with the averages of its weights or with themselves."""
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
    folder: Path, config: dict[str, Any], job: Job, course: Course, began: float, *, overwrite: bool
) -> dict[str, float] | None:
    """Trains the autoencoder and then the denoiser of a run whose config has both; the figures of what it draws."""
    pictures, device = job.pictures, job.device

    def begin() -> None:
        if overwrite:
            clear(folder, overwrite)
            for name in (AUTOENCODER, *PIPELINE):
                shutil.rmtree(folder / name, ignore_errors=True)
        files.write_json(folder / "config.json", config)

    processes.agreed(begin)
    assert pictures.held_out is not None
    assert pictures.captions is not None
    assert pictures.held_out.captions is not None
    data, held = (data_of(part._replace(labels=None), device) for part in (pictures, pictures.held_out))
    vae = _autoencoder(folder / AUTOENCODER, config, job, data, held, course, began)
    latents, held_latents, scale = latents_of(folder / AUTOENCODER, vae, data.x, held.x)
    config["train"]["scale"] = scale
    words = folder / "tokenizer"
    processes.agreed(lambda: None if words.exists() else write_tokenizer(words, pictures.captions or []))
    tokens = [tokens_of(words, part) for part in (pictures.captions, pictures.held_out.captions)]
    _, nothing, vocabulary, ends = tokens[0]
    data, held = (
        Data(x, {"tokens": told[0].to(device)}, {"tokens": nothing.to(device)})
        for x, told in zip((latents, held_latents), tokens, strict=True)
    )

    def make() -> tuple[Trainee, Denoising]:
        row = {**config["net"], "latent": latents.shape[1], "size": latents.shape[2]}
        net = seeded(config["train"]["seed"], lambda: TextToImage(row, vocabulary, len(nothing), ends))
        task = Denoising(config, net, data, held, torch.bfloat16 if device.type == "cuda" else torch.float32)
        return Trainee(task.net, config["train"]), task

    count = min(JUDGED, len(held.x)) if judged(pictures) else min(10, len(held.x))
    shown = min(SHOWN, len(held.x))
    course = course._replace(end=measured(config, make, Cost(2 * shown, count, 2.5 * STEPS), course.end))
    trainee, task = make()

    def publish(trainee: Trainee) -> None:
        assert isinstance(trainee.net, TextToImage)
        weights = trainee.averaged()
        for name, part in (("unet", trainee.net.unet), ("text", trainee.net.text)):
            own = state_of(part, weights, f"{name}.")
            write_network(folder / {"text": "text_encoder"}.get(name, name), part, own)
        if not (folder / "vae").exists():
            write_network(folder / "vae", vae.vae, vae.vae.state_dict(), scaling_factor=scale)
        write_pipeline(folder, config["path"], config["target"])

    def preview(trainee: Trainee, seen: int, board: Board | None) -> None:
        sheets = {}
        for kind in ("raw", ""):
            with drawing(trainee, averaged=not kind):
                sheets[kind] = grid(drawn(config, trainee.net, vae, held, shown, seed=0), 10), None
        processes.agreed(lambda: show(folder, seen, trainee.step, sheets, board))

    learn(folder, config, trainee, task, course._replace(publish=publish, preview=preview))
    log.info(f"judging {count} pictures")
    with drawing(trainee, averaged=True):
        pixels = drawn(config, trainee.net, vae, held, count, seed=JUDGE_SEED)

    def judging() -> dict[str, float] | None:
        assert pictures.held_out is not None
        write_png(grid_path(folder, config["train"]["images"], "nearest"), nearest_strip(pixels, pictures.pixels))
        if not judged(pictures):
            return None
        return judge(pixels, pictures.held_out.pixels, pictures.pixels)._asdict()

    return processes.agreed(judging)


def _autoencoder(
    folder: Path, config: dict[str, Any], job: Job, data: Data, held: Data, course: Course, began: float
) -> Autoencoder:
    """The trained autoencoder of a run, whose own run stands in `folder`."""
    own = autoencoder_config(config, data)
    own, _ = processes.agreed(lambda: standing(folder, own, False))

    def make() -> tuple[Trainee, Autoencoding]:
        net = seeded(own["train"]["seed"], lambda: Autoencoder(own["net"]))
        assert isinstance(net, Autoencoder)
        task = Autoencoding(own, net, data, held, job.dtype)
        return Trainee(task.net, own["train"]), task

    minutes = own["train"]["length"].get("minutes", math.inf)
    end = min(began + minutes * 60, course.end)
    end = measured(own, make, Cost(SHOWN, 0, 2), end)
    trainee, task = make()

    def preview(trainee: Trainee, seen: int, board: Board | None) -> None:
        with drawing(trainee, averaged=True), torch.no_grad():
            x = held.x[:SHOWN]
            back = to_pixels(task.net.decoded(task.net.encoded(x)))
        both = grid(np.concatenate([x.permute(0, 2, 3, 1).cpu().numpy(), back]), len(x))
        processes.agreed(lambda: show(folder, seen, trainee.step, {"": (both, None)}, board))

    log.info("first the autoencoder")

    def publish(trainee: Trainee) -> None:
        save_model(folder, own, trainee.averaged())

    learn(folder, own, trainee, task, course._replace(end=end, preview_every=None, publish=publish, preview=preview))
    loaded = files.load_tensors(folder / "model.safetensors").tensors
    with torch.no_grad():
        for name, p in task.net.named_parameters():
            p.copy_(loaded[name])
    return task.net.eval().requires_grad_(False)


def autoencoder_config(config: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """The config of the autoencoder's own run: its share of the length of the whole."""
    row, train = config["autoencoder"], config["train"]
    ((unit, value),) = train["length"].items()
    _, channels, _, size = data.x.shape
    own = {
        **{key: train[key] for key in ("preset", "data", "seed", "dtype")},
        **{key: row[key] for key in ("batch_size", "lr", "warmup", "ema", "weight_decay")},
        "length": {unit: value * row["share"]},
    }
    if unit != "minutes":
        own["images"] = math.ceil(train["images"] * row["share"] / row["batch_size"]) * row["batch_size"]
    return {
        "schema": SCHEMA,
        "net": {"type": "autoencoder", **row["net"], "size": size, "channels": channels},
        "size": config["size"],
        "train": own,
    }
