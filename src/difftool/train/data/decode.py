"""Pictures in files of their own: decoded, made of one size and one mode, with what could not be read named."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from ...errors import DifftoolError, Exit
from ...limits import counted
from ...pictures.images import extent, formats, is_deep, open_image, span_of, upright

Pixels: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"
Contents: TypeAlias = "Mapping[str, Callable[[], bytes]]"
"""The files of a source by name, and how to read each."""
Span: TypeAlias = "tuple[float, float]"

SUFFIXES = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIF"),
    **{f".{name.lower()}": name for name in ("WEBP", "AVIF", "BMP", "GIF")},
}
"""How the names of pictures end, and the format of `pictures.FORMATS` that they announce."""
FOREIGN = {
    *(".jp2", ".j2k", ".jpx", ".jxl", ".tga", ".psd", ".svg", ".eps", ".ico", ".icns", ".dds", ".exr", ".hdr", ".pcx"),
    *(".xcf", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
}
"""How the names of pictures end that are not read."""
LARGEST, USUAL = 64, (64, 64)
"""Pictures of one size up to LARGEST on the longer side keep it; all others are made USUAL (width, height)."""
DARK = 25
"""Where no value of any picture is brighter, something is odd."""
ALONE = 2**26
"""Pixels from which on a picture is decoded while no other such is."""


class Decoded(NamedTuple):
    """What stood in files of pictures."""

    pixels: Pixels
    """(N, H, W, C)"""
    names: list[str]
    """Which they are of."""
    skipped: tuple[str, ...]
    """What was left out, as "name: reason"."""
    notes: tuple[str, ...]
    """What a person should know of the values."""


class _Opened(NamedTuple):
    name: str
    image: Image.Image | None = None
    size: tuple[int, int] = (0, 0)
    deep: str = ""
    """The mode of a deep picture, of which there is no image before its `extent` was compared with the others'."""
    extent: tuple[float, float, bool] = (0, 0, True)
    frames: bool = False
    reason: str = ""


def readable(suffix: str) -> bool:
    """Whether pictures whose names end like this can be read here."""
    return SUFFIXES.get(suffix.lower()) in formats()


def decode(entries: Contents, size: tuple[int, int] | None, held: Collection[str] = ()) -> Decoded:
    """The pictures of `entries`; size and mode are those that the ones which are not `held` have or need."""
    opened = {one.name: one for one in _opened(entries, entries, size, {}, 1)}
    held = frozenset(held)
    spans = _spans([one for one in opened.values() if one.deep])
    odd = [one for one in opened.values() if one.deep and one.deep not in spans]
    if odd and not spans and all(one.deep or one.reason for one in opened.values()):
        what = f"the values of its pictures run from {odd[0].extent[0]:g} to {odd[0].extent[1]:g}"
        raise DifftoolError(Exit.FILE, what, "save them with 8 or 16 bits, or as floats from 0 to 1")
    for one in odd:
        opened[one.name] = one._replace(reason=f"its values run from {one.extent[0]:g} to {one.extent[1]:g}")
    deep = {one.name: one for one in opened.values() if one.deep in spans}
    opaque = not any(one.image.mode.endswith("A") for one in opened.values() if one.image)
    binary = opaque and not deep and _brightest(opened.values()) == 1
    if deep or binary:
        again = [name for name in entries if name in deep or (binary and opened[name].image)]
        opened |= {one.name: one for one in _opened(entries, again, size, spans, 255 if binary else 1)}
    kept = {name: opened[name] for name in entries if opened[name].image is not None}
    skipped = [f"{one.name}: {one.reason}" for one in opened.values() if one.image is None]
    measured = [one for name, one in kept.items() if name not in held]
    if not measured:
        what = f"none of its {len(skipped)} pictures can be read ({skipped[0]})" if skipped else "it has no pictures"
        raise DifftoolError(Exit.FILE, what, "name pictures such as .jpeg, .jpg, .png, .webp")
    if size is None:
        sizes = {one.size for one in measured}
        only = next(iter(sizes)) if len(sizes) == 1 else USUAL
        size = only if max(only) <= LARGEST else USUAL
    images = [one.image for one in kept.values() if one.image is not None]
    mode = _common({one.image.mode for one in measured if one.image is not None})
    pixels = np.stack([pixels_of(fit(image, size).convert(mode)) for image in images])
    zero_one = binary or any(span == (0, 1) and mode != "F" for mode, span in spans.items())
    return Decoded(pixels, [*kept], tuple(skipped), _notes(kept.values(), zero_one))


def _opened(
    entries: Contents, names: Iterable[str], size: tuple[int, int] | None, spans: Mapping[str, Span], factor: int
) -> Iterator[_Opened]:
    """These pictures in the order of their names, deep ones with the `spans` of their modes, or (where there is none
    yet) without an image; values are multiplied by `factor`."""
    alone = threading.Lock()

    def one(name: str) -> _Opened:
        try:
            with open_image(io.BytesIO(entries[name]())) as file:
                large = file.width * file.height > ALONE
                with alone if large else nullcontext():
                    return shrunk(name, file)
        except MemoryError:
            raise
        except Exception as error:  # Pillow's readers raise whatever a broken file provokes
            return _Opened(name, reason=reason_of(error))

    def shrunk(name: str, file: Image.Image) -> _Opened:
        deep = file.mode if is_deep(file) else ""
        frames = bool(getattr(file, "is_animated", False)) and file.format != "MPO"
        if deep and deep not in spans:
            return _Opened(name, deep=deep, extent=extent(file))
        if deep and not within(extent(file), spans[deep]):
            low, high, _ = extent(file)
            return _Opened(name, reason=f"its values run from {low:g} to {high:g}")
        image = upright(file, spans.get(deep))
        if factor > 1:
            image = image.point(lambda value: value * factor)
        found = image.size
        large = max(found) > LARGEST  # and then no size of its own can be that of all
        image = fit(image, size or USUAL) if size or large else image.copy()
        return _Opened(name, image, found, frames=frames)

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")  # Pillow warns of oddities in pictures that it can read
        yield from _in_turn(pool, one, names)


def _spans(deep: Collection[_Opened]) -> dict[str, Span]:
    """By their mode, which values of deep pictures mean black and white: what the values of all of them say, as one
    alone may be dark. What has values of no such meaning does not count, and its mode has none if all are so."""
    spans: dict[str, Span] = {}
    for mode in sorted({one.deep for one in deep}):
        extents = [one.extent for one in deep if one.deep == mode]
        for group in (extents, [own for own in extents if _means(own)]):
            joint = (min(own[0] for own in group), max(own[1] for own in group), mode != "F") if group else (0, 0, True)
            if group and _means(joint):
                spans[mode] = span_of(*joint)
                break
    return spans


def _means(own: tuple[float, float, bool]) -> bool:
    try:
        span_of(*own)
    except ValueError:
        return False
    return True


def within(own: tuple[float, float, bool], span: Span) -> bool:
    slack = 0.05 * (span[1] - span[0])
    return span[0] - slack <= own[0] and own[1] <= span[1] + slack


def _brightest(opened: Iterable[_Opened]) -> int:
    """The highest value of pictures that are not deep, alpha aside."""
    return max((_highest(one.image) for one in opened if one.image is not None), default=0)


def _highest(image: Image.Image) -> int:
    found: Any = image.getextrema()
    bands = found if isinstance(found[0], tuple) else [found]
    return max(high for _, high in (bands[:-1] if image.mode.endswith("A") else bands))


def _notes(kept: Collection[_Opened], zero_one: bool) -> tuple[str, ...]:
    notes = ["their values are 0 and 1, taken for black and white"] if zero_one else []
    dark = [one.name for one in kept if one.image is not None and _highest(one.image) <= DARK]
    if len(dark) == len(kept):
        notes.append(f"the pictures are nearly black: no value is above {_brightest(kept)} of 255")
    elif dark:
        notes.append(f"{some(dark, 'picture')} nearly black: no value is above {DARK} of 255")
    if several := [one.name for one in kept if one.frames]:
        notes.append(f"{some(several, 'picture')} of several frames: the first is taken")
    return tuple(notes)


def some(names: Collection[str], what: str) -> str:
    """How many of `what` there are, and what the first are called."""
    first = ", ".join(list(names)[:3])
    return f"{counted(len(names), what)} ({first}{', ...' if len(names) > 3 else ''})"


def _in_turn(pool: ThreadPoolExecutor, work: Callable[[str], Any], names: Iterable[str]) -> Iterator[Any]:
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
    first = (getattr(error, "strerror", None) or str(error)).splitlines() or [""]
    return first[0].split(" '")[0].split(": '")[0].split(" <")[0] or type(error).__name__
