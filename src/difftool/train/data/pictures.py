"""Training pictures: read once into uint8 arrays, with their labels and captions, split, and kept for the next time."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np

from ...errors import DifftoolError, Exit, nearest
from ...files import expanded, replace_folder, temporary, write_json
from ...pictures.sheets import points
from . import sources
from .contents import UNREADABLE, contents
from .decode import SUFFIXES, Pixels
from .raw import Raw, rows_of
from .tables import hub

log = logging.getLogger(__name__)

HELD_OUT = 0.05
"""Share of the pictures kept back for judging, of those of which there are at least LEAST."""
LEAST = 100
KEPT_BYTES = 20 * 10**9
"""Of data sets on disk; what was not used for longest goes first."""
SCHEMA = "difftool/pictures/2"
"""Of what is kept; another one where the same files mean other pictures, labels or captions."""
HELD_BYTES = 2**28
"""Of files that are read once and held, instead of twice."""
RASTER = 256
"""Points of the plane lie on a raster of so many values each way."""


class AboutPart(TypedDict):
    """What is kept of a part of a data set beside its pixels."""

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
    """Pictures that are never trained on, for judging."""
    tones: int = 256
    """How many grey levels the data really have."""
    skipped: tuple[str, ...] = ()
    """Files that could not be read, as "path: reason"."""
    notes: tuple[str, ...] = ()
    """What a person should know of the data: what has no place in them, and what was taken for what."""
    duplicates: int = 0
    """Pictures that are there a second time."""
    folder: Path | None = None
    """Where they came from, if from a folder."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what is learned from."""
        digest = hashlib.sha256(str(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data.cast("B"))
        digest.update(b"" if self.labels is None else self.labels.tobytes())
        digest.update(b"" if self.captions is None else "\n".join(self.captions).encode())
        return digest.hexdigest()

    @property
    def points(self) -> bool:
        """Whether they are points of the plane, which are two numbers and no picture."""
        return points(self.pixels)


def load(source: str, size: tuple[int, int] | None = None, held_out: float | None = None) -> Pictures:
    """A built-in set, `hf:name`, or a file or folder that `sources.read` knows (./digits for a folder of that name);
    `size` is (width, height), `held_out` the share kept back for judging. Files are decoded once and then mapped from
    the user's cache, where they are found by what they hold. Raises DifftoolError 4 where nothing can be learned."""
    if not source:
        raise DifftoolError(Exit.USAGE, "the data have an empty name", f"name {sources.KNOWN}, or {_built_in()}")
    if not 0 <= (HELD_OUT if held_out is None else held_out) < 1:
        raise DifftoolError(Exit.USAGE, f"held-out must be a share from 0 to below 1, not {held_out}", "try 0.05")
    if source in BUILT_IN:
        return _own(source, size, held_out)
    path = hub(source.removeprefix("hf:")) if source.startswith("hf:") else expanded(source)
    if not path.exists():
        near = nearest(source, BUILT_IN)
        hint = f"did you mean {near}?" if near else f"name {sources.KNOWN}, or {_built_in()}"
        raise DifftoolError(Exit.FILE, f"there is no file or folder {source}", hint)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        raise DifftoolError(Exit.FILE, f"{source} is one picture", f"name its folder: {path.parent}")
    try:
        found = _read(path, size, held_out)
    except DifftoolError as error:
        raise DifftoolError(error.code, f"nothing can be learned from {source}: {error.message}", error.hint) from error
    return found._replace(name=path.stem or str(path), folder=path if path.is_dir() else None)


def _own(source: str, size: tuple[int, int] | None, held_out: float | None) -> Pictures:
    """A built-in set, which has a size and a held-out part of its own."""
    found = BUILT_IN[source]()
    own = found.pixels.shape[2], found.pixels.shape[1]
    if size not in (None, own):
        raise DifftoolError(Exit.USAGE, f"the {source} are {own[0]}x{own[1]}", "leave out --size")
    if held_out is not None:
        raise DifftoolError(Exit.USAGE, f"the {source} have a held-out part of their own", "leave out --held-out")
    return found


def _read(path: Path, size: tuple[int, int] | None, held_out: float | None) -> Pictures:
    """What a file or folder holds, kept by what those of its files hold that are learned from."""
    source = contents(path)
    _, files, _ = sources.chosen(source.files)
    if source.size < HELD_BYTES:
        files = {name: _held(read) for name, read in files.items()}
    digest = hashlib.sha256(json.dumps([SCHEMA, size, held_out, *source.left_out, *source.aside]).encode())
    for name in source.files:
        mark = _print_of(files[name]) if name in files else b""
        digest.update(f"{name}\0".encode(errors="surrogateescape") + mark)

    def read() -> Pictures:
        raw = sources.read({**source.files, **files}, size)
        notes = [f"hidden folders and thumbnails left out: {', '.join(source.aside)}"] if source.aside else []
        raw = raw._replace(skipped=(*raw.skipped, *source.left_out), notes=(*raw.notes, *notes))
        return _split(raw, held_out)

    return _kept(digest.hexdigest(), read)


def announce(pictures: Pictures) -> None:
    """Tells what of the data is left out, and what was taken for what."""
    for reason in pictures.skipped:
        log.warning(f"skipped {reason}")
    for note in pictures.notes:
        log.warning(note)


def _held(read: Callable[[], bytes]) -> Callable[[], bytes]:
    """`read`, done already; a file that cannot be read says so when it is asked for."""
    try:
        data = read()
    except UNREADABLE as error:
        failed = error

        def fail() -> bytes:
            raise failed

        return fail
    return lambda: data


def _print_of(read: Callable[[], bytes]) -> bytes:
    try:
        return hashlib.sha256(read()).digest()
    except UNREADABLE as error:
        return repr(error).encode()


def _split(raw: Raw, held_out: float | None) -> Pictures:
    """Held-out pictures apart: the source's own, or a share of those that are there only once, always the same. Raises
    DifftoolError 2 where a share that was asked for is less than one picture."""
    count, notes = len(raw.pixels), [*raw.notes]
    seen: dict[bytes, int] = {}
    prints = [hashlib.blake2b(p.tobytes(), digest_size=16).digest() for p in raw.pixels]
    for one in prints:
        seen[one] = seen.get(one, 0) + 1
    duplicates = count - len(seen)
    test = raw.test
    if test is not None and test.pixels.shape[1:] != raw.pixels.shape[1:]:
        notes.append("the test part has pictures of another size, and is left out")
        test = None
    if test is not None and held_out:
        notes.append("the data have a test part of their own, and nothing more is held out")
    train = np.arange(count)
    share = HELD_OUT if held_out is None else held_out
    if test is None and share and (count >= LEAST or held_out is not None):
        order = np.random.RandomState(0).permutation(count)
        single = [k for k in order if seen[prints[k]] == 1]
        wanted = int(share * count)
        if not wanted:
            what = f"held-out {share:g} of {count:,} pictures is less than one"
            raise DifftoolError(Exit.USAGE, what, f"give at least --held-out {math.ceil(100 / count) / 100:g}")
        if len(single) < wanted:
            notes.append(f"only {len(single):,} pictures are held out: the others are there twice")
        held = np.sort(single[:wanted]).astype(int)
        train = np.setdiff1d(train, held)
        test = rows_of(raw, held) if len(held) else None
    kept = rows_of(raw, train) if len(train) < count else raw
    apart = None if test is None else Pictures("", test.pixels, test.labels, raw.classes, test.captions)
    rest = (raw.skipped, tuple(notes), duplicates)
    return Pictures("", kept.pixels, kept.labels, raw.classes, kept.captions, apart, 256, *rest)


# --- kept for the next time ------------------------------------------------------------------------------------------


def cache() -> Path:
    """Where decoded data sets are kept."""
    from platformdirs import user_cache_path

    return user_cache_path("difftool") / "pictures"


def _kept(key: str, make: Callable[[], Pictures]) -> Pictures:
    """What lies in the cache under `key`, or else what `make` gives, which then lies there."""
    folder = cache() / key
    if not (folder / "about.json").exists():
        found = make()
        try:
            _keep(folder, found)
        except OSError as error:
            log.warning(f"cannot keep the decoded pictures in {folder.parent}: {error.strerror}; they stay in memory")
            return found
    with suppress(OSError):  # of a cache that is somebody else's
        os.utime(folder)
    about: About = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    train = _part(folder / "train.npy", about["train"], about["classes"])
    held = None if about["held"] is None else _part(folder / "held.npy", about["held"], about["classes"])
    return train._replace(
        held_out=held,
        duplicates=about["duplicates"],
        skipped=tuple(about["skipped"]),
        notes=tuple(about["notes"]),
    )


def _part(path: Path, about: AboutPart, classes: list[str]) -> Pictures:
    pixels = np.load(path, mmap_mode="c")
    labels = None if about["labels"] is None else np.array(about["labels"], dtype=np.int64)
    return Pictures("", pixels, labels, classes, about["captions"])


def _keep(folder: Path, found: Pictures) -> None:
    fresh = temporary(folder)
    fresh.mkdir(parents=True)
    try:
        about: About = {
            "classes": found.classes,
            "skipped": [*found.skipped],
            "notes": [*found.notes],
            "duplicates": found.duplicates,
            "train": _save(fresh / "train.npy", found),
            "held": None if found.held_out is None else _save(fresh / "held.npy", found.held_out),
        }
        write_json(fresh / "about.json", about)
        replace_folder(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    others = sorted((one for one in folder.parent.iterdir() if one != folder), key=lambda one: -one.stat().st_mtime)
    room = KEPT_BYTES - _bytes_of(folder)
    for one in others:
        room -= _bytes_of(one)
        if room < 0:
            shutil.rmtree(one, ignore_errors=True)


def _save(path: Path, part: Pictures) -> AboutPart:
    np.save(path, part.pixels)
    return {"labels": None if part.labels is None else part.labels.tolist(), "captions": part.captions}


def _bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


# --- what is built in ------------------------------------------------------------------------------------------------


def digits() -> Pictures:
    """The 1,797 handwritten digits of the UCI repository that scikit-learn carries, 8x8 with 17 grey levels: 1,297 to
    train on and 500 held out, the same at every call."""
    from sklearn.datasets import load_digits

    images, numbers = load_digits(return_X_y=True)
    pixels = np.round(images * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    order = np.random.RandomState(0).permutation(len(pixels))
    held, train = order[:500], order[500:]
    classes = [str(k) for k in range(10)]
    parts = [Pictures("digits", pixels[k], numbers[k].astype(np.int64), classes, tones=17) for k in (train, held)]
    return parts[0]._replace(held_out=parts[1])


SHAPES, SHAPES_HELD = 20_000, 500


def shapes() -> Pictures:
    """Captioned pictures of `shapes.draw_set`, drawn once; the label is the shape of the first object."""
    from ...text2img.vocabulary import vocabulary
    from .shapes import draw_set

    def make() -> Pictures:
        words, parts = vocabulary()["shapes"], []
        log.info(f"drawing {SHAPES + SHAPES_HELD:,} pictures of shapes, once")
        for count, held in ((SHAPES, False), (SHAPES_HELD, True)):
            pixels, scenes = draw_set(count, held=held)
            labels = np.array([words.index(scene.objects[0][1]) for scene in scenes], np.int64)
            parts.append(Pictures("shapes", pixels, labels, words, [scene.caption for scene in scenes]))
        return parts[0]._replace(held_out=parts[1])

    how = json.dumps([SCHEMA, "shapes", 1, SHAPES, vocabulary()])
    return _kept(hashlib.sha256(how.encode()).hexdigest(), make)._replace(name="shapes")


TOYS, TOYS_HELD = 10_000, 1_000


def _toy(name: str) -> Pictures:
    """Points of the plane within [-1, 1], on a raster of RASTER values each way: (N, 1, 1, 2), as a picture of one
    pixel with two channels."""
    from sklearn import datasets

    count, rng = TOYS + TOYS_HELD, np.random.RandomState(0)
    if name == "moons":
        plane = np.asarray(datasets.make_moons(count, noise=0.05, random_state=0)[0]) - np.array([0.5, 0.25])
    elif name == "swiss_roll":
        plane = datasets.make_swiss_roll(count, noise=0.4, random_state=0)[0][:, [0, 2]]
    else:
        angles = rng.randint(8, size=count) * (np.pi / 4)
        plane = np.stack([np.cos(angles), np.sin(angles)], 1) + 0.07 * rng.standard_normal((count, 2))
    plane = 0.95 * plane / np.abs(plane).max()
    pixels = np.round((plane + 1) * ((RASTER - 1) / 2)).astype(np.uint8).reshape(-1, 1, 1, 2)
    return Pictures(name, pixels[TOYS_HELD:], held_out=Pictures(name, pixels[:TOYS_HELD]))


BUILT_IN: dict[str, Callable[[], Pictures]] = {
    "digits": digits,
    "shapes": shapes,
    **{name: (lambda name=name: _toy(name)) for name in ("moons", "swiss_roll", "eight_gaussians")},
}
"""What can be learned without any file."""


def _built_in() -> str:
    return ", ".join(BUILT_IN)
