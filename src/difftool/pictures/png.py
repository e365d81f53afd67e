"""PNGs and GIFs that say how they were made."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

from ..core.solve import SAMPLERS
from ..errors import DifftoolError, Exit
from ..files import ItemNote, PictureManifest, replacing
from ..provenance import remember, shared

if TYPE_CHECKING:
    from . import Pixels
from .images import opened

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def write_png(path: Path, pixels: Pixels, manifest: Mapping[str, object] | None = None) -> None:
    """Writes one picture (H, W, C), with its manifest in a `difftool` chunk and, if it tells of a model, in the
    `parameters` form that other tools read."""
    info = PngImagePlugin.PngInfo()
    if manifest is not None:
        if "model" in manifest:
            info.add_text("parameters", parameters(cast("PictureManifest", manifest)).encode(errors="replace").decode())
        info.add_itxt("difftool", _told(manifest))  # in ASCII, which also holds names that are no UTF-8
    image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels, MODES[pixels.shape[2]])
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=info)


def _told(manifest: Mapping[str, object]) -> str:
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


def _manifest(path: Path, texts: Mapping[str, str]) -> dict[str, Any] | None:
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


def parameters(manifest: PictureManifest) -> str:
    """A manifest in the form of the AUTOMATIC1111 web UI: a line of prompt, then ``Name: value, ...``; values that
    hold a comma, a colon or a line break are quoted as JSON."""
    settings, model = manifest["settings"], manifest["model"]
    item: ItemNote = manifest.get("item", {"index": 0, "seed": settings["seed"]})
    height, width = model["size"]
    row = SAMPLERS[settings["sampler"]]
    fields = {
        "Steps": settings["steps"],
        "Sampler": row.title,
        "Schedule type": settings["schedule"].capitalize(),
        **({"Eta": settings["eta"]} if settings.get("eta") not in (None, *row.defaults.values()) else {}),
        "CFG scale": settings["guidance"],
        **({"True CFG scale": settings["true_cfg"]} if settings.get("true_cfg", 1) != 1 else {}),
        "Seed": item["seed"],
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


def write_gif(
    path: Path,
    frames: Sequence[Pixels],
    manifest: Mapping[str, object],
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
