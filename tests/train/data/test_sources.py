"""Every kind of file that training pictures come in, made here in its real format, whole and damaged."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from difftool.errors import DifftoolError, Exit
from difftool.train.data import cached, sources
from difftool.train.data import pictures as module
from difftool.train.data.pictures import load

RNG = np.random.default_rng(0)


pytestmark = pytest.mark.usefixtures("own_cache")


def fails(code: Exit, says: str) -> pytest.RaisesExc[DifftoolError]:
    return pytest.RaisesExc(DifftoolError, match=says, check=lambda error: error.code == code)


def pictures(*shape: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def png(array: np.ndarray[Any, Any]) -> bytes:
    held = io.BytesIO()
    Image.fromarray(array).save(held, "PNG")
    return held.getvalue()


def mnist(folder: Path, *, packed: bool = True, names: str = "{}-{}-idx{}-ubyte") -> tuple[Any, Any, Any]:
    train, test, labels = pictures(40, 28, 28), pictures(10, 28, 28), np.arange(40, dtype=np.uint8) % 10
    folder.mkdir(exist_ok=True)
    for part, what, dims, array in (
        ("train", "images", 3, train),
        ("train", "labels", 1, labels),
        ("t10k", "images", 3, test),
        ("t10k", "labels", 1, labels[:10]),
    ):
        data, name = idx(array), names.format(part, what, dims)
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(data) if packed else data)
    return train, test, labels


@pytest.mark.parametrize(("packed", "names"), [(True, "{}-{}-idx{}-ubyte"), (False, "{}-{}.idx{}-ubyte")])
def test_mnist_as_it_comes(tmp_path: Path, packed: bool, names: str) -> None:
    train, test, labels = mnist(tmp_path / "mnist", packed=packed, names=names)
    found = load(str(tmp_path / "mnist"))
    assert np.array_equal(found.pixels[..., 0], train)
    assert found.labels is not None
    assert np.array_equal(found.labels, labels)
    assert found.classes == [str(k) for k in range(10)]
    assert found.held_out is not None
    assert np.array_equal(found.held_out.pixels[..., 0], test)


def test_one_idx_file_alone(tmp_path: Path) -> None:
    train, *_ = mnist(tmp_path / "mnist")
    found = load(str(tmp_path / "mnist" / "train-images-idx3-ubyte.gz"))
    assert np.array_equal(found.pixels[..., 0], train)
    assert found.labels is None  # they are in another file


def cifar(folder: Path, coarse: bool) -> tuple[Any, Any]:
    """(pixels (N, 32, 32, 3) of the training files, fine labels)."""
    folder.mkdir(exist_ok=True)
    planes, fine = pictures(30, 3, 32, 32), RNG.integers(0, 100 if coarse else 10, 30, dtype=np.uint8)
    heads = np.stack([fine // 5, fine], 1) if coarse else fine[:, None]
    records = np.concatenate([heads, planes.reshape(30, -1)], 1)
    if coarse:
        (folder / "train.bin").write_bytes(records.tobytes())
        (folder / "test.bin").write_bytes(records[:4].tobytes())
        (folder / "fine_label_names.txt").write_text("\n".join(f"fine{k}" for k in range(100)) + "\n")
        (folder / "coarse_label_names.txt").write_text("\n".join(f"coarse{k}" for k in range(20)) + "\n")
    else:
        for k in range(3):
            (folder / f"data_batch_{k + 1}.bin").write_bytes(records[10 * k : 10 * k + 10].tobytes())
        (folder / "test_batch.bin").write_bytes(records[:4].tobytes())
        (folder / "batches.meta.txt").write_text("\n".join(f"class{k}" for k in range(10)) + "\n")
    return planes.transpose(0, 2, 3, 1), fine


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_cifar_as_it_comes(tmp_path: Path, coarse: bool, packed: bool) -> None:
    pixels, fine = cifar(tmp_path / "cifar", coarse)
    place = tmp_path / "cifar"
    if packed:
        place = tmp_path / "cifar-binary.tar.gz"
        with tarfile.open(place, "w:gz") as archive:
            archive.add(tmp_path / "cifar", "cifar-batches-bin")
    found = load(str(place))
    assert np.array_equal(found.pixels, pixels)
    assert found.labels is not None
    assert np.array_equal(found.labels, fine)
    assert found.classes[7] == ("fine7" if coarse else "class7")
    assert found.held_out is not None
    assert np.array_equal(found.held_out.pixels, pixels[:4])


def test_arrays(tmp_path: Path) -> None:
    grey, colour = pictures(12, 9, 7), pictures(12, 9, 7, 3)
    np.save(tmp_path / "grey.npy", grey)
    assert np.array_equal(load(str(tmp_path / "grey.npy")).pixels[..., 0], grey)
    np.save(tmp_path / "planes.npy", colour.transpose(0, 3, 1, 2))
    assert np.array_equal(load(str(tmp_path / "planes.npy")).pixels, colour)
    for low, high in ((0, 1), (-1, 1), (0, 255)):
        np.save(tmp_path / "floats.npy", colour / 255 * (high - low) + low)
        assert np.array_equal(load(str(tmp_path / "floats.npy")).pixels, colour)
    np.save(tmp_path / "deep.npy", colour.astype(np.uint16) * 257)
    assert np.array_equal(load(str(tmp_path / "deep.npy")).pixels, colour)
    # as Keras ships MNIST
    np.savez(tmp_path / "m.npz", x_train=grey, y_train=np.arange(12) % 3, x_test=grey[:5], y_test=np.arange(5) % 3)
    found = load(str(tmp_path / "m.npz"))
    assert found.classes == ["0", "1", "2"]
    assert found.held_out is not None
    assert len(found.held_out.pixels) == 5
    np.savez(tmp_path / "words.npz", images=colour, labels=np.array(["cat", "dog", "ant"] * 4))
    found = load(str(tmp_path / "words.npz"))
    assert found.classes == ["ant", "cat", "dog"]
    assert found.labels is not None
    assert found.labels[:3].tolist() == [1, 2, 0]


def test_parquet_as_the_hub_has_it(tmp_path: Path) -> None:
    made = [pictures(8, 10, 3) for _ in range(12)]
    rows = [{"bytes": png(one), "path": None} for one in made]
    rows[5] = {"bytes": b"broken", "path": None}
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog", "bird"], "_type": "ClassLabel"}}
    table = pyarrow.table(
        {"image": rows, "label": [k % 2 for k in range(12)], "text": [f"picture {k}" for k in range(12)]}
    )
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    pyarrow.parquet.write_table(table, folder / "train-00000-of-00001.parquet")
    pyarrow.parquet.write_table(table.slice(0, 3), folder / "test-00000-of-00001.parquet")
    found = load(str(tmp_path / "set"))
    assert np.array_equal(found.pixels, np.stack(made[:5] + made[6:]))
    assert found.classes == ["cat", "dog", "bird"]
    assert found.labels is not None
    assert found.labels.tolist() == [k % 2 for k in range(12) if k != 5]
    assert found.captions is not None
    assert found.captions[5] == "picture 6"
    assert found.skipped[0].startswith("row 5")
    assert found.held_out is not None
    assert len(found.held_out.pixels) == 3


def test_pictures_of_a_table_are_made_their_size_once(tmp_path: Path) -> None:
    """Not first small and then large again."""
    one = pictures(100, 100)
    table = pyarrow.table({"image": [{"bytes": png(one), "path": None}]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert np.array_equal(load(str(tmp_path / "a.parquet"), (100, 100)).pixels[0, ..., 0], one)


def test_a_data_set_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken from where the hub's own tools keep it; nothing is downloaded."""
    import huggingface_hub

    def kept(name: str, repo_type: str, local_files_only: bool) -> str:
        assert (name, repo_type, local_files_only) == ("someone/faces", "dataset", True)
        return str(tmp_path / "set")

    with fails(Exit.FILE, "not on this machine"):
        load("hf:someone/nothing-of-that-name")
    (tmp_path / "set").mkdir()
    np.save(tmp_path / "set" / "a.npy", pictures(4, 8, 8))
    with monkeypatch.context() as hub:
        hub.setattr(huggingface_hub, "snapshot_download", kept)
        assert load("hf:someone/faces").pixels.shape == (4, 8, 8, 1)
    with fails(Exit.USAGE, "not a valid name on the hub"):
        load("hf:a/b/c")


def test_a_zip_of_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for k in range(6):
            archive.writestr(f"pets/{'cat' if k % 2 else 'dog'}/{k}.PNG", png(pictures(8, 8, 3)))
        archive.writestr("pets/cat/broken.png", b"no picture")
        archive.writestr("__MACOSX/pets/cat/._1.png", b"no picture either")
        archive.writestr("pets/readme.txt", b"words")
    found = load(str(tmp_path / "a.zip"))
    assert found.pixels.shape == (6, 8, 8, 3)
    assert found.classes == ["cat", "dog"]
    assert [line.split(":")[0] for line in found.skipped] == ["pets/cat/broken.png"]


def test_a_zip_with_a_damaged_member(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for k in range(4):
            archive.writestr(f"{k}.png", png(pictures(8, 8, 3)))
        place = archive.getinfo("2.png").header_offset + 100
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[place] ^= 1
    (tmp_path / "a.zip").write_bytes(bytes(data))
    found = load(str(tmp_path / "a.zip"))
    assert len(found.pixels) == 3
    assert found.skipped[0].startswith("2.png: Bad CRC-32")


def test_captions_beside_pictures(tmp_path: Path) -> None:
    for k in range(3):
        (tmp_path / f"{k}.png").write_bytes(png(pictures(8, 8, 3)))
    (tmp_path / "0.txt").write_text("a red\n  ball ")
    (tmp_path / "2.txt").write_text("a house")
    assert load(str(tmp_path)).captions == ["a red ball", "", "a house"]


def test_odd_pictures(tmp_path: Path) -> None:
    """A palette and 16 bits in one folder, in capitals."""
    Image.fromarray(pictures(8, 8, 3)).convert("P").save(tmp_path / "A.PNG")
    deep = RNG.integers(0, 65536, (8, 8), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "B.PNG")
    found = load(str(tmp_path))
    assert found.pixels.shape == (2, 8, 8, 3)
    assert np.abs(found.pixels[1, :, :, 0] - deep / 257).max() <= 0.5


def test_twins_and_the_share_held_out(tmp_path: Path) -> None:
    array = pictures(200, 6, 6)
    array[150:] = array[:50]
    np.save(tmp_path / "a.npy", array)
    found = load(str(tmp_path / "a.npy"), held_out=0.1)
    assert found.duplicates == 50
    assert found.held_out is not None
    assert len(found.held_out.pixels) == 20
    assert len(found.pixels) == 180
    learned = {p.tobytes() for p in found.pixels}
    assert not any(p.tobytes() in learned for p in found.held_out.pixels)
    again = load(str(tmp_path / "a.npy"), held_out=0.1)
    assert again.fingerprint == found.fingerprint
    assert load(str(tmp_path / "a.npy"), held_out=0).held_out is None
    np.save(tmp_path / "few.npy", array[:99])
    assert load(str(tmp_path / "few.npy")).held_out is None


def test_decoded_once_and_found_by_what_it_holds(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for k in range(120):
        (folder / f"{k}.png").write_bytes(png(pictures(6, 6, 3)))
    first = load(str(folder))
    assert len([*own_cache.iterdir()]) == 1

    def no(*_: Any) -> None:
        raise AssertionError("decoded twice")

    with monkeypatch.context() as closed:
        closed.setattr(sources, "read_source", no)
        folder = folder.rename(tmp_path / "moved")  # where it lies is no part of it
        second = load(str(folder))
        assert np.array_equal(first.pixels, second.pixels)
        assert first.fingerprint == second.fingerprint
        assert first.held_out is not None
        assert second.held_out is not None
        assert np.array_equal(first.held_out.pixels, second.held_out.pixels)
        data = bytearray((folder / "0.png").read_bytes())
        data[-20] ^= 1
        (folder / "0.png").write_bytes(bytes(data))
        with pytest.raises(AssertionError, match="decoded twice"):
            load(str(folder))
    assert isinstance(first.pixels.base, np.memmap) or isinstance(first.pixels, np.memmap)


def test_a_cache_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(module, "cache", lambda: tmp_path / "file" / "cache")
    np.save(tmp_path / "a.npy", pictures(4, 6, 6))
    assert load(str(tmp_path / "a.npy")).pixels.shape == (4, 6, 6, 1)
    assert "cannot cache" in caplog.text


def test_what_was_not_used_for_longest_goes_first(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached, "KEPT_BYTES", 3000)
    for k in range(4):
        np.save(tmp_path / "a.npy", pictures(10, 10, 10))
        load(str(tmp_path / "a.npy"))
        assert len([*own_cache.iterdir()]) == min(k + 1, 2)


def truncated(path: Path, by: int = 20) -> Path:
    path.write_bytes(path.read_bytes()[:-by])
    return path


def saved(path: Path, array: Any) -> Path:
    np.save(path, array, allow_pickle=True)
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


WRONG: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a cut-off gz": (lambda p: (mnist(p), truncated(p / "train-images-idx3-ubyte.gz"))[1], "damaged"),
    "a cut-off idx": (lambda p: (mnist(p, packed=False), truncated(p / "train-images-idx3-ubyte"))[1], "declares"),
    "labels alone": (lambda p: (mnist(p), (p / "train-labels-idx1-ubyte.gz"))[1], "no pictures"),
    "html as idx": (lambda p: written(p / "a-idx3-ubyte", b"<html>"), "not an IDX"),
    "half a cifar": (lambda p: (cifar(p, False), truncated(p / "data_batch_1.bin"))[1], "not a multiple"),
    "an array of words": (lambda p: saved(p / "a.npy", np.array([[["a"]]])), "values of type"),
    "an array of objects": (lambda p: saved(p / "a.npy", np.array([{}, None], dtype=object)), "damaged"),
    "a flat array": (lambda p: saved(p / "a.npy", np.zeros((4, 4))), "no array of pictures"),
    "numbers that are not finite": (lambda p: saved(p / "a.npy", np.full((4, 4, 4), np.nan)), "not finite"),
    "numbers of any size": (lambda p: saved(p / "a.npy", np.full((4, 4, 4), 1e6)), "values from"),
    "an empty array": (lambda p: saved(p / "a.npy", np.zeros((0, 8, 8))), "no pictures"),
    "seven channels": (lambda p: saved(p / "a.npy", np.zeros((3, 8, 8, 7), np.uint8)), "7 channels"),
    "a cut-off array": (lambda p: truncated(saved(p / "a.npy", np.zeros((4, 8, 8), np.uint8))), "damaged"),
    "html as npz": (lambda p: written(p / "a.npz", b"<html>"), "damaged"),
    "html as parquet": (lambda p: written(p / "a.parquet", b"<html>"), "damaged"),
    "html as zip": (lambda p: written(p / "a.zip", b"<html>"), "empty, damaged"),
    "a file of nothing": (lambda p: written(p / "a.npy", b""), "damaged"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_learned_from(tmp_path: Path, own_cache: Path, what: str) -> None:
    make, says = WRONG[what]
    path = make(tmp_path)
    with fails(Exit.FILE, says) as caught:
        load(str(path))
    assert caught.value.hint
    assert not [*own_cache.iterdir()]


def test_a_table_without_pictures(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"words": ["a"]}), tmp_path / "a.parquet")
    with fails(Exit.FILE, "no column of pictures, only words"):
        load(str(tmp_path / "a.parquet"))


def test_labels_of_another_number(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=pictures(4, 6, 6), labels=np.arange(3))
    with fails(Exit.FILE, "3 labels for 4 pictures"):
        load(str(tmp_path / "a.npz"))


def test_pictures_can_be_made_another_size(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pictures(4, 20, 30, 3))
    assert load(str(tmp_path / "a.npy"), (8, 16)).pixels.shape == (4, 16, 8, 3)


@pytest.mark.parametrize("name", ["moons", "swiss_roll", "eight_gaussians"])
def test_toys(name: str) -> None:
    found = load(name)
    assert found.points
    assert found.pixels.shape == (10_000, 1, 1, 2)
    assert found.pixels.min() > 0
    assert found.pixels.max() < 255
    assert found.held_out is not None
    assert np.array_equal(load(name).pixels, found.pixels)
    # they fill a part of the plane, and not the whole
    assert 0.005 < len(np.unique(found.pixels.reshape(-1, 2), axis=0)) / 256**2 < 0.2


def test_mnist_packed_and_unpacked_in_one_folder(tmp_path: Path) -> None:
    """As torchvision leaves it."""
    mnist(tmp_path / "raw")
    train, *_ = mnist(tmp_path / "raw", packed=False)
    found = load(str(tmp_path / "raw"))
    assert np.array_equal(found.pixels[..., 0], train)
    assert found.classes == [str(k) for k in range(10)]
