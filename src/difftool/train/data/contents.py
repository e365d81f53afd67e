"""The files of a source: a folder, a zip or a tar. Each is read on demand, and nothing that unpacks to too much."""

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
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from ...errors import DifftoolError, Exit
from .decode import SUFFIXES, reason_of

UNREADABLE = (OSError, RuntimeError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError)
"""What reading a file raises, including a damaged, encrypted or unknown member of an archive."""
FREE, RATIO, UNTOLD = 2**26, 128, 64
"""Bytes that anything may unpack to, or this multiple of its packed size if that is more: data sets of black and white
shapes compress a hundredfold. The multiple is smaller (UNTOLD) where the size is only known after unpacking."""
PICTURE, TEXT = 2**28, 2**22
"""Largest file of a picture, and of a caption, in bytes."""
LINKS = 20_000
"""Links to folders that are followed."""
ASIDE = ("__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "thumbnails", "thumbs")
"""Folders that operating systems create beside pictures."""
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
PACKED = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}


@contextmanager
def named_in_errors(source: str) -> Iterator[None]:
    """Inside, errors name the data set."""
    try:
        yield
    except DifftoolError as error:
        message = f"cannot train on {source}: {error.message}"
        raise DifftoolError(error.code, message, error.hint) from error


class Source(NamedTuple):
    """The files of a folder or an archive."""

    files: dict[str, Callable[[], bytes]]
    """A reader by name, in ascending order; it raises one of UNREADABLE."""
    size: int
    """Total size in bytes, unpacked."""
    left_out: tuple[str, ...] = ()
    """Entries that are not regular files, as "name: reason"."""
    aside: tuple[str, ...] = ()
    """Names of hidden folders and of thumbnail folders."""


def contents(path: Path) -> Source:
    """The files of a folder or an archive, or a single file. Raises DifftoolError 4 for an archive that is damaged or
    unpacks to too much, and for a path that is neither file nor folder."""
    source = _source(path)
    if source.aside and not source.files:
        message = f"the only files are in hidden or thumbnail folders: {', '.join(source.aside)}"
        raise DifftoolError(Exit.FILE, message, "unpack it, and pass the folder of the files itself")
    return source


def _source(path: Path) -> Source:
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise DifftoolError(Exit.FILE, f"{path.name} is neither a file nor a folder", "pass a file or a folder")
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
        message = "the archive is empty, damaged or in an unknown format"
        raise Damaged(Exit.FILE, message, "copy or download it again")
    return Source({path.name: path.read_bytes}, path.stat().st_size)


class Damaged(DifftoolError):
    """A file that would be trained on if it were intact."""


def damaged(name: str, error: Exception) -> Damaged:
    """The error for a file of the source that cannot be read."""
    if isinstance(error, TooLarge):
        return Damaged(Exit.FILE, f"{name} is too large to read: {error}", "use another copy of the file")
    return Damaged(Exit.FILE, f"{name} is damaged: {reason_of(error)}", "copy or download it again")


class TooLarge(OSError):
    """A file that unpacks to too much."""


def allowed(packed: int) -> int:
    """Bytes that so many packed bytes may unpack to."""
    return max(FREE, RATIO * packed)


def fits(unpacked: int, packed: int) -> None:
    """Raises TooLarge if the announced size is more than `allowed`."""
    if unpacked > allowed(packed):
        raise TooLarge(f"{packed:,} bytes would unpack to {unpacked:,}")


def unpacked(data: bytes) -> bytes:
    """The contents of gzip data. Raises TooLarge, or one of UNREADABLE."""
    with gzip.open(io.BytesIO(data)) as file:
        return _Bounded(file, len(data)).read()


class _Bounded:
    """Unpacks a file of `packed` bytes; raises TooLarge once that is too much."""

    def __init__(self, file: IO[bytes] | Any, packed: int) -> None:
        self.file, self.packed = file, packed
        self.most = max(FREE, UNTOLD * packed)
        self.left = self.most

    def read(self, count: int = -1) -> bytes:
        parts = bytearray()
        while count < 0 or len(parts) < count:
            size = 2**20
            if count >= 0:
                size = min(count - len(parts), size)
            data = self.file.read(size)
            self.left -= len(data)
            if self.left < 0:
                raise TooLarge(f"{self.packed:,} bytes unpack to more than {self.most:,}")
            if not data:
                break
            parts += data
        return bytes(parts)


def _folder(root: Path) -> Source:
    """Follows links to folders, except those to a parent folder."""
    files: dict[str, Callable[[], bytes]] = {}
    left_out, aside, size, links = [], set(), 0, 0
    real = os.path.realpath(root)
    above = frozenset([real, *map(str, Path(real).parents)])
    folders = [(str(root), "", above)]
    while folders:
        folder, prefix, above = folders.pop()
        try:
            with os.scandir(folder) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
        except OSError as error:
            left_out.append(f"{prefix or root.name}: {error.strerror}")
            continue
        for entry in entries:
            name = prefix + entry.name
            try:
                is_folder, mode, bytes_ = entry.is_dir(), entry.stat().st_mode, entry.stat().st_size
            except OSError:
                if not _aside(name):
                    left_out.append(f"{name}: broken link")
                continue
            if _aside(entry.name):
                aside |= {entry.name} if is_folder else set()
            elif is_folder:
                links += entry.is_symlink()
                real = os.path.realpath(entry.path)
                if real in above:
                    left_out.append(f"{name}: link to a parent folder")
                elif links > LINKS:
                    left_out.append(f"{name}: more than {LINKS:,} links")
                else:
                    folders.append((entry.path, f"{name}/", above | {real}))
            elif not stat.S_ISREG(mode):
                left_out.append(f"{name}: not a regular file")
            else:
                files[name] = partial(_read, Path(entry.path), bytes_)
                size += bytes_
    if left_out and not files:
        message = f"it contains no readable files ({left_out[0]})"
        raise DifftoolError(Exit.FILE, message, "pass a folder of pictures or sounds")
    ordered = dict(sorted(files.items(), key=lambda item: item[0].split("/")))
    return Source(ordered, size, tuple(left_out), tuple(sorted(aside)))


def _read(path: Path, size: int) -> bytes:
    _fits_kind(path.name, size)
    return path.read_bytes()


def _fits_kind(name: str, size: int) -> None:
    suffix = PurePosixPath(name).suffix.lower()
    most = PICTURE if suffix in SUFFIXES else TEXT if suffix == ".txt" else size
    if size > most:
        raise TooLarge(f"{size:,} bytes, more than {most:,}")


def _aside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") or part.lower() in ASIDE for part in parts)


def _normalised(name: str) -> str:
    """The name of a member of an archive, whatever packed it: with slashes, relative to the top of the archive."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return "/".join(part for part in parts if part not in ("/", "//", ".."))


def _of_members(members: dict[str, tuple[Callable[[], bytes], int]], others: Collection[str] = ()) -> Source:
    """The files of an archive: (reader, size) by name; `others` are the names of members that are not files."""
    folders = {part for name in members for part in PurePosixPath(name).parts[:-1]}
    aside = sorted(part for part in folders if _aside(part))
    kept = [name for name in sorted(members) if not _aside(name)]
    files = {name: members[name][0] for name in kept}
    size = sum(members[name][1] for name in kept)
    left_out = [f"{name}: not a regular file" for name in others if not _aside(name)]
    return Source(files, size, tuple(left_out), tuple(aside))


def _zip(path: Path) -> Source:
    archive = zipfile.ZipFile(path)
    members = [info for info in archive.infolist() if info.filename[-1:] not in ("/", "\\")]
    infos = {_normalised(info.filename): info for info in members}
    large = {name for name, info in infos.items() if info.file_size > allowed(info.compress_size)}
    sizes = {name: 0 if name in large else info.file_size for name, info in infos.items()}
    fits(sum(sizes.values()), path.stat().st_size)

    def read(info: zipfile.ZipInfo) -> bytes:
        fits(info.file_size, info.compress_size)
        _fits_kind(info.filename, info.file_size)
        if info.flag_bits & 1:
            raise OSError("it is encrypted")
        with archive.open(info) as file:
            return file.read(info.file_size + 1)  # with a limit, so that it unpacks no more than it announces

    return _of_members({name: (partial(read, info), sizes[name]) for name, info in infos.items()})


def _begins_tar(file: IO[bytes] | Any) -> bool:
    try:
        tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), tarfile.ENCODING, "surrogateescape")
    except (*UNREADABLE, ValueError):
        return False
    return True


def _tar(path: Path) -> Source:
    """An uncompressed tar: each member is read where it lies."""

    def read(member: tarfile.TarInfo) -> bytes:
        _fits_kind(member.name, member.size)
        with path.open("rb") as file:
            file.seek(member.offset_data)
            data = file.read(member.size)
        if len(data) < member.size:
            raise EOFError("it is truncated")
        return data

    with tarfile.open(path, "r:") as archive:
        members = {_normalised(member.name): member for member in archive.getmembers()}
    files: dict[str, tuple[Callable[[], bytes], int]] = {}
    for name, member in members.items():
        target = _target(name, member, members)
        if target is not None and target.isfile() and not target.issparse():
            files[name] = partial(read, target), target.size
    return _of_members(files, _others(members, files))


def _others(members: dict[str, tarfile.TarInfo], files: Collection[str]) -> list[str]:
    """Members that are neither files nor folders."""
    return [name for name, member in members.items() if name not in files and not member.isdir()]


def _target(name: str, member: tarfile.TarInfo, members: dict[str, tarfile.TarInfo]) -> tarfile.TarInfo | None:
    """The member itself, or the one that it is a link to."""
    if member.islnk():
        return members.get(_normalised(member.linkname))
    if member.issym():
        linked = posixpath.join(posixpath.dirname(name), member.linkname)
        return members.get(posixpath.normpath(linked))
    return member


def _packed_tar(file: IO[bytes] | Any, path: Path) -> Source:
    """A compressed tar is read from beginning to end, once."""
    bounded: Any = _Bounded(file, path.stat().st_size)
    members, held = {}, {}
    with tarfile.open(fileobj=bounded, mode="r|", bufsize=2**20) as archive:
        for member in archive:
            name = _normalised(member.name)
            members[name] = member
            if member.isfile() and not _aside(name):
                opened = archive.extractfile(member)
                held[name] = b"" if opened is None else opened.read()
    files: dict[str, tuple[Callable[[], bytes], int]] = {}
    for name, member in members.items():
        target = _target(name, member, members)
        data = held.get("" if target is None else _normalised(target.name))
        if data is not None:
            files[name] = (lambda data=data: data), len(data)
    return _of_members(files, _others(members, files))
