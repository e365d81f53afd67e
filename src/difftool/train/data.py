"""Training pictures: read once into uint8 arrays, with their labels and what was left out."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ..errors import DifftoolError, Exit, nearest
from ..files import expanded

BUILT_IN = ("digits",)
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
LARGEST, USUAL = 64, (64, 64)
"""Pictures of one size up to LARGEST on the longer side keep it; all others are made USUAL (width, height)."""


class Pictures(NamedTuple):
    """A data set in memory."""

    name: str
    pixels: np.ndarray[Any, np.dtype[np.uint8]]
    """(N, H, W, C)"""
    labels: np.ndarray[Any, np.dtype[np.int64]] | None
    classes: list[str]
    held_out: np.ndarray[Any, np.dtype[np.uint8]] | None = None
    """(M, H, W, C): pictures that are never trained on, for judging."""
    tones: int = 256
    """How many grey levels the data really have."""
    skipped: tuple[str, ...] = ()
    """Files that could not be read, as "path: reason"."""
    folder: Path | None = None
    """Where they came from, if from a folder."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over pixels and labels."""
        digest = hashlib.sha256(str(self.pixels.shape).encode())
        digest.update(self.pixels.tobytes())
        digest.update(b"" if self.labels is None else self.labels.tobytes())
        return digest.hexdigest()


def load(source: str, size: tuple[int, int] | None = None) -> Pictures:
    """`digits` or a folder of pictures (./digits for a folder of that name); `size` is (width, height). Raises
    DifftoolError 4 where nothing can be learned from it."""
    if not source:
        raise DifftoolError(Exit.USAGE, "the data have an empty name", "name a folder of pictures, or digits")
    path = expanded(source)
    if source in BUILT_IN:
        if size not in (None, (8, 8)):
            raise DifftoolError(Exit.USAGE, "the digits are 8x8 pictures", "leave out --size")
        return digits()
    if path.is_dir():
        return folder(path, size)
    if path.exists():
        raise DifftoolError(
            Exit.FILE, f"{source} is a file; this version learns from folders", "name a folder of pictures, or digits"
        )
    near = nearest(source, BUILT_IN)
    raise DifftoolError(
        Exit.FILE,
        f"there is no folder {source}",
        f"did you mean {near}?" if near else "name a folder of pictures, or digits",
    )


def digits() -> Pictures:
    """The 1,797 handwritten digits of the UCI repository that scikit-learn carries, 8x8 with 17 grey levels: 1,297 to
    train on and 500 held out, the same at every call."""
    from sklearn.datasets import load_digits

    images, numbers = load_digits(return_X_y=True)
    pixels = np.round(images * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    order = np.random.RandomState(0).permutation(len(pixels))
    held, train = order[:500], order[500:]
    return Pictures(
        "digits", pixels[train], numbers[train].astype(np.int64), [str(k) for k in range(10)], pixels[held], tones=17
    )


def folder(path: Path, size: tuple[int, int] | None = None) -> Pictures:
    """All pictures below `path`, cut to the middle and scaled to one size. If they lie in two or more sub-folders and
    nowhere else, the sub-folders' names are their labels. Files that are no intact pictures are left out and named."""
    files = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    kept: dict[Path, Image.Image] = {}
    sizes: Counter[tuple[int, int]] = Counter()
    skipped: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of oddities in pictures that it can read
        for file in files:
            try:
                image = _decoded(file)
                found = image.size
                large = max(found) > LARGEST  # and then no size of its own can be that of all
                kept[file] = _fit(image, size or USUAL) if size or large else image
                sizes[found] += 1
            except MemoryError:
                raise
            except Exception as error:  # Pillow's readers raise whatever a broken file provokes
                skipped.append(f"{file.relative_to(path)}: {_reason(error)}")
    if size is None:
        only = next(iter(sizes)) if len(sizes) == 1 else USUAL
        size = only if max(only) <= LARGEST else USUAL
    mode = _common({image.mode for image in kept.values()})
    arrays = [_pixels(_fit(image, size).convert(mode)) for image in kept.values()]
    if not arrays:
        what = (
            f"none of the {len(skipped)} pictures in {path} can be read"
            if skipped
            else f"there are no pictures in {path}"
        )
        raise DifftoolError(Exit.FILE, what, f"name a folder with files such as {', '.join(sorted(SUFFIXES)[:4])}")
    tops = [file.relative_to(path).parts for file in kept]
    classes = sorted({parts[0] for parts in tops}) if all(len(parts) > 1 for parts in tops) else []
    labels = np.array([classes.index(parts[0]) for parts in tops], dtype=np.int64) if len(classes) > 1 else None
    names = [] if labels is None else classes
    return Pictures(path.name or str(path), np.stack(arrays), labels, names, skipped=tuple(skipped), folder=path)


def _decoded(file: Path) -> Image.Image:
    """The picture in a file, upright, in the smallest of the modes L, LA, RGB and RGBA that holds it."""
    with Image.open(file) as image:
        alpha = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
        grey = image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
        upright: Image.Image = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I") or upright.mode == "F":  # 16 bits or more a pixel: Pillow would cut them off at 255
        values = np.asarray(upright, dtype=np.float64)
        top = 65535 if values.max(initial=0) > 255 else 255
        upright = Image.fromarray((values.clip(0, top) * (255 / top)).round().astype(np.uint8))
    if alpha:
        upright = upright.convert("RGBA")  # from which LA can be had; from others not always
    return upright.convert(("L" if grey else "RGB") + ("A" if alpha else ""))


def _common(modes: set[str]) -> str:
    return ("RGB" if any(mode.startswith("RGB") for mode in modes) else "L") + (
        "A" if any(mode.endswith("A") for mode in modes) else ""
    )


def _fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Cut to the middle and scaled to (width, height)."""
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def _pixels(image: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H, W, C)"""
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _reason(error: Exception) -> str:
    """The first line of what a reader said, without the path it ends with."""
    first = (str(error).splitlines() or [""])[0]
    return first.split(" '")[0].split(": '")[0] or type(error).__name__
