"""Picture files: decoded to one size and one mode, with a reason for each that could not be read."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from ...errors import DifftoolError, Exit
from ...limits import counted
from ...pictures.images import extent, fit, formats, is_deep, open_image, span_of, upright

Pixels: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"
Contents: TypeAlias = "Mapping[str, Callable[[], bytes]]"
"""A reader for each file of a source, by name."""
Span: TypeAlias = "tuple[float, float]"

SUFFIXES = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIF"),
    **{f".{name.lower()}": name for name in ("WEBP", "AVIF", "BMP", "GIF")},
}
"""Suffixes of picture files, and the format of `pictures.FORMATS` that each stands for."""
FOREIGN = {
    *(".jp2", ".j2k", ".jpx", ".jxl", ".tga", ".psd", ".svg", ".eps", ".ico", ".icns", ".dds", ".exr", ".hdr", ".pcx"),
    *(".xcf", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
}
"""Suffixes of picture formats that are not supported."""
LARGEST, USUAL = 64, (64, 64)
"""Pictures of one size up to LARGEST on the longer side keep it; all others become USUAL (width, height)."""
DARK = 25
"""A picture without any brighter value is nearly black."""
ALONE = 2**26
"""Pictures of more pixels are decoded one at a time."""


class Decoded(NamedTuple):
    """Decoded picture files."""

    pixels: Pixels
    """(N, H, W, C)"""
    names: list[str]
    """The file of each picture."""
    skipped: tuple[str, ...]
    """Files left out, as "name: reason"."""
    notes: tuple[str, ...]
    """Notes on the values."""


class _Opened(NamedTuple):
    name: str
    image: Image.Image | None = None
    size: tuple[int, int] = (0, 0)
    deep: str = ""
    """The mode of a deep picture. It has no image until its `extent` has been compared with the others'."""
    extent: tuple[float, float, bool] = (0, 0, True)
    frames: bool = False
    reason: str = ""


def readable(suffix: str) -> bool:
    """Whether pictures with this suffix can be read here."""
    return SUFFIXES.get(suffix.lower()) in formats()


def decode(entries: Contents, size: tuple[int, int] | None, held: Collection[str] = ()) -> Decoded:
    """The pictures of `entries`; those that are not `held` decide size and mode."""
    # 1. decode everything but deep pictures, whose values mean nothing one by one
    opened = {picture.name: picture for picture in _opened(entries, entries, size, {}, 1)}
    held = frozenset(held)
    deep = [picture for picture in opened.values() if picture.deep]
    spans = _spans(deep)
    odd = [picture for picture in deep if picture.deep not in spans]
    if odd and not spans and all(picture.deep or picture.reason for picture in opened.values()):
        message = f"its pictures have {_values(odd[0])}"
        raise DifftoolError(Exit.FILE, message, "save them with 8 or 16 bits, or as floats from 0 to 1")
    for picture in odd:
        opened[picture.name] = picture._replace(reason=_values(picture))
    # 2. decode deep pictures with the span of their mode, and pictures of 0 and 1 as black and white
    again = {picture.name for picture in deep if picture.deep in spans}
    binary = not again and _is_binary(opened.values())
    if binary:
        again = {picture.name for picture in opened.values() if picture.image}
    if again:
        names = [name for name in entries if name in again]
        factor = 255 if binary else 1
        opened |= {picture.name: picture for picture in _opened(entries, names, size, spans, factor)}
    # 3. one size and one mode for all
    kept = {name: opened[name] for name in entries if opened[name].image is not None}
    skipped = [f"{picture.name}: {picture.reason}" for picture in opened.values() if picture.image is None]
    measured = [picture for name, picture in kept.items() if name not in held]
    if not measured:
        message = "it contains no pictures"
        if skipped:
            message = f"none of its {len(skipped)} pictures can be read ({skipped[0]})"
        raise DifftoolError(Exit.FILE, message, "pass pictures such as .jpeg, .jpg, .png or .webp")
    if size is None:
        size = _common_size(measured)
    images = [picture.image for picture in kept.values() if picture.image is not None]
    mode = _common({picture.image.mode for picture in measured if picture.image is not None})
    pixels = np.stack([pixels_of(fit(image, size).convert(mode)) for image in images])
    zero_one = binary or any(span == (0, 1) and mode != "F" for mode, span in spans.items())
    return Decoded(pixels, [*kept], tuple(skipped), _notes(kept.values(), zero_one))


def _values(picture: _Opened) -> str:
    low, high, _ = picture.extent
    return f"values from {low:g} to {high:g}"


def _is_binary(opened: Collection[_Opened]) -> bool:
    """Whether pictures have no values but 0 and 1, and no alpha."""
    images = [picture.image for picture in opened if picture.image]
    opaque = not any(image.mode.endswith("A") for image in images)
    return opaque and _brightest(opened) == 1


def _common_size(pictures: Collection[_Opened]) -> tuple[int, int]:
    sizes = {picture.size for picture in pictures}
    if len(sizes) > 1:
        return USUAL
    (size,) = sizes
    return size if max(size) <= LARGEST else USUAL


def _opened(
    entries: Contents, names: Iterable[str], size: tuple[int, int] | None, spans: Mapping[str, Span], factor: int
) -> Iterator[_Opened]:
    """These pictures in the order of `names`; deep ones with the span of their mode, or without an image where `spans`
    has none. Values are multiplied by `factor`."""
    alone = threading.Lock()

    def decoded(name: str) -> _Opened:
        try:
            with open_image(io.BytesIO(entries[name]())) as file:
                large = file.width * file.height > ALONE
                with alone if large else nullcontext():
                    return shrunk(name, file)
        except MemoryError:
            raise
        except Exception as error:  # Pillow's readers raise anything for a broken file
            return _Opened(name, reason=reason_of(error))

    def shrunk(name: str, file: Image.Image) -> _Opened:
        deep = file.mode if is_deep(file) else ""
        frames = bool(getattr(file, "is_animated", False)) and file.format != "MPO"
        if deep and deep not in spans:
            return _Opened(name, deep=deep, extent=extent(file))
        if deep and not within(extent(file), spans[deep]):
            low, high, _ = extent(file)
            return _Opened(name, reason=f"values from {low:g} to {high:g}")
        image = upright(file, spans.get(deep))
        if factor > 1:
            image = image.point(lambda value: value * factor)
        original = image.size
        large = max(original) > LARGEST  # such a size is never the common one
        image = fit(image, size or USUAL) if size or large else image.copy()
        return _Opened(name, image, original, frames=frames)

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")  # Pillow warns of oddities in pictures that it can read
        yield from in_turn(pool, decoded, names)


def _spans(deep: Collection[_Opened]) -> dict[str, Span]:
    """The values of black and white in deep pictures, by mode. They follow from all pictures of a mode, as one alone
    may be dark; pictures whose values have no such meaning do not count, and a mode of only those has no span."""
    spans: dict[str, Span] = {}
    for mode in sorted({picture.deep for picture in deep}):
        extents = [picture.extent for picture in deep if picture.deep == mode]
        meaningful = [own for own in extents if _has_span(own)]
        for group in (extents, meaningful):
            if not group:
                continue
            low = min(own[0] for own in group)
            high = max(own[1] for own in group)
            joint = low, high, mode != "F"
            if _has_span(joint):
                spans[mode] = span_of(*joint)
                break
    return spans


def _has_span(own: tuple[float, float, bool]) -> bool:
    try:
        span_of(*own)
    except ValueError:
        return False
    return True


def within(own: tuple[float, float, bool], span: Span) -> bool:
    """Whether the values of a picture are within a span, with 5 % of slack."""
    black, white = span
    slack = 0.05 * (white - black)
    return black - slack <= own[0] and own[1] <= white + slack


def _brightest(opened: Iterable[_Opened]) -> int:
    """The highest value of pictures that are not deep, without alpha."""
    images = [picture.image for picture in opened if picture.image is not None]
    return max(map(_highest, images), default=0)


def _highest(image: Image.Image) -> int:
    extrema: Any = image.getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else [extrema]
    if image.mode.endswith("A"):
        bands = bands[:-1]
    return max(high for _, high in bands)


def _notes(kept: Collection[_Opened], zero_one: bool) -> tuple[str, ...]:
    notes = ["values 0 and 1, read as black and white"] if zero_one else []
    highest = {picture.name: _highest(picture.image) for picture in kept if picture.image is not None}
    dark = [name for name, value in highest.items() if value <= DARK]
    if len(dark) == len(kept):
        notes.append(f"the pictures are nearly black: the highest value is {_brightest(kept)} of 255")
    elif dark:
        notes.append(f"{some(dark, 'picture')} nearly black: no value is above {DARK} of 255")
    if several := [picture.name for picture in kept if picture.frames]:
        notes.append(f"{some(several, 'picture')} with several frames: only the first is used")
    return tuple(notes)


def some(names: Collection[str], what: str) -> str:
    """A count of `what`, with the first names."""
    first = [*names][:3]
    more = ["..."] if len(names) > 3 else []
    return f"{counted(len(names), what)} ({', '.join([*first, *more])})"


def in_turn(pool: ThreadPoolExecutor, work: Callable[[str], Any], names: Iterable[str]) -> Iterator[Any]:
    """Results in the order of the names, a few thousand at a time, so that not all wait in memory at once."""
    rest = [*names]
    while rest:
        now, rest = rest[:4096], rest[4096:]
        yield from pool.map(work, now)


def _common(modes: set[str]) -> str:
    coloured = any(mode.startswith("RGB") for mode in modes)
    alpha = any(mode.endswith("A") for mode in modes)
    return ("RGB" if coloured else "L") + ("A" if alpha else "")


def pixels_of(image: Image.Image) -> Pixels:
    """(H, W, C)"""
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def reason_of(error: Exception) -> str:
    """The first line of an error's message, without the path or the object it ends with."""
    message = getattr(error, "strerror", None) or str(error)
    line = (message.splitlines() or [""])[0]
    for quoted in (" '", ": '", " <"):
        line = line.partition(quoted)[0]
    return line or type(error).__name__
