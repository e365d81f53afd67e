"""What lies in folders and archives, and that nothing in them takes more than its share."""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from difftool.errors import DifftoolError, Exit
from difftool.train.data.contents import PICTURE
from difftool.train.data.pictures import load

pytestmark = pytest.mark.usefixtures("own_cache")

RNG = np.random.default_rng(0)
ZEROS = 97 * 2**20
"""Bytes that pack into some hundred thousand."""


def png() -> bytes:
    with io.BytesIO() as held:
        Image.fromarray(RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(held, "PNG")
        return held.getvalue()


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", **own: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in own.items():
        setattr(member, key, value)
    archive.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_whose_names_begin_with_a_dot(tmp_path: Path, mode: Any) -> None:
    one, two = png(), png()
    with tarfile.open(tmp_path / "a.tar", mode) as archive:
        add(archive, ".", type=tarfile.DIRTYPE)
        add(archive, "./cats/0.png", one)
        add(archive, "./cats/0.txt", b"a cat")
        add(archive, "./dogs/1.png", two)
        add(archive, "./dogs/2.png", type=tarfile.LNKTYPE, linkname="./cats/0.png")
        add(archive, "./dogs/3.png", type=tarfile.SYMTYPE, linkname="../dogs/1.png")
        add(archive, "./dogs/4.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(archive, "./dogs/5.png", type=tarfile.FIFOTYPE)
        add(archive, "./dogs/._1.png", b"of a Mac")
    data = load(str(tmp_path / "a.tar"))
    assert data.classes == ["cats", "dogs"]
    assert data.captions == ["a cat", "", "", ""]
    assert [p.tobytes() for p in data.pixels] == [
        np.asarray(Image.open(io.BytesIO(one if k in (0, 2) else two))).tobytes() for k in range(4)
    ]
    assert data.skipped == ("dogs/4.png: not a regular file", "dogs/5.png: not a regular file")


def test_a_zip_of_windows(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("pets\\cats\\", "pets\\cats\\0.png", "pets\\dogs\\1.png"):
            archive.writestr(name, b"" if name.endswith("\\") else png())
        archive.writestr("pets\\cats\\0.txt", "a cat")
    data = load(str(tmp_path / "a.zip"))
    assert data.classes == ["cats", "dogs"]
    assert data.captions == ["a cat", ""]


def test_parts_in_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("/../pets/train/cats/0.png", "pets/train/dogs/1.png", "pets/test/dogs/2.png"):
            archive.writestr(name, png())
    data = load(str(tmp_path / "a.zip"))
    assert data.classes == ["cats", "dogs"]
    assert data.held_out is not None
    assert len(data.pixels) == 2


def damaged(path: Path, name: str) -> None:
    """Turns a bit of a member of a zip."""
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo(name).header_offset + 30 + len(name) + 10
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["0.txt", "train-images-idx3-ubyte", "a.npz", "a.parquet", "data_batch_1.bin"])
def test_a_damaged_member_of_a_zip(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"some words that are no data")
        if name == "0.txt":
            archive.writestr("0.png", png())
    damaged(tmp_path / "a.zip", name)
    with pytest.raises(DifftoolError, match=f"{name} is damaged: Bad CRC-32") as caught:
        load(str(tmp_path / "a.zip"))
    assert caught.value.code == Exit.FILE


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz", "a.TAR.GZ"])
def test_what_is_called_an_archive_and_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\3\4" + bytes(2000))
    with pytest.raises(DifftoolError, match=f"{name}: the archive is empty, damaged"):
        load(str(tmp_path / name))


def test_a_locked_member_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("0.png", png())
        archive.writestr("1.png", png())
        archive.getinfo("1.png").flag_bits |= 1
    data = load(str(tmp_path / "a.zip"))
    assert data.skipped == ("1.png: it is encrypted",)


# --- nothing takes more than its share -------------------------------------------------------------------------------


def zip_of(path: Path, name: str, *heads: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("ok.png", png())
        with archive.open(name, "w", force_zip64=True) as file:
            for head in heads:
                file.write(head)
            for _ in range(ZEROS >> 20):
                file.write(bytes(2**20))
    return path


def forged(path: Path) -> Path:
    """A zip whose picture announces to be small."""
    zip_of(path, "a.png")
    data = path.read_bytes().replace(struct.pack("<Q", ZEROS), struct.pack("<Q", 1000))
    path.write_bytes(data.replace(struct.pack("<I", ZEROS), struct.pack("<I", 1000)))
    return path


def npz_of(path: Path) -> Path:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (97, 1024, 1024)})
    return zip_of(path, "images.npy", head.getvalue())


def gz_of(path: Path, head: bytes) -> Path:
    with gzip.open(path, "wb") as file:
        file.write(head)
        for _ in range(ZEROS >> 20):
            file.write(bytes(2**20))
    return path


def tar_of(path: Path) -> Path:
    member = tarfile.TarInfo("a.png")
    member.size = ZEROS
    return gz_of(path, member.tobuf())


def parquet_of(path: Path) -> Path:
    table = pyarrow.table({"image": pyarrow.array([png(), bytes(ZEROS)], pyarrow.binary())})
    pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=False)
    return path


def many_of(path: Path) -> Path:
    """A zip of pictures that would each fit."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(4):
            archive.writestr(f"{k}.png", bytes(ZEROS // 4))
    return path


IDX = bytes([0, 0, 8, 3]) + struct.pack(">3I", 97, 1024, 1024)
BOMBS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "zip": (lambda p: zip_of(p / "a.zip", "a.png"), "would unpack to 101,711,872"),
    "zip of many": (lambda p: many_of(p / "a.zip"), "would unpack to 101,711,872"),
    "zip that lies": (lambda p: forged(p / "a.zip"), "Bad CRC-32"),
    "npz": (lambda p: npz_of(p / "a.npz"), "would unpack to 101,712,000"),
    "gz": (lambda p: gz_of(p / "a-idx3-ubyte.gz", IDX), "unpack to more than 67,108,864"),
    "tar.gz": (lambda p: tar_of(p / "a.tar.gz"), "unpack to more than 67,108,864"),
    "parquet": (lambda p: parquet_of(p / "a.parquet"), "would unpack to 101,"),
}


@pytest.mark.parametrize("what", BOMBS)
def test_what_would_take_more_than_its_share(tmp_path: Path, what: str) -> None:
    make, says = BOMBS[what]
    path = make(tmp_path)
    tracemalloc.start()
    try:
        said = " ".join(load(str(path)).skipped)
    except DifftoolError as error:
        assert error.code == Exit.FILE
        said = error.message
    finally:
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert says in said
    assert taken < 2.5 * 2**26


def flat_png(width: int, height: int) -> bytes:
    """The beginning of a picture of so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    )


def test_pictures_of_too_many_pixels_or_bytes_are_named(tmp_path: Path) -> None:
    (tmp_path / "ok.png").write_bytes(png())
    (tmp_path / "a.png").write_bytes(flat_png(13_000, 13_000))
    (tmp_path / "b.png").write_bytes(flat_png(30_000, 30_000))
    with (tmp_path / "c.png").open("wb") as file:
        file.truncate(PICTURE + 1)
    data = load(str(tmp_path))
    assert len(data.pixels) == 1
    assert [line[:29] for line in data.skipped] == [
        "a.png: it has 169,000,000 pix",
        "b.png: Image size (900000000 ",
        "c.png: 268,435,457 bytes, mor",
    ]


def test_a_caption_of_gigabytes_is_left_unread(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(flat_png(4, 4))
    with (tmp_path / "0.txt").open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(DifftoolError, match=r"0.txt is too large to read: 2,147,483,648 bytes") as caught:
        load(str(tmp_path))
    assert caught.value.code == Exit.FILE


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "ok.png").write_bytes(png())
    for name in ("a.png", "b.txt", "c.npz"):
        os.mkfifo(tmp_path / name)
    data = load(str(tmp_path))
    assert data.skipped == tuple(f"{name}: not a regular file" for name in ("a.png", "b.txt", "c.npz"))
    for name in (tmp_path / "a.png", tmp_path / "c.npz", Path("/dev/zero")):
        assert not stat.S_ISREG(name.stat().st_mode)
        with pytest.raises(DifftoolError, match="neither a file nor a folder") as caught:
            load(str(name))
        assert caught.value.code == Exit.FILE
