"""Labels and captions of arrays and columns: judged, and told where they are none."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from difftool.errors import DifftoolError, Exit
from difftool.train.data.pictures import Pictures, load

pytestmark = pytest.mark.usefixtures("own_cache")

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)
TWO = np.arange(12) % 2


def arrays(folder: Path, **own: Any) -> Pictures:
    np.savez(folder / "a.npz", **({"images": PIXELS} | own))
    return load(str(folder / "a.npz"))


def column(folder: Path, **own: Any) -> Pictures:
    rows = []
    for one in PIXELS:
        with io.BytesIO() as held:
            Image.fromarray(one).save(held, "PNG")
            rows.append({"bytes": held.getvalue(), "path": None})
    pyarrow.parquet.write_table(pyarrow.table({"image": rows, **own}), folder / "a.parquet")
    return load(str(folder / "a.parquet"))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (TWO[:, None], ["0", "1"]),
        (TWO[None], ["0", "1"]),
        (TWO * 3.0, ["0", "3"]),
        (np.eye(2)[TWO], ["0", "1"]),
        (np.eye(2, dtype=bool)[TWO], ["0", "1"]),
        (np.array(["cat", "dog"])[TWO], ["cat", "dog"]),
        (np.array([b"cat", b"dog"])[TWO], ["cat", "dog"]),
        (TWO == 1, ["False", "True"]),
    ],
)
def test_one_class_a_picture(tmp_path: Path, labels: Any, classes: list[str]) -> None:
    data = arrays(tmp_path, labels=labels)
    assert data.classes == classes
    assert data.labels is not None
    assert data.labels.tolist() == TWO.tolist()


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.array([1, 1, 0] * 12).reshape(12, 3), "several classes or none per picture"),
        (np.zeros((12, 3), int), "several classes or none"),
        (np.arange(48).reshape(12, 4), "4 numbers per picture"),
        (RNG.dirichlet([1, 1, 1], 12), "3 numbers per picture"),
        (np.linspace(0, 1, 12), "non-integer labels such as 0.0909"),
        (np.where(TWO, np.inf, 1.0), "non-integer labels such as inf"),
        (np.where(TWO, np.nan, 1.0), "6 pictures without a label, the first is number 1"),
        (np.array(3), "one label for 12 pictures"),
        (np.arange(11), "11 labels for 12 pictures"),
        (np.full(12, b"\xff"), "not UTF-8"),
        (np.full(12, "2020-01-01", "M8[D]"), "datetime64"),
    ],
)
def test_what_is_no_class(tmp_path: Path, labels: Any, says: str) -> None:
    with pytest.raises(DifftoolError, match=says) as caught:
        arrays(tmp_path, labels=labels)
    assert caught.value.code == Exit.FILE


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"label": [0, 1, None] * 4}, "the column label: 4 pictures without a label, the first is number 2"),
        ({"label": ["a", None] * 6}, "6 pictures without a label"),
        ({"label": [[0], [0, 1]] * 6}, "lists of labels of different lengths"),
        ({"label": [[0, 1], [1, 1]] * 6}, "several classes or none"),
        ({"label": [{"x": 1}] * 12}, "unsupported labels such as {'x': 1}"),
        ({"caption": [{"x": 1}] * 12}, "{'x': 1} is not a caption"),
        ({"caption": [7] * 12}, "7 is not a caption"),
    ],
)
def test_columns_that_are_no_labels_or_captions(tmp_path: Path, own: dict[str, Any], says: str) -> None:
    with pytest.raises(DifftoolError, match=says) as caught:
        column(tmp_path, **own)
    assert caught.value.code == Exit.FILE


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    column(tmp_path)
    rows = pyarrow.parquet.read_table(tmp_path / "a.parquet").column("image")
    labels = pyarrow.array(TWO)
    twice = pyarrow.table([rows, labels, labels], names=["image", "label", "label"])
    pyarrow.parquet.write_table(twice, tmp_path / "b.parquet")
    with pytest.raises(DifftoolError, match="several columns named label") as caught:
        load(str(tmp_path / "b.parquet"))
    assert caught.value.code == Exit.FILE


def test_columns_of_lists(tmp_path: Path) -> None:
    own = {"label": [[0], [1]] * 6, "caption": [["a dog", "one dog"], [None, "a cat"], None] * 4, "url": ["x"] * 12}
    data = column(tmp_path, **own)
    assert data.classes == ["0", "1"]
    assert data.captions == ["a dog", "a cat", ""] * 4
    assert data.notes == (
        "the column of captions: several captions per picture; only the first is used",
        "4 of 12 pictures without a caption",
        "1 column (url) not used",
    )


def test_test_pictures_have_the_classes_of_the_others(tmp_path: Path) -> None:
    data = arrays(tmp_path, labels=TWO + 3, x_test=PIXELS[:3], y_test=np.array([4, 9, 3]), latents=np.zeros((12, 5)))
    assert data.classes == ["3", "4"]
    assert data.held_out is not None
    assert data.held_out.labels is not None
    assert data.held_out.labels.tolist() == [1, 0]
    assert data.notes == (
        "1 array (latents) in a.npz not used",
        "1 picture of the test part left out: the training part does not have their labels",
    )


UNIT = PIXELS / 255


@pytest.mark.parametrize(
    "values",
    [UNIT, 2 * UNIT - 1, UNIT * 1.000001, UNIT - 1e-6, 2.02 * UNIT - 1.01, UNIT * 255, UNIT.transpose(0, 3, 1, 2)],
)
def test_what_numbers_mean(tmp_path: Path, values: Any) -> None:
    assert np.abs(arrays(tmp_path, images=values).pixels.astype(int) - PIXELS).max() <= 2


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint16, bool])
def test_zeros_and_ones_are_black_and_white(tmp_path: Path, kind: Any) -> None:
    data = arrays(tmp_path, images=(PIXELS[..., 0] > 99).astype(kind))
    assert np.array_equal(data.pixels[..., 0], 255 * (PIXELS[..., 0] > 99))
    said = () if kind is bool else ("images in a.npz: values 0 and 1, read as black and white",)
    assert data.notes == said


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (UNIT * 16, "values from 0 to 1"),
        ((UNIT - 0.13) / 0.31, "values from -0.4"),
        (PIXELS.astype(np.int8), "values from -128 to 127"),
        (PIXELS[0], "which is a single picture"),
        (UNIT * 1j, "values of type complex"),
        (np.where(UNIT > 0.5, np.inf, UNIT), "not finite"),
    ],
)
def test_numbers_without_a_meaning(tmp_path: Path, values: Any, says: str) -> None:
    with pytest.raises(DifftoolError, match=says) as caught:
        arrays(tmp_path, images=values)
    assert caught.value.code == Exit.FILE


def test_floats_and_bytes_in_one_set_have_a_measure_each(tmp_path: Path) -> None:
    data = arrays(tmp_path, images=UNIT, test_images=PIXELS)
    assert data.held_out is not None
    assert np.array_equal(data.pixels, PIXELS)
    assert np.array_equal(data.held_out.pixels, PIXELS)


def test_a_part_that_is_nearly_black_beside_the_other_is_told(tmp_path: Path) -> None:
    data = arrays(tmp_path, images=UNIT, test_images=UNIT * 255)
    assert data.notes == ("one array of pictures is nearly black: its highest value is 1, that of the others 255",)


def test_pictures_that_are_nearly_black_are_said_to_be(tmp_path: Path) -> None:
    data = arrays(tmp_path, images=PIXELS // 16)
    assert data.pixels.max() == 15
    assert data.notes == ("the pictures are nearly black: images in a.npz has values from 0 to 15",)


def test_arrays_in_files_of_their_own(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", PIXELS)
    np.save(tmp_path / "labels.npy", TWO)
    data = load(str(tmp_path))
    assert np.array_equal(data.pixels, PIXELS)
    assert data.classes == ["0", "1"]


def test_tables_with_other_columns(tmp_path: Path) -> None:
    column(tmp_path, label=TWO.tolist())
    (tmp_path / "a.parquet").rename(tmp_path / "train-1.parquet")
    column(tmp_path)
    (tmp_path / "a.parquet").rename(tmp_path / "train-2.parquet")
    with pytest.raises(DifftoolError, match=r"train-2\.parquet and train-1\.parquet have different columns") as caught:
        load(str(tmp_path))
    assert caught.value.code == Exit.FILE
    (tmp_path / "train-2.parquet").rename(tmp_path / "test-2.parquet")
    data = load(str(tmp_path))
    assert data.classes == ["0", "1"]
    assert data.notes[-1] == "12 pictures of the test part left out: the training part does not have their labels"


def test_names_of_the_classes_and_labels_that_are_missing(tmp_path: Path) -> None:
    """The hub writes -1 where a label is missing."""
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    named = {"huggingface": json.dumps({"info": {"features": features}})}
    column(tmp_path, label=TWO.tolist())
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet").replace_schema_metadata(named)
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert load(str(tmp_path / "a.parquet")).classes == ["cat", "dog"]
    missing = table.set_column(1, "label", [(TWO - 1).tolist()])
    pyarrow.parquet.write_table(missing, tmp_path / "a.parquet")
    with pytest.raises(DifftoolError, match="6 pictures without a label"):
        load(str(tmp_path / "a.parquet"))
