"""Pictures as files: grids, and PNGs that say how they were made."""

from __future__ import annotations

import errno
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from .core.solve import SAMPLERS
from .errors import DifftoolError, Exit
from .files import replacing
from .provenance import remember, shared

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    Pixels = np.ndarray[Any, np.dtype[np.uint8]]

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
MOST_PROFILE, MOST_TEXT = 2**20, PngImagePlugin.MAX_TEXT_MEMORY
"""Bytes of a colour profile, and of a text, that a PNG may unpack to. Pillow grants texts as little as profiles, and
workflows are larger than that."""
PngImagePlugin.MAX_TEXT_CHUNK = MOST_TEXT
GAP = 2
GRID_PIXELS = 512
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF", "PPM", "HEIF")
"""What a picture is opened as, by Pillow's names: readers of other formats start programs (EPS: Ghostscript)."""
MOST_PIXELS = 120_000_000
"""Of a picture: it takes four bytes each."""


def to_pixels(x: Tensor) -> Pixels:
    """Pictures (N, C, H, W) with values in [-1, 1] as uint8 (N, H, W, C); what lies outside is cut off."""
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def grid(pixels: Pixels, columns: int | None = None) -> Pixels:
    """Pictures (N, H, W, C) side by side, row by row, each enlarged by the same whole factor until the grid is 512 px
    wide."""
    n, height, width, channels = pixels.shape
    columns = min(columns or math.ceil(math.sqrt(n)), n)
    rows = math.ceil(n / columns)
    factor = max(1, math.ceil((GRID_PIXELS - GAP * (columns - 1)) / (columns * width)))
    large = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = height * factor, width * factor
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), 128, dtype=np.uint8)
    for k, picture in enumerate(large):
        top, left = (k // columns) * (height + GAP), (k % columns) * (width + GAP)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def points(pixels: Pixels) -> bool:
    """Whether pictures (N, H, W, C) are points of the plane: one pixel of two values."""
    return pixels.shape[1:] == (1, 1, 2)


def sheet(pixels: Pixels, columns: int | None = None) -> Pixels:
    """Pictures as a `grid`, points in a scatter plot."""
    return plot_points(pixels) if points(pixels) else grid(pixels, columns)


def write_png(path: Path, pixels: Pixels, manifest: Mapping[str, Any] | None = None) -> None:
    """Writes one picture (H, W, C), with its manifest in a `difftool` chunk and, if it tells of a model, in the
    `parameters` form that other tools read."""
    info = PngImagePlugin.PngInfo()
    if manifest is not None:
        if "model" in manifest:
            info.add_text("parameters", parameters(manifest).encode(errors="replace").decode())
        info.add_itxt("difftool", _told(manifest))  # in ASCII, which also holds names that are no UTF-8
    image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels, MODES[pixels.shape[2]])
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=info)


def _told(manifest: Mapping[str, Any]) -> str:
    """What a file says of how it was made."""
    remember(manifest)
    return json.dumps(shared(manifest))


def read_png(path: Path) -> tuple[Pixels, str | None, dict[str, Any] | None]:
    """(pixels (H, W, C), the `parameters` text, the manifest) of a PNG, or of a picture of other tools that has such a
    text in its EXIF. Raises DifftoolError 4 for a file that is no picture or whose manifest is damaged."""
    with opened(path) as image:
        image.load()
        pixels = np.asarray(image)
        texts = dict(getattr(image, "text", {}))
        parameters = texts.get("parameters") or _comment(image)
    manifest = _manifest(path, texts)
    return pixels[..., None] if pixels.ndim == 2 else pixels, parameters, manifest


def texts_in(path: Path) -> list[str]:
    """What the texts in a PNG are called. Raises DifftoolError 4 for a file that is no picture."""
    with opened(path) as image:
        return [*getattr(image, "text", {})]


def _comment(image: Image.Image) -> str | None:
    """The comment of a picture, where it tells of steps as the `parameters` form does: that of a JPEG or WebP stands in
    its EXIF, behind 8 bytes that name its coding."""
    exif = image.getexif()
    comment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment) or image.info.get("comment") or b""
    if not isinstance(comment, bytes):
        readings = [str(comment)]
    elif comment[:8] == b"UNICODE\0":  # in the order of the EXIF's bytes, or, by most tools, big-endian in any case
        orders = ("utf-16-le", "utf-16-be") if exif.endian == "<" else ("utf-16-be", "utf-16-le")
        readings = [comment[8:].decode(order, "replace") for order in orders]
    else:
        readings = [comment.removeprefix(b"ASCII\0\0\0").decode("utf-8", "replace")]
    found = (text.strip("\0\ufeff \r\n\t") for text in readings)
    return next((text for text in found if re.search(r"\bsteps\b", text, re.IGNORECASE)), None)


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of a PNG, without its pixels. Raises DifftoolError 4 as `read_png` does."""
    with opened(path) as image:
        return _manifest(path, getattr(image, "text", {}))


def is_cut_off(path: Path) -> bool:
    """Whether a file that cannot be read as a picture is what a write that broke off left of a PNG, or of nothing."""
    with path.open("rb") as file:
        head = file.read(8)
    return b"\x89PNG\r\n\x1a\n".startswith(head)


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


def _manifest(path: Path, texts: Mapping[str, Any]) -> dict[str, Any] | None:
    if "difftool" not in texts:
        return None
    try:
        manifest = json.loads(texts["difftool"], parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise DifftoolError(
            Exit.FILE, f"the settings in {path} are damaged: {error}", "take another copy of the file"
        ) from error
    if not isinstance(manifest, dict):
        raise DifftoolError(Exit.FILE, f"the settings in {path} are damaged", "take another copy of the file")
    return manifest


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is too large")
    return value


def parameters(manifest: Mapping[str, Any]) -> str:
    """A manifest in the form of the AUTOMATIC1111 web UI: a line of prompt, then ``Name: value, ...``; values that
    hold a comma, a colon or a line break are quoted as JSON."""
    settings, model, item = manifest["settings"], manifest["model"], manifest.get("item", {})
    height, width = model["size"]
    row = SAMPLERS[settings["sampler"]]
    fields = {
        "Steps": settings["steps"],
        "Sampler": row.title,
        "Schedule type": settings["schedule"].capitalize(),
        **({"Eta": settings["eta"]} if settings.get("eta") not in (None, *row.defaults.values()) else {}),
        "CFG scale": settings["guidance"],
        **({"True CFG scale": settings["true_cfg"]} if settings.get("true_cfg", 1) != 1 else {}),
        "Seed": item.get("seed", settings["seed"]),
        "Size": f"{width}x{height}",
        "Model hash": model["sha256"][:10],
        "Model": model["name"],
        **({"Denoising strength": settings["strength"]} if settings.get("strength") else {}),
        **({"Clip skip": settings["clip_skip"]} if settings.get("clip_skip", 1) > 1 else {}),
        "RNG": "Philox",
        "Version": f"difftool {manifest['versions']['difftool']}",
    }
    head = settings.get("prompt") or item.get("label") or ""
    if settings.get("negative"):
        head += f"\nNegative prompt: {settings['negative']}"
    return f"{head}\n" + ", ".join(f"{name}: {_quoted(str(value))}" for name, value in fields.items())


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if any(mark in value for mark in ',:\n"') else value


def strip(columns: Sequence[Pixels]) -> Pixels:
    """A sheet with a column for each of these moments (N, H, W, C) and a row for each picture."""
    rows = np.stack(columns, axis=1)
    return grid(rows.reshape(-1, *rows.shape[2:]), len(columns))


def write_gif(
    path: Path,
    frames: Sequence[Pixels],
    manifest: Mapping[str, Any],
    first: int = 500,
    each: int = 80,
    last: int = 2000,
) -> None:
    """Writes pictures (H, W, C) as an animation that repeats, its manifest as a comment; milliseconds of the first, of
    each and of the last."""
    images = [
        Image.fromarray(frame.squeeze(2) if frame.shape[2] == 1 else frame, MODES[frame.shape[2]]) for frame in frames
    ]
    images = [image if image.mode in ("L", "RGB") else image.convert("RGB") for image in images]
    times = [each] * len(images)
    times[0], times[-1] = first, last
    with replacing(path) as temporary:
        kept = {"append_images": images[1:], "duration": times, "loop": 0, "comment": _told(manifest)}
        images[0].save(temporary, format="GIF", save_all=True, **kept)


def plot_compared(
    path: Path, blocks: Sequence[tuple[str, Pixels]], title: str, manifest: Mapping[str, Any] | None = None
) -> None:
    """A PNG of blocks side by side, each a caption and pictures (rows, columns, H, W, C)."""
    across = min(len(blocks), 4)
    down = math.ceil(len(blocks) / across)
    rows, columns = blocks[0][1].shape[:2]
    metadata = {} if manifest is None else {"difftool": _told(manifest)}
    with _figure(path, 3.2 * across, (3.0 * rows / columns + 0.6) * down + 0.4, metadata) as figure:
        for place, (caption, pixels) in enumerate(blocks, 1):
            axes = figure.add_subplot(down, across, place)
            sheet = grid(pixels.reshape(-1, *pixels.shape[2:]), columns)
            axes.imshow(sheet.squeeze(2) if sheet.shape[2] == 1 else sheet, cmap="gray", vmin=0, vmax=255)
            axes.set_title(caption, fontsize=9, parse_math=False)
            axes.set_axis_off()
        figure.suptitle(title, fontsize=10, parse_math=False)


Curve = tuple[Sequence[float], Sequence[float]]


def plot_curves(path: Path, panels: Mapping[str, Mapping[str, Curve]], title: str) -> None:
    """A PNG of panels one below the other, each with curves of (pictures seen, value) by name, the raw values of long
    ones behind their running mean."""
    from matplotlib.ticker import EngFormatter

    with _figure(path, 8, 3.6 * len(panels) + 0.6) as figure:
        for place, (name, curves) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(len(panels), 1, place)
            for k, (label, (x, y)) in enumerate(curves.items()):
                colour = f"C{k}"
                window = np.ones(max(len(y) // 20, 1))
                if len(y):
                    mean = np.convolve(y, window, "same") / np.convolve(np.ones(len(y)), window, "same")
                    axes.plot(x, y, color=colour, linewidth=1, alpha=0.25)
                    axes.plot(x, mean, color=colour, label=label)
            if any(len(y) for _, y in curves.values()):
                axes.legend()
            axes.set(xlabel="pictures seen", ylabel=name)
            axes.xaxis.set_major_formatter(EngFormatter())
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
        figure.suptitle(title, parse_math=False)


def plot_points(points: Pixels) -> Pixels:
    """A scatter plot (H, W, 3) of points (N, 1, 1, 2) whose values 0 to 255 lie evenly over the picture, y upwards;
    where more points lie it is darker."""
    side = 2 * 256
    count = np.zeros((side, side), dtype=np.float32)
    x, y = points[:, 0, 0, 0].astype(int) * 2, (255 - points[:, 0, 0, 1].astype(int)) * 2
    for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
        np.add.at(count, (y + a, x + b), 1.0)
    shade = np.where(count > 0, 0.35 + 0.65 * count / max(float(count.max()), 1.0), 0.0)[..., None]
    return (255 * (1 - shade) + np.array([31, 78, 160]) * shade).round().astype(np.uint8)


@contextmanager
def _figure(path: Path, width: float, height: float, metadata: Mapping[str, str] | None = None) -> Iterator[Figure]:
    """A figure of so many inches, written as PNG in the end; whatever settings of matplotlib the caller has, it has
    none."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", metadata=dict(metadata or {}))
