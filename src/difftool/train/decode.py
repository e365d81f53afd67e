"""Pictures in files of their own: decoded, made of one size and one mode, with what could not be read named."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from ..errors import DifftoolError, Exit
from ..pictures import upright

Pixels: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"
Contents: TypeAlias = "Mapping[str, Callable[[], bytes]]"
"""The files of a source by name, and how to read each."""

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
LARGEST, USUAL = 64, (64, 64)
"""Pictures of one size up to LARGEST on the longer side keep it; all others are made USUAL (width, height)."""


def decode(entries: Contents, size: tuple[int, int] | None) -> tuple[Pixels, list[str], tuple[str, ...]]:
    """(pixels (N, H, W, C), the names they belong to, what was left out)."""
    kept: dict[str, Image.Image] = {}
    sizes: Counter[tuple[int, int]] = Counter()
    skipped: list[str] = []

    def opened(name: str) -> tuple[str, Image.Image | None, tuple[int, int], str]:
        try:
            with Image.open(io.BytesIO(entries[name]())) as file:
                image = upright(file)
            found = image.size
            large = max(found) > LARGEST  # and then no size of its own can be that of all
            return name, fit(image, size or USUAL) if size or large else image, found, ""
        except MemoryError:
            raise
        except Exception as error:  # Pillow's readers raise whatever a broken file provokes
            return name, None, (0, 0), reason_of(error)

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")  # Pillow warns of oddities in pictures that it can read
        for name, image, found, reason in _in_turn(pool, opened, entries):
            if image is None:
                skipped.append(f"{name}: {reason}")
            else:
                kept[name] = image
                sizes[found] += 1
    if not kept:
        what = f"none of its {len(skipped)} pictures can be read ({skipped[0]})" if skipped else "it has no pictures"
        raise DifftoolError(Exit.FILE, what, f"name pictures such as {', '.join(sorted(SUFFIXES)[:4])}")
    if size is None:
        only = next(iter(sizes)) if len(sizes) == 1 else USUAL
        size = only if max(only) <= LARGEST else USUAL
    mode = _common({image.mode for image in kept.values()})
    return np.stack([pixels_of(fit(image, size).convert(mode)) for image in kept.values()]), [*kept], tuple(skipped)


def _in_turn(pool: ThreadPoolExecutor, work: Callable[[str], Any], names: Contents) -> Iterator[Any]:
    """Results in the order of the names, a few thousand at a time: else all would wait in memory at once."""
    rest = [*names]
    while rest:
        now, rest = rest[:4096], rest[4096:]
        yield from pool.map(work, now)


def _common(modes: set[str]) -> str:
    return ("RGB" if any(mode.startswith("RGB") for mode in modes) else "L") + (
        "A" if any(mode.endswith("A") for mode in modes) else ""
    )


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Cut to the middle and scaled to (width, height)."""
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def pixels_of(image: Image.Image) -> Pixels:
    """(H, W, C)"""
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def reason_of(error: Exception) -> str:
    """The first line of what a reader said, without the path or the object it ends with."""
    first = (str(error).splitlines() or [""])[0]
    return first.split(" '")[0].split(": '")[0].split(" <")[0] or type(error).__name__
