"""Pictures of any format, opened safely and brought to 8 bits."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from ..errors import DifftoolError, Exit

if TYPE_CHECKING:
    from . import Pixels


MOST_PROFILE, MOST_TEXT = 2**20, PngImagePlugin.MAX_TEXT_MEMORY
"""Bytes of a colour profile, and of a text, that a PNG may unpack to. Pillow grants texts as little as profiles, and
workflows are larger than that."""
PngImagePlugin.MAX_TEXT_CHUNK = MOST_TEXT
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF", "PPM", "HEIF")
"""What a picture is opened as, by Pillow's names: readers of other formats start programs (EPS: Ghostscript)."""
MOST_PIXELS = 120_000_000
"""Of a picture: it takes four bytes each."""


@contextmanager
def opened(path: Path, hint: str = "name a picture that difftool made") -> Iterator[Image.Image]:
    """A picture, open. Raises DifftoolError 4 where it is none, or damaged."""
    try:
        with open_image(path) as image:
            profile = image.info.get("icc_profile") or b""
            if image.format == "PNG" and len(profile) > MOST_PROFILE:
                raise ValueError(f"its ICC profile has more than {MOST_PROFILE:,} bytes")
            yield image
    except FileNotFoundError as error:
        raise DifftoolError(Exit.FILE, f"{path} does not exist", hint) from error
    except (DifftoolError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise whatever a broken file provokes
        raise DifftoolError(Exit.FILE, f"cannot read {path}: {_reason(error)}", hint) from error


def _reason(error: Exception) -> str:
    """Why a picture could not be read."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {MOST_PIXELS:,} pixels"
    if "MAX_TEXT_" in str(error):
        return f"a text in it has more than {MOST_TEXT:,} bytes"
    ours = isinstance(error, ValueError) and str(error).startswith("its ")  # of the profile, or of the values
    return str(error) if ours else "no intact picture"


@lru_cache(maxsize=1)
def formats() -> tuple[str, ...]:
    """The FORMATS that can be read here; HEIF wants pillow-heif."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports]

        register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def open_image(file: Path | IO[bytes]) -> Image.Image:
    """A picture of one of the `formats`, opened and not yet decoded. Raises what Pillow raises, and
    DecompressionBombError from MOST_PIXELS on."""
    if isinstance(file, Path) and file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "it is no regular file", str(file))  # a pipe would be waited for
    image = Image.open(file, formats=formats())
    if image.width * image.height > MOST_PIXELS:
        what = f"it has {image.width * image.height:,} pixels, more than {MOST_PIXELS:,}"
        image.close()
        raise Image.DecompressionBombError(what)
    return image


def is_deep(image: Image.Image) -> bool:
    """Whether a picture has more than 8 bits a value: integers of 16 or 32, or floats."""
    return image.mode.startswith("I") or image.mode == "F"


def span_of(low: float, high: float, whole: bool) -> tuple[float, float]:
    """Which values mean black and white in pictures whose values run from `low` to `high`: bytes, 16 bits or 0 and 1 of
    `whole` numbers; of others 0..1 and -1..1, which resizing may leave by a little, and floats that hold bytes or 16
    bits. Raises ValueError where it is none of them."""
    slack = 0.05
    if whole:
        spans = [(0, top) for top in (1, 255, 65535) if high <= top and (top > 1 or high == 1)]
    elif high <= 1 + slack:
        spans = [(0, 1)] if low >= -slack else [(-1, 1)]
        low = low + slack
    else:  # of which a tenth must be used: values up to 16 are no bytes
        spans = [(0, top) for top in (255, 65535) if top / 10 < high <= top]
    found = next((span for span in spans if span[0] <= low), None)
    if found is None:
        raise ValueError(f"its values run from {low:g} to {high:g}")
    return found


def to_bytes(values: np.ndarray[Any, Any], span: tuple[float, float]) -> Pixels:
    """Values of which `span` holds black and white as uint8."""
    low, high = span
    return ((values.clip(low, high) - low) * (255 / (high - low))).round().astype(np.uint8)


def upright(image: Image.Image, span: tuple[float, float] | None = None) -> Image.Image:
    """A picture as a camera held it, in the smallest of the modes L, LA, RGB and RGBA that holds it; an alpha that is
    opaque everywhere is none, and `image` itself may be changed. `span` are the values of a deep picture that mean
    black and white, by default those that `span_of` finds in it. Raises ValueError where it finds none."""
    alpha = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    grey = image.mode in ("1", "L", "LA", "La") or is_deep(image)
    ImageOps.exif_transpose(image, in_place=True)
    if is_deep(image):  # Pillow would cut values off at 255
        image = Image.fromarray(to_bytes(np.asarray(image, np.float64), span or span_of(*extent(image))))
    if alpha:
        image = image.convert("RGBA")  # from which LA can be had; from others not always
        alpha = image.getchannel("A").getextrema() != (255, 255)
    mode = ("L" if grey else "RGB") + ("A" if alpha else "")
    return image if image.mode == mode else image.convert(mode)


def extent(image: Image.Image) -> tuple[float, float, bool]:
    """(lowest value, highest value, whether values are whole numbers) of a deep picture. Raises ValueError for values
    that are not finite."""
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ValueError("its values are not all finite")
    return float(values.min(initial=0)), float(values.max(initial=0)), image.mode != "F"
