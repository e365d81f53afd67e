"""The files of a source: of a folder, a zip or a tar, each read when it is asked for, and nothing that would take more
than its share."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from ...errors import DifftoolError, Exit
from .decode import SUFFIXES, reason_of

UNREADABLE = (OSError, RuntimeError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError)
"""What reading a file raises, also one in an archive that is damaged, locked or packed in an unknown way."""
FREE, RATIO, UNTOLD = 2**26, 128, 64
"""Bytes that anything packed may take, and how many times its packed size if that is more: data sets of black and white
shapes take a hundred times. Less where the size is not told beforehand, and is found by unpacking."""
PICTURE, TEXT = 2**28, 2**22
"""Bytes of the file of one picture, and of one caption, at most."""
LINKS = 20_000
"""Links to folders that are followed."""
ASIDE = ("__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "thumbnails", "thumbs")
"""Names of folders that systems put beside pictures."""
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
PACKED = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}


class Source(NamedTuple):
    """What lies in a source."""

    files: dict[str, Callable[[], bytes]]
    """By name, in rising order, and how to read each; reading raises one of UNREADABLE."""
    size: int
    """Bytes of all of them, unpacked."""
    left_out: tuple[str, ...] = ()
    """What is no file, as "name: reason"."""
    aside: tuple[str, ...] = ()
    """Names of hidden folders and of those that hold thumbnails."""


def contents(path: Path) -> Source:
    """The files of a folder, an archive, or of a file alone. Raises DifftoolError 4 for an archive that is damaged or a
    bomb, and for what is neither file nor folder."""
    source = _source(path)
    if source.aside and not source.files:
        what = f"there are no pictures in it but those of hidden folders and thumbnails: {', '.join(source.aside)}"
        raise DifftoolError(Exit.FILE, what, "name the folder of the pictures itself, unpacked")
    return source


def _source(path: Path) -> Source:
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise DifftoolError(Exit.FILE, f"{path.name} is neither a file nor a folder", "name a file or a folder")
    try:
        if path.suffix.lower() != ".npz" and zipfile.is_zipfile(path):
            return _zip(path)
        with path.open("rb") as file:
            packed = PACKED.get(file.read(2))
            file.seek(0)
            if _begins_tar(file if packed is None else packed(file)):
                file.seek(0)
                return _tar(path) if packed is None else _packed_tar(packed(file), path)
    except UNREADABLE as error:
        raise damaged(path.name, error) from error
    if path.name.lower().endswith(ARCHIVES):
        raise Damaged(
            Exit.FILE,
            "there are no pictures in it: it is no archive, or empty, or damaged",
            "copy or download it again",
        )
    return Source({path.name: path.read_bytes}, path.stat().st_size)


class Damaged(DifftoolError):
    """A file that would be learned from if it were whole."""


def damaged(name: str, error: Exception) -> Damaged:
    """The error for a file of the source that cannot be read."""
    if isinstance(error, TooLarge):
        return Damaged(Exit.FILE, f"{name} is left unread: {error}", "take another copy of it")
    return Damaged(Exit.FILE, f"{name} is damaged: {reason_of(error)}", "copy or download it again")


class TooLarge(OSError):
    """Something that would take more than its share."""


def allowed(packed: int) -> int:
    """Bytes that something of so many packed bytes may take."""
    return max(FREE, RATIO * packed)


def fits(unpacked: int, packed: int) -> None:
    """Raises TooLarge for what announces to take more than its share."""
    if unpacked > allowed(packed):
        raise TooLarge(f"{packed:,} bytes would become {unpacked:,}")


def unpacked(data: bytes) -> bytes:
    """What gzip packed. Raises TooLarge, or one of UNREADABLE."""
    with gzip.open(io.BytesIO(data)) as file:
        return _Bounded(file, len(data)).read()


class _Bounded:
    """A file that unpacks another of `packed` bytes, and raises TooLarge where that is more than its share."""

    def __init__(self, file: IO[bytes] | Any, packed: int) -> None:
        self.file, self.packed, self.left = file, packed, max(FREE, UNTOLD * packed)

    def read(self, count: int = -1) -> bytes:
        parts = bytearray()
        while count < 0 or len(parts) < count:
            data = self.file.read(2**20 if count < 0 else min(count - len(parts), 2**20))
            self.left -= len(data)
            if self.left < 0:
                raise TooLarge(f"{self.packed:,} bytes become more than {max(FREE, UNTOLD * self.packed):,}")
            if not data:
                break
            parts += data
        return bytes(parts)


def _folder(root: Path) -> Source:
    """Links to folders are entered, but for those that lead to a folder above them."""
    files: dict[str, Callable[[], bytes]] = {}
    left_out, aside, size, links = [], set(), 0, 0
    real = os.path.realpath(root)
    above = frozenset([real, *map(str, Path(real).parents)])
    folders = [(str(root), "", above)]
    while folders:
        folder, prefix, above = folders.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            left_out.append(f"{prefix or root.name}: {error.strerror}")
            continue
        for entry in entries:
            name = prefix + entry.name
            try:
                is_folder, mode, bytes_ = entry.is_dir(), entry.stat().st_mode, entry.stat().st_size
            except OSError:
                if not _aside(name):
                    left_out.append(f"{name}: a link that leads nowhere")
                continue
            if _aside(entry.name):
                aside |= {entry.name} if is_folder else set()
            elif is_folder:
                links += entry.is_symlink()
                real = os.path.realpath(entry.path)
                if real in above or links > LINKS:
                    left_out.append(
                        f"{name}: a link to a folder above it" if real in above else f"{name}: a link too many"
                    )
                else:
                    folders.append((entry.path, f"{name}/", above | {real}))
            elif not stat.S_ISREG(mode):
                left_out.append(f"{name}: no regular file")
            else:
                files[name] = partial(_read, Path(entry.path), bytes_)
                size += bytes_
    if left_out and not files:
        raise DifftoolError(Exit.FILE, f"there is no file in it ({left_out[0]})", "name a folder of pictures")
    ordered = dict(sorted(files.items(), key=lambda item: item[0].split("/")))
    return Source(ordered, size, tuple(left_out), tuple(sorted(aside)))


def _read(path: Path, size: int) -> bytes:
    _fits_kind(path.name, size)
    return path.read_bytes()


def _fits_kind(name: str, size: int) -> None:
    suffix = PurePosixPath(name).suffix.lower()
    most = PICTURE if suffix in SUFFIXES else TEXT if suffix == ".txt" else size
    if size > most:
        raise TooLarge(f"it has {size:,} bytes, more than {most:,}")


def _aside(name: str) -> bool:
    return any(part.startswith(".") or part.lower() in ASIDE for part in PurePosixPath(name).parts)


def _plain(name: str) -> str:
    """The name of a member of an archive, whoever packed it: with slashes, and from the top of the archive."""
    return "/".join(part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "//", ".."))


def _of_members(members: dict[str, tuple[Callable[[], bytes], int]], odd: Collection[str] = ()) -> Source:
    """The files of an archive, by name: how to read each, and its size; `odd` are names of what is no file."""
    aside = {part for name in members for part in PurePosixPath(name).parts[:-1] if _aside(part)}
    kept = {name: members[name] for name in sorted(members) if not _aside(name)}
    size = sum(own for _, own in kept.values())
    left_out = tuple(f"{name}: no regular file" for name in odd if not _aside(name))
    return Source({name: read for name, (read, _) in kept.items()}, size, left_out, tuple(sorted(aside)))


def _zip(path: Path) -> Source:
    archive = zipfile.ZipFile(path)
    infos = {_plain(info.filename): info for info in archive.infolist() if info.filename[-1:] not in ("/", "\\")}
    large = {name for name, info in infos.items() if info.file_size > allowed(info.compress_size)}
    fits(sum(info.file_size for name, info in infos.items() if name not in large), path.stat().st_size)

    def read(info: zipfile.ZipInfo) -> bytes:
        fits(info.file_size, info.compress_size)
        _fits_kind(info.filename, info.file_size)
        if info.flag_bits & 1:
            raise OSError("it is locked with a password")
        with archive.open(info) as file:
            return file.read(info.file_size + 1)  # with a number, lest it unpack more than it announces

    sizes = {name: 0 if name in large else info.file_size for name, info in infos.items()}
    return _of_members({name: (partial(read, info), sizes[name]) for name, info in infos.items()})


def _begins_tar(file: IO[bytes] | Any) -> bool:
    try:
        tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), tarfile.ENCODING, "surrogateescape")
    except (*UNREADABLE, ValueError):
        return False
    return True


def _tar(path: Path) -> Source:
    """Of an archive that is not packed, each file is read where it stands."""

    def read(member: tarfile.TarInfo) -> bytes:
        _fits_kind(member.name, member.size)
        with path.open("rb") as file:
            file.seek(member.offset_data)
            data = file.read(member.size)
        if len(data) < member.size:
            raise EOFError("it is cut off")
        return data

    with tarfile.open(path, "r:") as archive:
        members = {_plain(member.name): member for member in archive.getmembers()}
    found = {name: _target(name, member, members) for name, member in members.items()}
    files = {
        name: (partial(read, member), member.size)
        for name, member in found.items()
        if member is not None and member.isfile() and not member.issparse()
    }
    return _of_members(files, [name for name in members if name not in files and not members[name].isdir()])


def _target(name: str, member: tarfile.TarInfo, members: dict[str, tarfile.TarInfo]) -> tarfile.TarInfo | None:
    """The member itself, or the one that it is a link to."""
    if member.islnk():
        return members.get(_plain(member.linkname))
    if member.issym():
        return members.get(posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname)))
    return member


def _packed_tar(file: IO[bytes] | Any, path: Path) -> Source:
    """One that is packed is read from its beginning to its end, once."""
    bounded: Any = _Bounded(file, path.stat().st_size)
    members, held = {}, {}
    with tarfile.open(fileobj=bounded, mode="r|", bufsize=2**20) as archive:
        for member in archive:
            name = _plain(member.name)
            members[name] = member
            if member.isfile() and not _aside(name):
                opened = archive.extractfile(member)
                held[name] = b"" if opened is None else opened.read()
    files: dict[str, tuple[Callable[[], bytes], int]] = {}
    for name, member in members.items():
        target = _target(name, member, members)
        data = held.get("" if target is None else _plain(target.name))
        if data is not None:
            files[name] = (lambda data=data: data), len(data)
    return _of_members(files, [name for name in members if name not in files and not members[name].isdir()])
