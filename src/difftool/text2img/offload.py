"""Memory of a pipeline: which parts are on the device, and what to offload when memory runs out."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from ..device import halved
from ..errors import DifftoolError, Exit, is_out_of_memory
from .pipeline import Pipeline

T = TypeVar("T")
log = logging.getLogger(__name__)

ALL, TILES, PARTS, LAYERS = range(4)
"""Levels of offloading, each in addition to the one before: everything on the device; pictures decoded in tiles; each
part on the device only while it is used; each layer of the network and the text encoders only while it is used."""
LEVEL_TEXTS = {
    TILES: "decoding pictures in tiles",
    PARTS: "keeping only the part in use on the device",
    LAYERS: "keeping only the layer in use on the device",
}
TILE = 512
"""Pixels along a side of a tile. The libraries' default for SDXL is as large as its pictures."""


class Offload:
    """Places the parts of a pipeline on the device, and limits how many pictures are drawn at once."""

    def __init__(self, pipeline: Pipeline, *, low: bool = False) -> None:
        """`low` starts with the levels that cost little time."""
        self.pipeline = pipeline
        self.level, self.bottom = ALL, LAYERS if pipeline.device.type == "cuda" else TILES
        self.pixels = math.inf
        """Most pixels of all pictures drawn at once."""
        while low and self.level < min(PARTS, self.bottom):
            self._less()
        self.within(self._placed, pipeline.native)

    def _placed(self) -> None:
        for part in self.pipeline.parts.values() if self.level < PARTS else ():
            part.to(self.pipeline.device)

    def fitting(self, count: int, frame: tuple[int, int]) -> int:
        """Number of pictures of this (width, height) drawn at once, of `count`."""
        return max(1, int(min(count, self.pixels // math.prod(frame))))

    @contextmanager
    def using(self, *parts: Any) -> Iterator[None]:
        """Within it these parts are on the device."""
        moved = [part for part in parts if self.level >= PARTS and not hasattr(part, "_hf_hook")]
        try:
            for part in moved:
                part.to(self.pipeline.device)
            yield
        finally:
            for part in moved:
                part.to("cpu")

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Within it parts have all of their layers, so that they can be changed."""
        from accelerate.hooks import remove_hook_from_module

        if self.level == LAYERS:
            for part in self._large():
                remove_hook_from_module(part, recurse=True)
        try:
            yield
        finally:
            if self.level == LAYERS:
                self._by_layers()

    def within(self, work: Callable[[], T], frame: tuple[int, int]) -> T:
        """The result of `work`, repeated with less of the pipeline on the device each time memory runs out."""
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                self.ease(error, frame)

    def ease(self, error: BaseException, frame: tuple[int, int], count: int = 1) -> None:
        """Frees memory after an out-of-memory error with `count` pictures: half as many at once, then less of the
        pipeline on the device. Raises any other error again, and DifftoolError 6 if nothing is left to offload."""
        if count > 1:
            self.pixels = halved(count, error) * math.prod(frame)
            return
        if not is_out_of_memory(error):
            raise error
        if self.level < self.bottom:
            self._less()
            log.warning(f"out of memory; {LEVEL_TEXTS[self.level]} from here on")
        else:
            size = f"{frame[0]}x{frame[1]}"
            message = f"one picture of {size} does not fit in memory, even when {' and '.join(self._given_up())}"
            raise DifftoolError(Exit.MEMORY, message, f"try {self._smaller(frame)}") from error

    def _given_up(self) -> list[str]:
        return [text for level, text in LEVEL_TEXTS.items() if level <= self.level]

    def _smaller(self, frame: tuple[int, int]) -> str:
        """Options that need less memory: a quarter of the pixels, and half precision."""
        step = self.pipeline.step
        width, height = (max(side // 2 // step, 1) * step for side in frame)
        return f"--size {width}x{height}" + (" --dtype bf16" if self.pipeline.dtype == torch.float32 else "")

    def _less(self) -> None:
        self.level += 1
        if self.level == TILES:
            tile(self.pipeline)
        elif self.level == PARTS:
            for part in self.pipeline.parts.values():
                part.to("cpu")
        elif self.level == LAYERS:
            self._by_layers()
        if self.pipeline.device.type == "cuda":
            torch.cuda.empty_cache()

    def _by_layers(self) -> None:
        from accelerate import cpu_offload

        for part in self._large():
            cpu_offload(part, self.pipeline.device)

    def _large(self) -> list[Any]:
        return [part for name, part in self.pipeline.parts.items() if name != "vae"]


def tile(pipeline: Pipeline) -> None:
    """Encodes and decodes pictures larger than TILE in tiles."""
    vae = pipeline.vae
    vae.enable_tiling()
    vae.tile_sample_min_size, vae.tile_latent_min_size = TILE, TILE // pipeline.factor
