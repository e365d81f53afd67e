"""What training pictures are in: folders of files, and the files in which data sets are published."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from ...errors import DifftoolError, Exit
from .arrays import count_arrays, read_arrays
from .contents import ARCHIVES, UNREADABLE, Damaged
from .decode import FOREIGN, SUFFIXES, Contents, Pixels, fit, pixels_of, readable, some
from .picture_files import METADATA, PLAIN, read_pictures
from .published import count_cifar, idx_array, is_idx, read_cifar, read_idx
from .raw import Raw
from .tables import count_parquet, read_parquet

KNOWN = "a folder or a zip of pictures, IDX as MNIST comes, CIFAR's binaries, .npz, .npy or .parquet"


class Kind(NamedTuple):
    """A kind of data set."""

    is_part: Callable[[str], bool]
    """Whether a file of this name holds pictures of this kind."""
    is_beside: Callable[[str], bool]
    """Whether a file of this name may tell of them."""
    pictures: Callable[[Contents], int]
    """How many pictures its files hold."""
    read: Callable[[Contents, tuple[int, int] | None], Raw]


def chosen(files: Contents) -> tuple[Kind, dict[str, Callable[[], bytes]], list[str]]:
    """(the kind of data set that these files are, those that belong to it, notes on the others). If files of several
    kinds are there, it is the one of most pictures. Raises DifftoolError 4 where there are no pictures."""
    here = {kind: {name: files[name] for name in files if kind.is_part(name)} for kind in KINDS}
    here = {kind: own for kind, own in here.items() if own}
    if not here:
        foreign = [name for name in files if PurePosixPath(name).suffix.lower() in (*FOREIGN, *SUFFIXES)]
        packed = [name for name in files if name.lower().endswith(ARCHIVES)]
        seen = [*([f"{some(foreign, 'picture')} of formats that are not read here"] if foreign else []), *packed[:1]]
        what = f"there are no pictures in it{f', but {seen[0]}' if seen else ''}"
        hint = f"name {packed[0]} itself" if packed and not foreign else f"name {KNOWN}"
        raise DifftoolError(Exit.FILE, what, hint)
    counted = {kind: _counted(kind, own) for kind, own in here.items()} if len(here) > 1 else {}
    kind = max(here, key=lambda kind: counted[kind][0] if counted else 0)
    mine = {name: files[name] for name in files if kind.is_part(name) or kind.is_beside(name)}
    reasons = [reason for other, (_, reason) in counted.items() if other != kind and reason]
    return kind, mine, [*reasons, *_rest([name for name in files if name not in mine])]


def _counted(kind: Kind, files: Contents) -> tuple[int, str]:
    """(how many pictures files hold, and if they are damaged what is wrong)."""
    try:
        return kind.pictures(files), ""
    except Damaged as error:
        return 0, error.message
    except (DifftoolError, *UNREADABLE):
        return 0, ""


def _rest(names: Collection[str]) -> list[str]:
    """Notes on files that are not learned from."""
    foreign = [name for name in names if _foreign(name)]
    others = [name for name in names if not _foreign(name) and not PLAIN.match(PurePosixPath(name).name)]
    heic = any(SUFFIXES.get(PurePosixPath(name).suffix.lower()) == "HEIF" for name in foreign)
    notes = [f"{some(foreign, 'picture')} left out: no format that is read here"] if foreign else []
    notes[-1:] = [f"{notes[-1]}; pip install pillow-heif reads .heic"] if heic else notes[-1:]
    return [*notes, *([f"{some(others, 'file')} not used"] if others else [])]


def _foreign(name: str) -> bool:
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in FOREIGN or (suffix in SUFFIXES and not readable(suffix))


def read(files: Contents, size: tuple[int, int] | None = None) -> Raw:
    """The pictures in the files of a source, whatever their kind; `size` is (width, height), for pictures in files of
    their own. Raises DifftoolError 4 where nothing can be learned from them."""
    kind, mine, notes = chosen(files)
    found = kind.read(mine, size)
    found = found._replace(notes=(*found.notes, *notes))
    if not len(found.pixels):
        raise DifftoolError(Exit.FILE, "there are no pictures in it", f"name {KNOWN}")
    height, width, channels = found.pixels.shape[1:]
    if not 1 <= channels <= 4 or not height or not width:
        what = f"its pictures have {channels} channels of {width}x{height}"
        raise DifftoolError(Exit.FILE, what, "pictures have 1 to 4 channels")
    if size not in (None, (width, height)):
        found = found._replace(pixels=_resized(found.pixels, size))
        if found.test is not None and found.test.pixels.shape[3] == channels:
            found = found._replace(test=found.test._replace(pixels=_resized(found.test.pixels, size)))
    return found


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    images = (Image.fromarray(one.squeeze(-1) if one.shape[2] == 1 else one) for one in pixels)
    return np.stack([pixels_of(fit(image, size)) for image in images])


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
"""Kinds of data sets; of equal numbers of pictures the first counts."""
