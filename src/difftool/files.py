"""Files as every command writes them: whole or not at all, with a note of how they came to be."""

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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, TypedDict

from .errors import DifftoolError, Exit, is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor


TEMPORARY = ".*.tmp-" + "[0-9a-f]" * 8
"""What the names of temporary files look like, for those that a killed process left behind."""


MARK = b'"schema": "difftool/'
"""What every result, note and manifest of difftool holds."""
ANY = re.compile(re.escape(MARK))
RESULT = re.compile(ANY.pattern + rb"(?!(voice|model|parts)/)")
"""The mark of a result, and not that of a voice, a model, or a long reading, which hold what no command makes again."""


def temporary(path: Path) -> Path:
    """A name beside `path` for something that is to become it."""
    return path.with_name(f".{path.name}.tmp-{secrets.token_hex(4)}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside `path` to write to. Left normally, its bytes reach the disk and it becomes `path`
    in one move; left by an exception, it is gone and `path` is as it was."""
    written = temporary(path)
    try:
        yield written
        with written.open("rb+") as file:
            os.fsync(file.fileno())
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
    synced(path.parent)  # the new name itself must reach the disk too


def synced(path: Path) -> None:
    """Waits until a file, or the names in a folder, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_folder(new: Path, target: Path) -> None:
    """Makes the folder `new`, once its bytes have reached the disk, be `target`, in one move where the system can
    exchange two names. What was there is removed: that all of it is ours is for the caller to know."""
    for folder, _, names in os.walk(new):
        for path in (*(Path(folder, name) for name in names), Path(folder)):
            if path.is_file() or path.is_dir():  # else a link that leads nowhere
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


def _exchanged(one: Path, other: Path) -> bool:
    """Whether two names could be exchanged in one move (Linux's renameat2)."""
    import ctypes

    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def expanded(path: str | Path) -> Path:
    """`path` with a leading ~ or ~user as that home; where there is none such, it is the name of a file."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def read_text(path: Path | None) -> str:
    """UTF-8 text of a file, or (None) of stdin. Raises DifftoolError 4 where it is none."""
    name = "stdin" if path is None else str(path)
    try:
        return (sys.stdin.buffer.read() if path is None else path.read_bytes()).decode("utf-8-sig")
    except OSError as error:
        raise DifftoolError(Exit.FILE, f"cannot read {name}: {error.strerror}", "name a text file") from error
    except (AttributeError, UnicodeDecodeError) as error:
        raise DifftoolError(Exit.FILE, f"{name} is no UTF-8 text", "save it as UTF-8") from error


def write_text(path: Path, text: str) -> None:
    with replacing(path) as written:
        written.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def is_endless(path: Path) -> bool:
    """Whether a name leads to a pipe or a device, which would be waited for, or never end."""
    return path.exists() and not (path.is_file() or path.is_dir())


def _bytes_of(path: Path) -> bytes:
    if is_endless(path):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path.read_bytes()


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises DifftoolError 4 where there is none."""
    try:
        value = json.loads(_bytes_of(path))
    except OSError as error:
        raise DifftoolError(
            Exit.FILE, f"cannot read {path}: {error.strerror}", f"see that {path.parent} is complete"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DifftoolError(
            Exit.FILE, f"{path} is not JSON: {error}", "restore the file or take another folder"
        ) from error
    if not isinstance(value, dict):
        raise DifftoolError(Exit.FILE, f"{path} holds no JSON object", "restore the file or take another folder")
    return value


def digest_of(path: Path) -> str:
    """SHA-256 of a file. Raises DifftoolError 4 where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DifftoolError(Exit.FILE, f"cannot read {path}: {error.strerror}", "see to its rights") from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """A safetensors file that carries the SHA-256 of its data, written all or nothing."""
    from safetensors.torch import save

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    payload = _payload(save(contiguous))
    with replacing(path) as written:
        written.write_bytes(save(contiguous, {**(metadata or {}), "sha256": hashlib.sha256(payload).hexdigest()}))


class Loaded(NamedTuple):
    """What stood in a safetensors file."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    sha256: str
    """Of the whole file, as it was read."""


def load_tensors(path: Path) -> Loaded:
    """Reads a safetensors file. Raises DifftoolError 4 where it is missing, cut off, or not what was written; files of
    other tools carry no hash and are believed."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = _bytes_of(path)
    except OSError as error:
        raise DifftoolError(
            Exit.FILE, f"cannot read {path}: {error.strerror}", "name a folder that holds a model"
        ) from error
    try:
        tensors = load(data)
        metadata = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]]).get("__metadata__", {})
    except (SafetensorError, ValueError) as error:
        raise DifftoolError(
            Exit.FILE, f"{path} is no intact safetensors file: {error}", "copy or train it again"
        ) from error
    if "sha256" in metadata and metadata["sha256"] != hashlib.sha256(_payload(data)).hexdigest():
        raise DifftoolError(
            Exit.FILE, f"{path} is damaged: its data do not match its own checksum", "copy or train it again"
        )
    return Loaded(tensors, metadata, hashlib.sha256(data).hexdigest())


def unpickled(path: Path, kind: str, hint: str, *, mmap: bool = False) -> Any:
    """What torch.save wrote into a file, without running any code that it brings along. Raises DifftoolError 4 where it
    is missing, damaged, or asks to run code; `kind` says what it should be."""
    import torch

    try:
        zipped = zipfile.is_zipfile(path)
        if zipped and (bad := zipfile.ZipFile(path).testzip()):  # which torch does not look at
            raise DifftoolError(Exit.FILE, f"{path} is damaged: {bad} in it does not match its checksum", hint)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and zipped)
    except DifftoolError:
        raise
    except pickle.UnpicklingError as error:
        asks = "global" in str(error).lower()
        what = "asks to run code, which is not done" if asks else f"is no {kind}"
        raise DifftoolError(Exit.FILE, f"{path} {what}", hint) from error
    except Exception as error:  # the unpickler trips over damaged data in any way there is
        if is_out_of_memory(error):
            raise
        strerror = getattr(error, "strerror", None)
        what = f"cannot read {path}: {strerror}" if strerror else f"{path} is damaged, or no {kind}"
        raise DifftoolError(Exit.FILE, what, hint) from error


def _payload(data: bytes) -> memoryview:
    return memoryview(data)[8 + struct.unpack("<Q", data[:8])[0] :]


def made_here(path: Path, mark: re.Pattern[bytes] = ANY) -> bool:
    """Whether a file was written by difftool, as its `mark` tells, near its beginning or at its end. An empty file has
    nothing to be lost."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(1 << 20)
        file.seek(-min(path.stat().st_size, 1024), os.SEEK_END)
        return not head or any(mark.search(part) for part in (head, file.read()))


def unused(targets: Iterable[Path], *, overwrite: bool) -> None:
    """Raises DifftoolError 4 where a target is a folder, or exists already; with `overwrite` only where that is no
    result of difftool."""
    for path in targets:
        if path.is_dir():
            raise DifftoolError(Exit.FILE, f"{path} is a folder", "name a file")
        if not os.path.lexists(path):
            continue
        if not made_here(path, RESULT):
            what = f"{path} exists already, and is not a result of difftool"
            raise DifftoolError(Exit.FILE, what, "choose another name, or move it away")
        if not overwrite:
            raise DifftoolError(Exit.FILE, f"{path} exists already", "choose another name, or add --overwrite")


@contextmanager
def writable(*folders: Path, option: str = "--output-dir") -> Iterator[None]:
    """Makes folders and tries each with a small file; left by an exception, those it made and that are still empty are
    gone.

    Raises DifftoolError 4 where that fails (rights, a full disk), so before the work and not after it; `option` is what
    chooses another folder.
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
                raise DifftoolError(Exit.FILE, message, f"make room, or choose another folder with {option}") from error
        yield
    except BaseException:
        for folder in sorted(missing, key=lambda path: len(path.parts), reverse=True):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keeps a folder for this process, however it ends. Raises DifftoolError 75 while another process has it."""
    import fcntl

    path = folder / ".lock"
    while True:
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                message = f"{folder} is in use by another run"
                raise DifftoolError(Exit.LATER, message, "wait for it to end, or choose another folder") from error
            if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                continue  # the one before took its file away between our opening and our locking it
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def run_id() -> str:
    """UTC time and six hexadecimal digits: sorts by time, and no two are alike."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def default_dir(command: str, run: str) -> Path:
    """Where results go when nobody says where."""
    return Path("outputs") / command.replace(" ", "-") / run


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of installed packages, without importing them."""
    from importlib.metadata import version  # which takes as long to import as all the rest of this file

    return {"python": platform.python_version(), **{name: version(name) for name in ("difftool", *packages)}}


class ModelNote(TypedDict):
    """What a result says of the model that it is of."""

    name: str
    sha256: str
    size: list[int]
    """[height, width]"""
    classes: list[str]


class ItemNote(TypedDict):
    """Which of the items of a run a result is."""

    index: int
    seed: int
    label: NotRequired[str | None]


class Manifest(TypedDict):
    """What a result says of how it came to be."""

    schema: str
    command: str
    run_id: str
    created: str
    versions: dict[str, str]
    machine: str
    settings: dict[str, Any]
    item: NotRequired[ItemNote]


class PictureManifest(Manifest):
    """What a picture says of itself."""

    model: ModelNote
    network_calls: int
    files: NotRequired[dict[str, str]]
    """Hashes of the pictures and LoRAs that it was made from."""


def manifest(command: str, run: str, settings: Mapping[str, object], packages: Iterable[str] = ("torch",)) -> Manifest:
    """How a result came to be: enough to make it again."""
    return {
        "schema": "difftool/manifest/1",
        "command": command,
        "run_id": run,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(*packages),
        "machine": f"{platform.system()} {platform.machine()}",
        "settings": dict(settings),
    }
