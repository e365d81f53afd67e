"""Room for a pipeline in memory: what is where, and what to give up when it does not fit."""

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
"""How a pipeline is kept, each as the one before and less: all of it on the device; pictures decoded in tiles; a part
only while it is used; of the network and the text encoders a layer only while it is used."""
SAID = {
    TILES: "decoding pictures in tiles",
    PARTS: "keeping only the part in use on the device",
    LAYERS: "keeping only the layer in use on the device",
}
TILE = 512
"""Pixels along a side of a tile. The libraries' own for SDXL are as large as its pictures."""


class Room:
    """Where the parts of a pipeline are, and how many pictures are drawn at once."""

    def __init__(self, pipeline: Pipeline, *, low: bool = False) -> None:
        """`low` gives up at once what costs little time."""
        self.pipeline = pipeline
        self.level, self.bottom = ALL, LAYERS if pipeline.device.type == "cuda" else TILES
        self.pixels = math.inf
        """Of all pictures that are drawn at once, at most."""
        while low and self.level < min(PARTS, self.bottom):
            self._less()
        self.within(self._placed, pipeline.native)

    def _placed(self) -> None:
        for part in self.pipeline.parts.values() if self.level < PARTS else ():
            part.to(self.pipeline.device)

    def fitting(self, count: int, frame: tuple[int, int]) -> int:
        """How many of `count` pictures of this (width, height) are drawn at once."""
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
        """Within it parts can be changed: they have all of their layers."""
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
        """What `work` gives; where memory ends it is done again with less and less of the pipeline on the device."""
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                self.ease(error, frame)

    def ease(self, error: BaseException, frame: tuple[int, int], count: int = 1) -> None:
        """Makes room after an error that says that memory ended for `count` pictures: half as many at once, then less
        of the pipeline on the device. Raises any other error again, and DifftoolError 6 where nothing is left to give
        up."""
        if count > 1:
            self.pixels = halved(count, error) * math.prod(frame)
            return
        if not is_out_of_memory(error):
            raise error
        if self.level < self.bottom:
            self._less()
            log.warning(f"out of memory; {SAID[self.level]} from here on")
        else:
            what = f"one picture of {frame[0]}x{frame[1]} does not fit in memory, {' and '.join(self._given_up())}"
            raise DifftoolError(Exit.MEMORY, what, f"try {self._smaller(frame)}") from error

    def _given_up(self) -> list[str]:
        return [said for level, said in SAID.items() if level <= self.level]

    def _smaller(self, frame: tuple[int, int]) -> str:
        """The flags that want least: a quarter of the pixels, and halves."""
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
    """Lets pictures larger than TILE be encoded and decoded in tiles."""
    vae = pipeline.vae
    vae.enable_tiling()
    vae.tile_sample_min_size, vae.tile_latent_min_size = TILE, TILE // pipeline.factor
