"""Atomic writes, locks, hashes and manifests, for all commands."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import platform
import re
import secrets
import shutil
import struct
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, TypedDict

from .errors import DifftoolError, Exit, is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor


TEMPORARY = ".*.tmp-" + "[0-9a-f]" * 8
"""The pattern of temporary names, to find files that a killed process left behind."""


MARK = b'"schema": "difftool/'
"""Text in every result, note and manifest of difftool."""
ANY = re.compile(re.escape(MARK))
RESULT = re.compile(ANY.pattern + rb"(?!(voice|model|parts)/)")
"""The mark of a result, but not of a voice, a model or a long reading: these cannot be reproduced by a command."""


def temporary(path: Path) -> Path:
    """A temporary name beside `path`, for a file or folder to be moved there."""
    return path.with_name(f".{path.name}.tmp-{secrets.token_hex(4)}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside `path` to write to. On success the file is synced and moved to `path` atomically;
    on an exception it is removed and `path` is unchanged."""
    written = temporary(path)
    try:
        yield written
        with written.open("rb+") as file:
            os.fsync(file.fileno())
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
    synced(path.parent)  # the directory entry must reach the disk too


def synced(path: Path) -> None:
    """Syncs a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_folder(new: Path, target: Path) -> None:
    """Syncs the folder `new` and moves it to `target`, atomically if the system can exchange two names. The old
    `target` is removed: the caller must know that difftool made all of it."""
    for folder, _, names in os.walk(new):
        for path in (*(Path(folder, name) for name in names), Path(folder)):
            if path.is_file() or path.is_dir():  # else a broken link
                synced(path)
    old = None
    if not target.exists():
        new.rename(target)
    elif _exchanged(new, target):
        old = new
    else:
        old = temporary(target)
        target.rename(old)
        new.rename(target)
    synced(target.parent)
    if old is not None:
        shutil.rmtree(old)


def _exchanged(first: Path, second: Path) -> bool:
    """Exchanges two names atomically (Linux: renameat2); returns whether that worked."""
    import ctypes

    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    status = rename(here, os.fsencode(first), here, os.fsencode(second), exchange)
    return status == 0


def expanded(path: str | Path) -> Path:
    """`path` with a leading ~ or ~user expanded, if that home exists."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def read_text(path: Path | None) -> str:
    """UTF-8 text of a file, or (None) of stdin. Raises DifftoolError 4 if it is not UTF-8 or cannot be read."""
    name = "stdin" if path is None else str(path)
    try:
        data = sys.stdin.buffer.read() if path is None else path.read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise DifftoolError(Exit.FILE, f"cannot read {name}: {error.strerror}", "pass a text file") from error
    except (AttributeError, UnicodeDecodeError) as error:
        raise DifftoolError(Exit.FILE, f"{name} is not UTF-8 text", "save it as UTF-8") from error


def write_text(path: Path, text: str) -> None:
    with replacing(path) as written:
        written.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def is_endless(path: Path) -> bool:
    """Whether a path is a pipe or a device, where reading may block or never end."""
    return path.exists() and not (path.is_file() or path.is_dir())


def _bytes_of(path: Path) -> bytes:
    if is_endless(path):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return path.read_bytes()


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises DifftoolError 4 if there is none."""
    try:
        value = json.loads(_bytes_of(path))
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise DifftoolError(Exit.FILE, message, f"check that {path.parent} is complete") from error
    except (ValueError, RecursionError) as error:
        raise DifftoolError(Exit.FILE, f"{path} is not JSON: {error}", RESTORE) from error
    if not isinstance(value, dict):
        raise DifftoolError(Exit.FILE, f"{path} is not a JSON object", RESTORE)
    return value


RESTORE = "restore the file or use another folder"


def digest_of(path: Path) -> str:
    """SHA-256 of a file. Raises DifftoolError 4 if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DifftoolError(
            Exit.FILE, f"cannot read {path}: {error.strerror}", "check the path and its permissions"
        ) from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file atomically, with the SHA-256 of its data in the metadata."""
    from safetensors.torch import save

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    digest = hashlib.sha256(_payload(save(contiguous))).hexdigest()
    with replacing(path) as written:
        written.write_bytes(_ordered(save(contiguous, {**(metadata or {}), "sha256": digest})))


def _ordered(data: bytes) -> bytes:
    """The bytes of a safetensors file with its metadata in order, which safetensors writes in any."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def metadata_of(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; none where it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}


class Loaded(NamedTuple):
    """The contents of a safetensors file."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    sha256: str
    """Hash of the whole file."""


def load_tensors(path: Path) -> Loaded:
    """Reads a safetensors file. Raises DifftoolError 4 if it is missing, truncated, or does not match its checksum;
    files of other tools have none."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = _bytes_of(path)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise DifftoolError(Exit.FILE, message, "check the path and its permissions") from error
    try:
        tensors = load(data)
        header_size = struct.unpack("<Q", data[:8])[0]
        metadata = json.loads(data[8 : 8 + header_size]).get("__metadata__", {})
    except (SafetensorError, ValueError) as error:
        message = f"{path} is not a valid safetensors file: {error}"
        raise DifftoolError(Exit.FILE, message, "copy or train it again") from error
    if "sha256" in metadata and metadata["sha256"] != hashlib.sha256(_payload(data)).hexdigest():
        message = f"{path} is damaged: its data does not match its checksum"
        raise DifftoolError(Exit.FILE, message, "copy or train it again")
    return Loaded(tensors, metadata, hashlib.sha256(data).hexdigest())


def unpickled(path: Path, kind: str, hint: str, *, mmap: bool = False) -> Any:
    """Loads a file of torch.save without running code from it.

    kind: what the file should be, for the error; hint: that of the error; mmap: map the file instead of reading it.

    Raises DifftoolError 4 if it is missing, damaged, or needs code to load.
    """
    import torch

    try:
        zipped = zipfile.is_zipfile(path)
        if zipped and (bad := zipfile.ZipFile(path).testzip()):  # torch does not check it
            raise DifftoolError(Exit.FILE, f"{path} is damaged: part {bad} does not match its checksum", hint)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and zipped)
    except DifftoolError:
        raise
    except pickle.UnpicklingError as error:
        needs_code = "global" in str(error).lower()
        reason = "would run code when loaded, which is not allowed" if needs_code else f"contains no {kind}"
        raise DifftoolError(Exit.FILE, f"{path} {reason}", hint) from error
    except Exception as error:  # damaged data make the unpickler raise anything
        if is_out_of_memory(error):
            raise
        strerror = getattr(error, "strerror", None)
        message = f"cannot read {path}: {strerror}" if strerror else f"{path} is damaged or contains no {kind}"
        raise DifftoolError(Exit.FILE, message, hint) from error


def _payload(data: bytes) -> memoryview:
    return memoryview(data)[8 + struct.unpack("<Q", data[:8])[0] :]


def made_here(path: Path, mark: re.Pattern[bytes] = ANY) -> bool:
    """Whether difftool wrote a file, by its `mark` near the start or at the end. An empty file counts too."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(1 << 20)
        file.seek(-min(path.stat().st_size, 1024), os.SEEK_END)
        return not head or any(mark.search(part) for part in (head, file.read()))


def unused(targets: Iterable[Path], *, overwrite: bool) -> None:
    """Raises DifftoolError 4 if a target is a folder or exists; with `overwrite`, only if it is not a result of
    difftool."""
    for path in targets:
        if path.is_dir():
            raise DifftoolError(Exit.FILE, f"{path} is a folder", "choose a file name")
        if not os.path.lexists(path):
            continue
        if not made_here(path, RESULT):
            message = f"{path} exists already and is not a result of difftool"
            raise DifftoolError(Exit.FILE, message, "choose another name, or move it away")
        if not overwrite:
            raise DifftoolError(Exit.FILE, f"{path} exists already", "choose another name, or add --overwrite")


@contextmanager
def writable(*folders: Path, option: str = "--output-dir") -> Iterator[None]:
    """Creates folders and writes a small test file to each; on an exception, removes the new folders that are empty.

    Raises DifftoolError 4 if that fails (permissions, full disk), before the work starts; `option` selects another
    folder.
    """
    missing = {parent for folder in folders for parent in (folder, *folder.parents) if not parent.exists()}
    try:
        for folder in folders:
            probe = temporary(folder / "difftool")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                try:
                    probe.write_bytes(bytes(65536))
                finally:
                    probe.unlink(missing_ok=True)
            except OSError as error:
                message = f"cannot write to {folder}: {error.strerror}"
                raise DifftoolError(
                    Exit.FILE, message, f"check its permissions and free space, or choose another folder with {option}"
                ) from error
        yield
    except BaseException:
        for folder in sorted(missing, key=lambda path: len(path.parts), reverse=True):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Locks a folder for this process, until it exits. Raises DifftoolError 75 while another process holds it."""
    import fcntl

    path = folder / ".lock"
    while True:
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                message = f"{folder} is in use by another run"
                raise DifftoolError(Exit.LATER, message, "wait for it to finish, or choose another folder") from error
            if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                continue  # the previous owner removed the file before we locked it
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def remove_folders(folders: Sequence[Path]) -> None:
    """Removes folders, and where one is a link, its target too: all, or where one cannot be removed, none. Raises
    DifftoolError 4."""
    moved: list[tuple[Path, Path]] = []
    paths = dict.fromkeys(path for folder in folders for path in (folder, folder.resolve()))
    try:
        for path in paths:
            for inner, _, _ in os.walk(path):
                if not os.access(inner, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), inner)
            if os.path.lexists(path):
                aside = temporary(path)
                path.rename(aside)
                moved.append((path, aside))
    except OSError as error:
        for path, aside in reversed(moved):
            aside.rename(path)
        message = f"{error.filename} cannot be removed ({error.strerror}); nothing was removed"
        raise DifftoolError(Exit.FILE, message, "check its permissions and those of its folder") from error
    for _, aside in moved:
        aside.unlink() if aside.is_symlink() else shutil.rmtree(aside)


def is_locked(folder: Path) -> bool:
    """Whether a process holds the `lock` of a folder."""
    import fcntl

    try:
        with (folder / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def run_id() -> str:
    """UTC time and six hexadecimal digits: sorts by time, practically unique."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def cache_dir() -> Path:
    """The cache folder of this user."""
    from platformdirs import user_cache_path

    return user_cache_path("difftool")


def default_dir(command: str, run: str) -> Path:
    """The default folder of results."""
    return Path("outputs") / command.replace(" ", "-") / run


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, difftool and installed packages, without importing them."""
    from importlib.metadata import version  # slow to import

    return {"python": platform.python_version(), **{name: version(name) for name in ("difftool", *packages)}}


class ModelNote(TypedDict):
    """The model of a result."""

    name: str
    sha256: str
    size: list[int]
    """[height, width]"""
    classes: list[str]


class ItemNote(TypedDict):
    """The item of a run that a result is."""

    index: int
    seed: int
    label: NotRequired[str | None]


class Manifest(TypedDict):
    """How a result was made."""

    schema: str
    command: str
    run_id: str
    created: str
    versions: dict[str, str]
    machine: str
    settings: dict[str, Any]
    item: NotRequired[ItemNote]
    alone: NotRequired[bool]
    """Whether a grid is the only file of its pictures."""


class PictureManifest(Manifest):
    """How a picture was made."""

    model: ModelNote
    network_calls: int
    files: NotRequired[dict[str, str]]
    """Hashes of the input pictures and LoRAs."""
    models: NotRequired[dict[str, str]]
    """Hashes of other models, by setting."""


def manifest(command: str, run: str, settings: Mapping[str, object], packages: Iterable[str] = ("torch",)) -> Manifest:
    """The manifest of a result: enough to reproduce it."""
    return {
        "schema": "difftool/manifest/1",
        "command": command,
        "run_id": run,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(*packages),
        "machine": f"{platform.system()} {platform.machine()}",
        "settings": dict(settings),
    }
