"""Opens pictures of any format safely and converts them to 8 bits."""

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
"""Limits, in bytes, of the decompressed colour profile and texts of a PNG. Pillow's limit for texts is too small for
workflows of ComfyUI."""
PngImagePlugin.MAX_TEXT_CHUNK = MOST_TEXT
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF", "PPM", "HEIF")
"""Formats to open, by Pillow's names. Readers of others may start programs (EPS: Ghostscript)."""
MOST_PIXELS = 120_000_000
"""Maximum size of a picture, at four bytes per pixel."""


@contextmanager
def opened(path: Path, hint: str = "pass a picture made by difftool") -> Iterator[Image.Image]:
    """Opens a picture. Raises DifftoolError 4 if it is not a picture or is damaged."""
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
    """Why a picture cannot be read."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {MOST_PIXELS:,} pixels"
    if "MAX_TEXT_" in str(error):
        return f"it has a text chunk of more than {MOST_TEXT:,} bytes"
    ours = isinstance(error, ValueError) and str(error).startswith("its ")  # about its profile or its values
    return str(error) if ours else "not a valid picture"


@lru_cache(maxsize=1)
def formats() -> tuple[str, ...]:
    """The FORMATS that can be read here; HEIF needs pillow-heif."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports]

        register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def open_image(file: Path | IO[bytes]) -> Image.Image:
    """Opens a picture of one of the `formats`, without decoding it. Raises what Pillow raises, and
    DecompressionBombError above MOST_PIXELS."""
    if isinstance(file, Path) and file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(file))  # reading a pipe would block
    image = Image.open(file, formats=formats())
    pixels = image.width * image.height
    if pixels > MOST_PIXELS:
        image.close()
        raise Image.DecompressionBombError(f"it has {pixels:,} pixels, more than {MOST_PIXELS:,}")
    return image


def is_deep(image: Image.Image) -> bool:
    """Whether a picture has more than 8 bits per value: 16- or 32-bit integers, or floats."""
    return image.mode.startswith("I") or image.mode == "F"


def span_of(low: float, high: float, whole: bool) -> tuple[float, float]:
    """The values of black and white in pictures with values from `low` to `high`. `whole` numbers: 0..1, 8 or 16 bits;
    others: 0..1 or -1..1, with a margin for resizing, or 8 or 16 bits as floats. Raises ValueError for any other range.
    """
    slack = 0.05
    if whole:
        tops = [1] if high == 1 else [255, 65535]
        spans = [(0, top) for top in tops if high <= top]
    elif high <= 1 + slack:
        spans = [(0, 1)] if low >= -slack else [(-1, 1)]
        low = low + slack
    else:  # at least a tenth of the range must be used: values up to 16 are not bytes
        spans = [(0, top) for top in (255, 65535) if top / 10 < high <= top]
    for span in spans:
        if span[0] <= low:
            return span
    raise ValueError(f"its values range from {low:g} to {high:g}")


def to_bytes(values: np.ndarray[Any, Any], span: tuple[float, float]) -> Pixels:
    """Values as uint8; `span` are those of black and white."""
    low, high = span
    scaled = (values.clip(low, high) - low) * (255 / (high - low))
    return scaled.round().astype(np.uint8)


def upright(image: Image.Image, span: tuple[float, float] | None = None) -> Image.Image:
    """A picture with its EXIF rotation applied, in the smallest of the modes L, LA, RGB and RGBA; an opaque alpha is
    dropped. `image` may be modified. `span` are the values of black and white in a deep picture, by default from
    `span_of`. Raises ValueError if that fails."""
    alpha = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    grey = image.mode in ("1", "L", "LA", "La") or is_deep(image)
    ImageOps.exif_transpose(image, in_place=True)
    if is_deep(image):  # Pillow would clip values at 255
        span = span or span_of(*extent(image))
        image = Image.fromarray(to_bytes(np.asarray(image, np.float64), span))
    if alpha:
        image = image.convert("RGBA")  # every mode converts to RGBA, but not every one to LA
        alpha = image.getchannel("A").getextrema() != (255, 255)
    mode = ("L" if grey else "RGB") + ("A" if alpha else "")
    return image if image.mode == mode else image.convert(mode)


def rgb(path: Path) -> Image.Image:
    """A picture in RGB, transparent parts on white. Raises DifftoolError 4 if it cannot be read."""
    with opened(path, "pass a picture") as file:
        image = upright(file).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Cropped around the centre and scaled to (width, height)."""
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def extent(image: Image.Image) -> tuple[float, float, bool]:
    """(minimum, maximum, whether the values are integers) of a deep picture. Raises ValueError for values that are not
    finite."""
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ValueError("its values are not all finite")
    low, high = values.min(initial=0), values.max(initial=0)
    return float(low), float(high), image.mode != "F"
