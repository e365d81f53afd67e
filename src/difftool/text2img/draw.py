"""Draws the pictures of a prompt: `difftool txt2img`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.guide import inpaint
from ..core.noise import START, Noise
from ..core.predict import Predict, denoiser
from ..core.solve import State
from ..device import finite
from ..files import ItemNote, ModelNote, PictureManifest, digest_of, manifest
from ..pictures.images import rgb
from ..pictures.sheets import to_pixels
from ..progress import Step, Track, untracked
from ..settings import checked, from_call, manifest_of
from .conditioning import caller, encode_prompts
from .encoders import Conditioning, joined, repeated
from .session import PromptPlan, Session, plan_prompt, white
from .settings import BUNDLED, Settings

if TYPE_CHECKING:
    from ..pictures import Pixels

PACKAGES = ("torch", "diffusers", "transformers")
PREVIEWED = 128 * 128
"""Pixels of the largest picture that is decoded while it is drawn."""
NUMBERS = "try --dtype fp32, or bf16 on a GPU that supports it"
"""The hint for values that are not finite."""


def txt2img(prompt: str, model: Session | str | Path = BUNDLED[0], **settings: Any) -> Pixels:
    """Draws the pictures of a prompt.

    Args:
        prompt: what to draw.
        model: a bundled model, one of the store, a folder or a file; or a `Studio`, which keeps a model open for many
            prompts, with its device and number format.
        settings: fields of `Settings`.

    Returns pictures (N, H, W, 3) in uint8. Raises DifftoolError as `Studio`, `planned` and `draw_pictures` do.
    """
    import numpy as np

    if isinstance(model, Session):
        asked, session = from_call(Settings, prompt=prompt, **settings), model
    else:
        asked = checked(from_call(Settings, prompt=prompt, model=model, **settings))
        session = Session.opened(asked)
    return np.stack([pixels for _, pixels in draw_pictures(plan_prompt(session, asked))])


class Known(NamedTuple):
    """The initial picture of --init."""

    pixels: Tensor
    """(1, 3, H, W) in [-1, 1]"""
    latents: Tensor
    mask: Tensor | None
    """(1, 1, H, W): 1 where it is redrawn."""


def draw_pictures(
    plan: PromptPlan, *, only: Collection[int] | None = None, track: Track = untracked
) -> Iterator[tuple[ItemNote, Pixels]]:
    """({"index", "seed"}, uint8 (H, W, 3)) of each picture, or of those with the indices in `only`, in the batches of
    the whole run.

    Raises DifftoolError: 1 if the network returns NaN, 4 for a LoRA that does not fit, 6 if memory does not suffice for
    a single picture.
    """
    session, room = plan.session, plan.session.offload
    room.within(lambda: _apply(plan), plan.frame)
    wanted = [batch for batch in plan.batches if only is None or not set(batch).isdisjoint(only)]
    towards, away = room.within(lambda: conditioning(plan), plan.frame)
    known = room.within(lambda: _known(plan), plan.frame)

    def steps() -> Iterator[Step]:
        for batch in wanted:
            yield from _batch(plan, batch, towards, away, known)

    total = len(wanted) * plan.choice.steps
    for batch, latents, _ in track(steps(), total):
        if latents is None:
            continue
        for k in batch if only is None else [k for k in batch if k in only]:
            z = latents[k - batch.start][None]
            pixels = finite(room.within(lambda z=z: decoded(session, z), plan.frame), hint=NUMBERS)
            yield {"index": k, "seed": plan.settings.seed + k}, _finished(pixels, known)


def _apply(plan: PromptPlan) -> None:
    with plan.session.offload.whole():
        plan.session.loras.apply(plan.loras)


@torch.inference_mode()
def conditioning(plan: PromptPlan) -> tuple[Conditioning, Conditioning | None]:
    """The conditioning of the prompt and, with guidance, of the negative prompt."""
    pipeline = plan.session.pipeline
    prompts = [plan.prompt, plan.negative] if plan.is_guided else [plan.prompt]
    with plan.session.offload.using(*(part for part in pipeline.encoders if part is not None)):
        towards, *away = encode_prompts(pipeline, prompts, plan.settings.clip_skip)
    return towards, away[0] if away else None


def _known(plan: PromptPlan) -> Known | None:
    import numpy as np

    settings, device = plan.settings, plan.session.pipeline.device
    if settings.init is None:
        return None
    image = rgb(settings.init).resize(plan.frame)
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    mask = None
    if settings.mask is not None:
        mask = torch.from_numpy(white(settings.mask, plan.frame)).float()[None, None].to(device)
    return Known(pixels, encoded(plan.session, pixels), mask)


def states(
    plan: PromptPlan, seeds: Sequence[int], towards: Conditioning, away: Conditioning | None, known: Known | None = None
) -> Iterator[State]:
    """Samples one batch of latents; yields the state after each step."""
    pipeline = plan.session.pipeline
    shape = (pipeline.channels, plan.height // pipeline.factor, plan.width // pipeline.factor)
    first, noise = plan.choice.levels[0], Noise(seeds, shape, pipeline.device)
    start = noise(START)
    predict = predictor(plan, len(seeds), towards, away)
    if known is not None and known.mask is not None:
        # a latent pixel is redrawn if any of its pixels is
        mask = F.max_pool2d(known.mask, pipeline.factor)
        predict = inpaint(predict, known.latents, mask, start)
    x = first.sigma * start if known is None else first.alpha * known.latents + first.sigma * start
    yield from plan.choice.run(predict, x, noise)


def predictor(plan: PromptPlan, n: int, towards: Conditioning, away: Conditioning | None) -> Predict:
    """The prediction for a batch of `n`, conditioned on the prompt, and guided away from the negative prompt."""
    both = [] if away is None else [repeated(away, n)]
    layers = plan.settings.skip_layers
    if not layers:
        return plan.guided(_denoiser(plan, joined([repeated(towards, n), *both])))
    # layers are skipped for a whole call
    cond, skipped = (_denoiser(plan, repeated(towards, n), skip) for skip in (None, layers))
    return plan.guided(cond, _denoiser(plan, both[0]) if both else None, skipped)


def _denoiser(plan: PromptPlan, rows: Conditioning, skip: Sequence[int] | None = None) -> Predict:
    """The prediction of the network, without the layers to `skip`, for a batch with this conditioning."""
    pipeline = plan.session.pipeline
    cond = {"words": rows.words.to(pipeline.device, pipeline.dtype)}
    if rows.whole is not None:
        cond["whole"] = rows.whole.to(pipeline.device, pipeline.dtype)
    net = torch.inference_mode()(caller(pipeline, plan.width, plan.height, plan.guidance, skip))
    return denoiser(net, pipeline.target, dtype=pipeline.dtype, cond=cond)


def _batch(
    plan: PromptPlan, batch: range, towards: Conditioning, away: Conditioning | None, known: Known | None
) -> Iterator[Step]:
    """A batch after each step: with None until the last, and with the latents after that."""
    room, seeds = plan.session.offload, [plan.settings.seed + k for k in batch]
    done: list[Tensor] = []
    while len(done) < len(seeds):
        part = seeds[len(done) :][: room.fitting(len(seeds), plan.frame)]
        try:
            with room.using(plan.session.pipeline.net):
                for state in states(plan, part, towards, away, known):
                    if state.i == plan.choice.steps:
                        done += state.x
                    else:
                        yield Step(batch, None, _preview(plan, state))
        except (RuntimeError, MemoryError) as error:
            room.ease(error, plan.frame, len(part))
    yield Step(batch, finite(torch.stack(done), hint=NUMBERS))


def _preview(plan: PromptPlan, state: State) -> Callable[[], Pixels] | None:
    """Draws the first picture of a state as the network estimates it; None where it is too large to be drawn often."""
    if state.x0 is None or plan.width * plan.height > PREVIEWED:
        return None
    estimate = state.x0[:1]
    return lambda: to_pixels(decoded(plan.session, estimate))[0]


@torch.inference_mode()
def encoded(session: Session, pixels: Tensor) -> Tensor:
    """Latents (N, C, h, w) of pictures (N, 3, H, W) in [-1, 1]: the mode of the encoder's distribution."""
    pipeline, vae, config = session.pipeline, session.pipeline.vae, session.pipeline.vae.config
    with session.offload.using(vae):
        z = vae.encode(pixels.to(pipeline.device, vae.dtype)).latent_dist.mode().float()
    mean, std = _statistics(config, z)
    return (z - mean) * config.scaling_factor / std


@torch.inference_mode()
def decoded(session: Session, latents: Tensor) -> Tensor:
    """Pictures (N, 3, H, W), roughly in [-1, 1], of latents."""
    vae, config = session.pipeline.vae, session.pipeline.vae.config
    mean, std = _statistics(config, latents)
    with session.offload.using(vae):
        return vae.decode((latents * std / config.scaling_factor + mean).to(vae.dtype), return_dict=False)[0]


def _statistics(config: Any, like: Tensor) -> tuple[Any, Any]:
    """(mean, deviation) of the latents of a decoder, besides its scaling factor."""
    means, deviations = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if means is not None and deviations is not None:
        mean, std = (torch.tensor(row).to(like).reshape(1, -1, 1, 1) for row in (means, deviations))
        return mean, std
    return getattr(config, "shift_factor", None) or 0.0, 1.0


def _finished(pixels: Tensor, known: Known | None) -> Pixels:
    """A picture (H, W, 3), with the pixels of --init where the mask is black."""
    if known is not None and known.mask is not None:
        pixels = torch.where(known.mask.to(pixels.device) > 0, pixels, known.pixels.to(pixels))
    return to_pixels(pixels)[0]


def described(plan: PromptPlan, name: str) -> PictureManifest:
    """The manifest of a run."""
    pipeline = plan.session.pipeline
    size = [plan.height, plan.width]
    model: ModelNote = {"name": pipeline.name, "sha256": pipeline.sha256, "size": size, "classes": []}
    named = [*plan.loras, plan.settings.init, plan.settings.mask]
    files = {str(file): _digest(file, file.stat().st_mtime_ns) for file in named if file is not None}
    common = manifest("txt2img", name, manifest_of(plan.settings), PACKAGES)
    return {**common, "model": model, "network_calls": plan.calls, "files": files}


@lru_cache(1024)
def _digest(file: Path, changed: int) -> str:
    """The first digits of a file's SHA-256, cached until the file has `changed`."""
    return digest_of(file)[:16]
