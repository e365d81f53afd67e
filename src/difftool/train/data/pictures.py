"""Training pictures: read once into uint8 arrays with labels and captions, split, and cached."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np

from ...errors import DifftoolError, Exit, nearest
from ...files import cache_dir, expanded, replace_folder, temporary, write_json
from ...pictures.sheets import points
from . import sources
from .cached import bounded, held_in_memory, key_of
from .contents import contents, named_in_errors
from .decode import SUFFIXES, Pixels
from .labels import classes_of
from .raw import Raw, rows_of
from .tables import hub

if TYPE_CHECKING:
    from .sounds import Sounds

log = logging.getLogger(__name__)

HELD_OUT = 0.05
"""Share of the pictures held out by default, if there are at least LEAST."""
LEAST = 100
SCHEMA = "difftool/pictures/2"
"""Version of the cache; it changes when the same files give other pictures, labels or captions."""
RASTER = 256
"""2-D points lie on a raster of so many values in each direction."""


class AboutPart(TypedDict):
    """What is cached of a part of a data set beside its pixels."""

    labels: list[int] | None
    captions: list[str] | None


class About(TypedDict):
    """about.json of a data set in the cache."""

    classes: list[str]
    skipped: list[str]
    notes: list[str]
    duplicates: int
    train: AboutPart
    held: AboutPart | None


class Pictures(NamedTuple):
    """A data set in memory, or mapped into it."""

    name: str
    pixels: Pixels
    """(N, H, W, C)"""
    labels: np.ndarray[Any, np.dtype[np.int64]] | None = None
    classes: list[str] = []  # noqa: RUF012
    captions: list[str] | None = None
    held_out: Pictures | None = None
    """Pictures that are never trained on, for evaluation."""
    tones: int = 256
    """Number of grey levels in the data."""
    skipped: tuple[str, ...] = ()
    """Files that could not be read, as "path: reason"."""
    notes: tuple[str, ...] = ()
    """Notes for the user: what is not used, and how the rest was read."""
    duplicates: int = 0
    """Number of pictures that repeat an earlier one."""
    path: Path | None = None
    """The file or folder they were read from, if any."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the training data."""
        digest = hashlib.sha256(str(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data.cast("B"))
        digest.update(b"" if self.labels is None else self.labels.tobytes())
        digest.update(b"" if self.captions is None else "\n".join(self.captions).encode())
        return digest.hexdigest()

    @property
    def points(self) -> bool:
        """Whether they are 2-D points, stored as two channels of one pixel."""
        return points(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of each"""
        _, height, width, channels = self.pixels.shape
        return channels, height, width

    @property
    def items(self) -> int:
        return len(self.pixels)

    @property
    def sound(self) -> None:
        """The sounds that a model of them generates, which are none."""
        return None

    @property
    def summary(self) -> str:
        """The data set in one line."""
        channels, height, width = self.shape
        if self.points:
            parts = [f"{self.items:,} points"]
        else:
            kinds = {1: "grey", 2: "grey with alpha", 3: "RGB", 4: "RGBA"}
            parts = [f"{self.items:,} pictures of {width}x{height}, {kinds[channels]}"]
        if self.classes:
            parts.append(classes_of(self.classes))
        if self.captions is not None:
            parts.append("with captions")
        if self.held_out is not None:
            parts.append(f"{self.held_out.items:,} more held out")
        if self.duplicates:
            parts.append(f"{self.duplicates:,} duplicates")
        return f"{self.name}: {', '.join(parts)}"


def load(source: str, size: tuple[int, int] | None = None, held_out: float | None = None) -> Pictures:
    """A built-in set, `hf:name`, or a file or folder that `sources.read` knows (./digits for a folder of that name).
    `size` is (width, height), `held_out` the share held out for evaluation. Files are decoded once and then mapped from
    the user's cache, by the hash of their contents. Raises DifftoolError 4 if the data cannot be trained on."""
    if not source:
        raise DifftoolError(Exit.USAGE, "the name of the data is empty", f"pass {sources.KNOWN}, or {_built_in()}")
    if held_out is not None and not 0 <= held_out < 1:
        raise DifftoolError(Exit.USAGE, f"held-out must be at least 0 and below 1, not {held_out}", "try 0.05")
    if source in BUILT_IN:
        return _own(source, size, held_out)
    path = hub(source.removeprefix("hf:")) if source.startswith("hf:") else expanded(source)
    if not path.exists():
        near = nearest(source, BUILT_IN)
        hint = f"did you mean {near}?" if near else f"pass {sources.KNOWN}, or {_built_in()}"
        raise DifftoolError(Exit.FILE, f"no such file or folder: {source}", hint)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        raise DifftoolError(Exit.FILE, f"{source} is a single picture", f"pass its folder: {path.parent}")
    with named_in_errors(source):
        pictures = _read(path, size, held_out)
    return pictures._replace(name=path.stem or str(path), path=path)


def _own(source: str, size: tuple[int, int] | None, held_out: float | None) -> Pictures:
    """A built-in set, which has a fixed size and held-out part."""
    pictures = BUILT_IN[source]()
    _, height, width, _ = pictures.pixels.shape
    if size not in (None, (width, height)):
        raise DifftoolError(Exit.USAGE, f"{source} has the fixed size {width}x{height}", "leave out --size")
    if held_out is not None:
        raise DifftoolError(Exit.USAGE, f"{source} has a fixed held-out part", "leave out --held-out")
    return pictures


def _read(path: Path, size: tuple[int, int] | None, held_out: float | None) -> Pictures:
    """The pictures in a file or folder, cached by the contents of the files that are used."""
    source = contents(path)
    _, files, _ = sources.kind_of_files(source.files)
    files = held_in_memory(files, source.size)
    key = key_of([SCHEMA, size, held_out, *source.left_out, *source.aside], source.files, files)

    def read() -> Pictures:
        raw = sources.read_source({**source.files, **files}, size)
        skipped, notes = [*raw.skipped, *source.left_out], [*raw.notes]
        if source.aside:
            notes.append(f"hidden folders and thumbnails left out: {', '.join(source.aside)}")
        raw = raw._replace(skipped=tuple(skipped), notes=tuple(notes))
        return _split(raw, held_out)

    return _kept(key, read)


def announce(data: Pictures | Sounds) -> None:
    """Logs a warning for each file that was skipped and each note on the data."""
    for reason in data.skipped:
        log.warning(f"skipped {reason}")
    for note in data.notes:
        log.warning(note)


def _split(raw: Raw, held_out: float | None) -> Pictures:
    """Held-out pictures apart: the source's test part, or a fixed share of the pictures that occur only once. Raises
    DifftoolError 2 if the requested share is less than one picture."""
    notes = [*raw.notes]
    count = len(raw.pixels)
    hashes = [hashlib.blake2b(p.tobytes(), digest_size=16).digest() for p in raw.pixels]
    copies = Counter(hashes)
    test = raw.test
    if test is not None and test.pixels.shape[1:] != raw.pixels.shape[1:]:
        notes.append("the test part is left out: its pictures have a different size")
        test = None
    if test is not None and held_out:
        notes.append("the data has a test part; no other pictures are held out")
    train = np.arange(count)
    share = HELD_OUT if held_out is None else held_out
    if test is None and share and (count >= LEAST or held_out is not None):
        order = np.random.RandomState(0).permutation(count)
        single = [k for k in order if copies[hashes[k]] == 1]
        wanted = int(share * count)
        if not wanted:
            message = f"held-out {share:g} of {count:,} pictures is less than one picture"
            raise DifftoolError(Exit.USAGE, message, f"use at least --held-out {math.ceil(100 / count) / 100:g}")
        if len(single) < wanted:
            notes.append(f"only {len(single):,} pictures are held out: all others are duplicates")
        held = np.sort(single[:wanted]).astype(int)
        train = np.setdiff1d(train, held)
        test = rows_of(raw, held) if len(held) else None
    kept = rows_of(raw, train) if len(train) < count else raw
    held_part = None
    if test is not None:
        held_part = Pictures("", test.pixels, test.labels, raw.classes, test.captions)
    pictures = Pictures("", kept.pixels, kept.labels, raw.classes, kept.captions, held_part)
    return pictures._replace(skipped=raw.skipped, notes=tuple(notes), duplicates=count - len(copies))


# --- the cache -------------------------------------------------------------------------------------------------------


def cache() -> Path:
    """The folder of decoded data sets, of pictures and of sounds."""
    return cache_dir() / "pictures"


def _kept(key: str, make: Callable[[], Pictures]) -> Pictures:
    """The data set in the cache under `key`; if it is not there, the result of `make`, which is then cached."""
    folder = cache() / key
    if not (folder / "about.json").exists():
        pictures = make()
        try:
            _keep(folder, pictures)
        except OSError as error:
            log.warning(
                f"cannot cache the decoded pictures in {folder.parent}: {error.strerror}; keeping them in memory"
            )
            return pictures
    with suppress(OSError):  # of another user's cache
        os.utime(folder)
    about: About = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    train = _part(folder / "train.npy", about["train"], about["classes"])
    held = None
    if about["held"] is not None:
        held = _part(folder / "held.npy", about["held"], about["classes"])
    skipped, notes = tuple(about["skipped"]), tuple(about["notes"])
    return train._replace(held_out=held, duplicates=about["duplicates"], skipped=skipped, notes=notes)


def _part(path: Path, about: AboutPart, classes: list[str]) -> Pictures:
    pixels = np.load(path, mmap_mode="c")
    labels = None if about["labels"] is None else np.array(about["labels"], dtype=np.int64)
    return Pictures("", pixels, labels, classes, about["captions"])


def _keep(folder: Path, pictures: Pictures) -> None:
    fresh = temporary(folder)
    fresh.mkdir(parents=True)
    try:
        train = _save(fresh / "train.npy", pictures)
        held = None if pictures.held_out is None else _save(fresh / "held.npy", pictures.held_out)
        about: About = {
            "classes": pictures.classes,
            "skipped": [*pictures.skipped],
            "notes": [*pictures.notes],
            "duplicates": pictures.duplicates,
            "train": train,
            "held": held,
        }
        write_json(fresh / "about.json", about)
        replace_folder(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    bounded(folder)


def _save(path: Path, part: Pictures) -> AboutPart:
    np.save(path, part.pixels)
    labels = None if part.labels is None else part.labels.tolist()
    return {"labels": labels, "captions": part.captions}


# --- built-in data sets ----------------------------------------------------------------------------------------------


def digits() -> Pictures:
    """The 1,797 handwritten digits of the UCI repository, from scikit-learn, 8x8 with 17 grey levels: 1,297 to train on
    and 500 held out, the same in every call."""
    from sklearn.datasets import load_digits

    images, numbers = load_digits(return_X_y=True)
    grey = np.round(images * (255 / 16)).astype(np.uint8)
    pixels = grey.reshape(-1, 8, 8, 1)
    labels = numbers.astype(np.int64)
    order = np.random.RandomState(0).permutation(len(pixels))
    held, train = order[:500], order[500:]
    classes = [str(k) for k in range(10)]
    held_out = Pictures("digits", pixels[held], labels[held], classes, tones=17)
    return Pictures("digits", pixels[train], labels[train], classes, held_out=held_out, tones=17)


SHAPES, SHAPES_HELD = 20_000, 500


def shapes() -> Pictures:
    """Captioned pictures of `shapes.draw_set`, drawn once and cached; the label is the shape of the first object."""
    from ...text2img.vocabulary import vocabulary
    from .shapes import draw_set

    def make() -> Pictures:
        words, parts = vocabulary()["shapes"], []
        log.info(f"drawing {SHAPES + SHAPES_HELD:,} pictures of shapes (only once)")
        for count, held in ((SHAPES, False), (SHAPES_HELD, True)):
            pixels, scenes = draw_set(count, held=held)
            first = [scene.objects[0][1] for scene in scenes]
            labels = np.array([words.index(shape) for shape in first], np.int64)
            captions = [scene.caption for scene in scenes]
            parts.append(Pictures("shapes", pixels, labels, words, captions))
        return parts[0]._replace(held_out=parts[1])

    how = json.dumps([SCHEMA, "shapes", 1, SHAPES, vocabulary()])
    return _kept(hashlib.sha256(how.encode()).hexdigest(), make)._replace(name="shapes")


TOYS, TOYS_HELD = 10_000, 1_000


def _toy(name: str) -> Pictures:
    """2-D points within [-1, 1], on a raster of RASTER values in each direction: (N, 1, 1, 2), a picture of one pixel
    with two channels."""
    from sklearn import datasets

    count, rng = TOYS + TOYS_HELD, np.random.RandomState(0)
    if name == "moons":
        moons, _ = datasets.make_moons(count, noise=0.05, random_state=0)
        plane = np.asarray(moons) - np.array([0.5, 0.25])
    elif name == "swiss_roll":
        roll, _ = datasets.make_swiss_roll(count, noise=0.4, random_state=0)
        plane = roll[:, [0, 2]]
    else:
        angles = rng.randint(8, size=count) * (np.pi / 4)
        centres = np.stack([np.cos(angles), np.sin(angles)], 1)
        plane = centres + 0.07 * rng.standard_normal((count, 2))
    plane = 0.95 * plane / np.abs(plane).max()
    raster = np.round((plane + 1) * ((RASTER - 1) / 2)).astype(np.uint8)
    pixels = raster.reshape(-1, 1, 1, 2)
    return Pictures(name, pixels[TOYS_HELD:], held_out=Pictures(name, pixels[:TOYS_HELD]))


BUILT_IN: dict[str, Callable[[], Pictures]] = {
    "digits": digits,
    "shapes": shapes,
    **{name: (lambda name=name: _toy(name)) for name in ("moons", "swiss_roll", "eight_gaussians")},
}
"""Data sets that need no file."""


def _built_in() -> str:
    return ", ".join(BUILT_IN)
