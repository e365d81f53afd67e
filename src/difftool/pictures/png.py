"""PNGs and GIFs with their settings in the metadata."""

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
    """Writes a picture (H, W, C) with its manifest in a `difftool` chunk and, if a network drew it, as
    `parameters`, which other tools read."""
    info = PngImagePlugin.PngInfo()
    if manifest is not None:
        if "model" in manifest and "sampler" in cast("dict[str, object]", manifest["settings"]):
            text = parameters(cast("PictureManifest", manifest))
            info.add_text("parameters", text.encode(errors="replace").decode())
        info.add_itxt("difftool", _as_json(manifest))  # ASCII, which can hold names that are not UTF-8
    image = _image(pixels)
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=info)


def _image(pixels: Pixels) -> Image.Image:
    """Pixels (H, W, C) as a Pillow image."""
    channels = pixels.shape[2]
    return Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels, MODES[channels])


def _as_json(manifest: Mapping[str, object]) -> str:
    """A manifest as stored in a file, without absolute paths."""
    remember(manifest)
    return json.dumps(shared(manifest))


def read_png(path: Path) -> tuple[Pixels, str | None, dict[str, Any] | None]:
    """(pixels (H, W, C), the `parameters` text, the manifest) of a PNG, or of a picture with such a text in its EXIF.
    Raises DifftoolError 4 if the file is not a picture or its manifest is damaged."""
    with opened(path) as image:
        image.load()
        pixels = np.asarray(image)
        texts = dict(getattr(image, "text", {}))
        parameters = texts.get("parameters") or _comment(image)
    manifest = _manifest(path, texts)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return pixels, parameters, manifest


def texts_in(path: Path) -> list[str]:
    """The names of the text chunks of a PNG. Raises DifftoolError 4 if the file is not a picture."""
    with opened(path) as image:
        return [*getattr(image, "text", {})]


def _comment(image: Image.Image) -> str | None:
    """The comment of a picture, if it mentions steps as `parameters` do. JPEG and WebP have it in their EXIF, after 8
    bytes that name the encoding."""
    exif = image.getexif()
    comment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    comment = comment or image.info.get("comment") or b""
    if not isinstance(comment, bytes):
        readings = [str(comment)]
    elif comment[:8] == b"UNICODE\0":  # in the EXIF's byte order, but most tools always write big-endian
        orders = ("utf-16-le", "utf-16-be") if exif.endian == "<" else ("utf-16-be", "utf-16-le")
        readings = [comment[8:].decode(order, "replace") for order in orders]
    else:
        readings = [comment.removeprefix(b"ASCII\0\0\0").decode("utf-8", "replace")]
    for reading in readings:
        text = reading.strip("\0\ufeff \r\n\t")
        if re.search(r"\bsteps\b", text, re.IGNORECASE):
            return text
    return None


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of a PNG, without decoding its pixels. Raises DifftoolError 4 as `read_png` does."""
    with opened(path) as image:
        return _manifest(path, getattr(image, "text", {}))


def is_cut_off(path: Path) -> bool:
    """Whether an unreadable file is a truncated PNG or empty, as an interrupted write leaves."""
    with path.open("rb") as file:
        head = file.read(8)
    return b"\x89PNG\r\n\x1a\n".startswith(head)


def _manifest(path: Path, texts: Mapping[str, str]) -> dict[str, Any] | None:
    if "difftool" not in texts:
        return None
    try:
        manifest = json.loads(texts["difftool"], parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        message = f"the settings in {path} are damaged: {error}"
        raise DifftoolError(Exit.FILE, message, "use another copy of the file") from error
    if not isinstance(manifest, dict):
        raise DifftoolError(Exit.FILE, f"the settings in {path} are damaged", "use another copy of the file")
    return manifest


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is too large")
    return value


def parameters(manifest: PictureManifest) -> str:
    """A manifest in the format of the AUTOMATIC1111 web UI: the prompt, then ``Name: value, ...``; values with a comma,
    a colon or a line break are quoted as JSON."""
    settings, model = manifest["settings"], manifest["model"]
    item: ItemNote = manifest.get("item", {"index": 0, "seed": settings["seed"]})
    height, width = model["size"]
    row = SAMPLERS[settings["sampler"]]
    fields: dict[str, object] = {"Steps": settings["steps"], "Sampler": row.title}
    fields["Schedule type"] = settings["schedule"].capitalize()
    if settings.get("eta") not in (None, row.defaults.get("eta", row.defaults.get("sde"))):
        fields["Eta"] = settings["eta"]
    fields["CFG scale"] = settings["guidance"]
    if settings.get("true_cfg", 1) != 1:
        fields["True CFG scale"] = settings["true_cfg"]
    fields |= _guidance(settings)
    fields["Seed"] = item["seed"]
    fields["Size"] = f"{width}x{height}"
    fields["Model hash"] = model["sha256"][:10]
    fields["Model"] = model["name"]
    if settings.get("strength"):
        fields["Denoising strength"] = settings["strength"]
    if settings.get("clip_skip", 1) > 1:
        fields["Clip skip"] = settings["clip_skip"]
    fields["RNG"] = "Philox"
    fields["Version"] = f"difftool {manifest['versions']['difftool']}"
    head = settings.get("prompt") or item.get("label") or ""
    if settings.get("negative"):
        head += f"\nNegative prompt: {settings['negative']}"
    pairs = [f"{name}: {_quoted(str(value))}" for name, value in fields.items()]
    return f"{head}\n{', '.join(pairs)}"


def _guidance(settings: Mapping[str, Any]) -> dict[str, object]:
    """What differs from plain guidance, by the names of extensions where they have one."""
    low, high = settings.get("guidance_interval") or (None, None)
    mode = settings.get("guidance_mode", "cfg")
    fields = {
        "Guidance mode": None if mode == "cfg" else mode,
        "CFG Interval Low": low,
        "CFG Interval High": high,
        "CFG Rescale": settings.get("guidance_rescale") or None,
        "Skip layers": ", ".join(map(str, settings.get("skip_layers") or ())) or None,
        "Sigma churn": settings.get("churn") or None,
        "Dynamic threshold": settings.get("dynamic_threshold"),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _quoted(value: str) -> str:
    needs_quotes = any(mark in value for mark in ',:\n"')
    return json.dumps(value, ensure_ascii=False) if needs_quotes else value


def write_gif(
    path: Path,
    frames: Sequence[Pixels],
    manifest: Mapping[str, object],
    first: int = 500,
    each: int = 80,
    last: int = 2000,
) -> None:
    """Writes pictures (H, W, C) as an endless animation with its manifest as the comment; `first`, `each` and `last`
    are durations of frames in milliseconds."""
    images = [_image(frame) for frame in frames]
    images = [image if image.mode in ("L", "RGB") else image.convert("RGB") for image in images]
    times = [each] * len(images)
    times[0], times[-1] = first, last
    with replacing(path) as temporary:
        options = {"append_images": images[1:], "duration": times, "loop": 0, "comment": _as_json(manifest)}
        images[0].save(temporary, format="GIF", save_all=True, **options)
