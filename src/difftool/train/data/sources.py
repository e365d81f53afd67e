"""The kinds of data sets: folders of pictures, and the files in which data sets are published."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from ...audio.files import KINDS as KINDS_OF_SOUND
from ...errors import DifftoolError, Exit
from ...pictures.images import fit
from .arrays import count_arrays, read_arrays
from .contents import ARCHIVES, UNREADABLE, Damaged
from .decode import FOREIGN, SUFFIXES, Contents, Pixels, pixels_of, readable, some
from .picture_files import METADATA, PLAIN, read_pictures
from .published import count_cifar, idx_array, is_idx, read_cifar, read_idx
from .raw import Raw
from .tables import count_parquet, read_parquet

KNOWN = "a folder or zip of pictures or recordings, MNIST's IDX files, CIFAR's binary files, .npz, .npy or .parquet"
"""The kinds, for hints."""


class Kind(NamedTuple):
    """A kind of data set."""

    is_part: Callable[[str], bool]
    """Whether a file of this name holds pictures of this kind."""
    is_beside: Callable[[str], bool]
    """Whether a file of this name may hold labels or captions for them."""
    pictures: Callable[[Contents], int]
    """The number of pictures in its files."""
    read: Callable[[Contents, tuple[int, int] | None], Raw]


def kind_of_files(files: Contents) -> tuple[Kind, dict[str, Callable[[], bytes]], list[str]]:
    """(the kind of data set that these files are, the files that belong to it, notes on the others). Of several kinds,
    the one with most pictures. Raises DifftoolError 4 if there are no pictures."""
    by_kind: dict[Kind, dict[str, Callable[[], bytes]]] = {}
    for kind in KINDS:
        own = {name: files[name] for name in files if kind.is_part(name)}
        if own:
            by_kind[kind] = own
    if not by_kind:
        raise _no_pictures(files)
    kind, reasons = next(iter(by_kind)), []
    if len(by_kind) > 1:
        counts = {kind: _counted(kind, own) for kind, own in by_kind.items()}
        kind = max(counts, key=lambda kind: counts[kind][0])
        reasons = [reason for other, (_, reason) in counts.items() if other != kind and reason]
    mine = {name: files[name] for name in files if kind.is_part(name) or kind.is_beside(name)}
    others = [name for name in files if name not in mine]
    return kind, mine, [*reasons, *_rest(others)]


def _no_pictures(files: Contents) -> DifftoolError:
    suffixes = (*FOREIGN, *SUFFIXES)
    foreign = [name for name in files if PurePosixPath(name).suffix.lower() in suffixes]
    if foreign:
        message = f"it contains only {some(foreign, 'picture')} in unsupported formats"
        return DifftoolError(Exit.FILE, message, f"pass {KNOWN}")
    sounds = [name for name in files if PurePosixPath(name).suffix.lower() in KINDS_OF_SOUND]
    if sounds:
        message = f"it contains {some(sounds, 'sound')}, but no pictures"
        return DifftoolError(Exit.FILE, message, "train on sounds: leave out --preset, or use --preset sounds")
    packed = next((name for name in files if name.lower().endswith(ARCHIVES)), None)
    if packed is not None:
        return DifftoolError(Exit.FILE, f"it contains no pictures or sounds, only {packed}", f"pass {packed} itself")
    return DifftoolError(Exit.FILE, "it contains no pictures or sounds", f"pass {KNOWN}")


def _counted(kind: Kind, files: Contents) -> tuple[int, str]:
    """(number of pictures, the reason if the files are damaged)."""
    try:
        return kind.pictures(files), ""
    except Damaged as error:
        return 0, error.message
    except (DifftoolError, *UNREADABLE):
        return 0, ""


def _rest(names: Collection[str]) -> list[str]:
    """Notes on files that are not used."""
    notes = []
    foreign = [name for name in names if _foreign(name)]
    if foreign:
        formats = {SUFFIXES.get(PurePosixPath(name).suffix.lower()) for name in foreign}
        note = f"{some(foreign, 'picture')} left out: unsupported format"
        if "HEIF" in formats:
            note += "; for .heic: pip install pillow-heif"
        notes.append(note)
    others = [name for name in names if not _foreign(name)]
    others = [name for name in others if not PLAIN.match(PurePosixPath(name).name)]
    if others:
        notes.append(f"{some(others, 'file')} not used")
    return notes


def _foreign(name: str) -> bool:
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in FOREIGN or (suffix in SUFFIXES and not readable(suffix))


def read_source(files: Contents, size: tuple[int, int] | None = None) -> Raw:
    """The pictures in the files of a source, whatever their kind, brought to `size` (width, height). Raises
    DifftoolError 4 if they cannot be trained on."""
    kind, mine, notes = kind_of_files(files)
    raw = kind.read(mine, size)
    raw = raw._replace(notes=(*raw.notes, *notes))
    if not len(raw.pixels):
        raise DifftoolError(Exit.FILE, "it contains no pictures", f"pass {KNOWN}")
    height, width, channels = raw.pixels.shape[1:]
    if not 1 <= channels <= 4 or not height or not width:
        message = f"its pictures have {channels} channels of {width}x{height}"
        raise DifftoolError(Exit.FILE, message, "use pictures with 1 to 4 channels")
    if size not in (None, (width, height)):
        raw = raw._replace(pixels=_resized(raw.pixels, size))
        test = raw.test
        if test is not None and test.pixels.shape[3] == channels:
            raw = raw._replace(test=test._replace(pixels=_resized(test.pixels, size)))
    return raw


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    resized = []
    for array in pixels:
        grey = array.shape[2] == 1
        image = Image.fromarray(array.squeeze(-1) if grey else array)
        resized.append(pixels_of(fit(image, size)))
    return np.stack(resized)


KINDS = (
    Kind(
        lambda name: readable(PurePosixPath(name).suffix),
        lambda name: name.lower().endswith(".txt") or PurePosixPath(name).name.lower() in METADATA,
        len,
        read_pictures,
    ),
    Kind(lambda name: name.lower().endswith(".parquet"), lambda name: False, count_parquet, read_parquet),
    Kind(
        is_idx,
        lambda name: "idx1" in name.lower(),
        lambda files: sum(len(idx_array(name, files)) for name in files),
        read_idx,
    ),
    Kind(
        lambda name: PurePosixPath(name).suffix == ".bin",
        lambda name: PurePosixPath(name).name in ("fine_label_names.txt", "coarse_label_names.txt", "batches.meta.txt"),
        count_cifar,
        read_cifar,
    ),
    Kind(
        lambda name: PurePosixPath(name).suffix.lower() in (".npz", ".npy"),
        lambda name: False,
        count_arrays,
        read_arrays,
    ),
)
"""The kinds of data sets. With equal numbers of pictures the first is chosen."""
