"""What folders and names say: parts of a data set, classes, and what has no place."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from difftool.errors import DifftoolError, Exit
from difftool.train.data.pictures import Pictures, load
from difftool.train.data.splits import for_test

pytestmark = pytest.mark.usefixtures("own_cache")


def lay(root: Path, *names: str) -> Pictures:
    """Pictures of these names, each of another grey; what is read of them."""
    for k, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 255 - 8 * k).save(path)
    return load(str(root))


def greys(data: Pictures | None) -> list[int]:
    return [] if data is None else ((255 - data.pixels[:, 0, 0, 0]) // 8).tolist()


CASES: dict[str, tuple[list[str], list[str], list[int], list[int]]] = {
    "train and test": (
        ["train/cat/a.png", "train/dog/b.png", "test/cat/c.png", "test/dog/d.png"],
        ["cat", "dog"],
        [0, 1],
        [2, 3],
    ),
    "Train and valid": (["Train/cat/a.png", "Train/dog/b.png", "valid/dog/c.png"], ["cat", "dog"], [0, 1], [2]),
    "all three": (["train/a.png", "val/b.png", "test/c.png"], [], [0], [2, 1]),
    "with a year": (["train2017/a.png", "val2017/b.png"], [], [0], [1]),
    "called sets": (["training_set/x/a.png", "training_set/y/b.png", "test_set/y/c.png"], ["x", "y"], [0, 1], [2]),
    "classes first": (["cat/train/a.png", "dog/train/b.png", "dog/test/c.png"], ["cat", "dog"], [0, 1], [2]),
    "below a folder": (
        ["s/images/train/x/a.png", "s/images/train/y/b.png", "s/images/val/x/c.png"],
        ["x", "y"],
        [0, 1],
        [2],
    ),
    "test of another class": (
        ["train/cat/a.png", "train/dog/b.png", "test/cat/c.png", "test/cow/d.png"],
        ["cat", "dog"],
        [0, 1],
        [2],
    ),
    "a word inside": (
        ["contest/a.png", "latest/b.png", "test tube/c.png"],
        ["contest", "latest", "test tube"],
        [0, 1, 2],
        [],
    ),
    "train, a vehicle": (["car/a.png", "train/b.png"], ["car", "train"], [0, 1], []),
    "train alone": (["train/cat/a.png", "train/dog/b.png"], ["cat", "dog"], [0, 1], []),
    "test alone": (["test/cat/a.png", "test/dog/b.png"], ["cat", "dog"], [0, 1], []),
    "test beside classes": (["cat/a.png", "dog/b.png", "test/c.png"], ["cat", "dog"], [0, 1], []),
    "classes beside theirs": (["cat/a.png", "dog/b.png", "test/cat/c.png"], ["cat", "dog"], [0, 1], [2]),
    "one folder beside theirs": (
        ["pets/cat/a.png", "pets/dog/b.png", "test/cat/c.png"],
        ["cat", "dog"],
        [0, 1],
        [2],
    ),
    "twice in each other": (
        ["seg_train/seg_train/x/a.png", "seg_train/seg_train/y/b.png", "seg_test/seg_test/y/c.png"],
        ["x", "y"],
        [0, 1],
        [2],
    ),
    "two words in a name": (["my_train/x/a.png", "my_train/y/b.png", "my_test/x/c.png"], ["x", "y"], [0, 1], [2]),
    "with a letter": (["trainA/a.png", "trainB/b.png", "testA/c.png", "testB/d.png"], ["A", "B"], [0, 1], [2, 3]),
    "with a number": (["train/a.png", "test1/b.png"], [], [0], [1]),
    "a word without its counterpart": (["crash_test/a.png", "train/b.png"], ["crash_test", "train"], [0, 1], []),
    "a stray one beside the folder of the classes": (
        ["pets/cat/a.png", "pets/dog/b.png", "logo.png"],
        ["cat", "dog"],
        [0, 1],
        [],
    ),
    "a stray one beside train": (["train/cat/a.png", "train/dog/b.png", "logo.png"], ["cat", "dog"], [0, 1], []),
    "a stray one beside one folder": (["cat/a.png", "cat/b.png", "c.png"], [], [2, 0, 1], []),
    "beside the parts": (["train/a.png", "test/b.png", "extra/c.png"], [], [0], [1]),
}


@pytest.mark.parametrize("case", CASES)
def test_parts_and_classes(tmp_path: Path, case: str) -> None:
    names, classes, learned, held = CASES[case]
    data = lay(tmp_path / "set", *names)
    assert data.classes == classes
    assert greys(data) == learned
    assert greys(data.held_out) == held
    left = len(names) - len(learned) - len(held)
    assert not left or any(f"{left} picture" in note for note in data.notes)


def test_labels_of_the_part_to_judge_by_are_those_of_the_others(tmp_path: Path) -> None:
    held = lay(tmp_path / "set", *CASES["test of another class"][0]).held_out
    assert held is not None
    assert held.labels is not None
    assert held.labels.tolist() == [0]


def test_only_parts_to_judge_by(tmp_path: Path) -> None:
    with pytest.raises(DifftoolError, match="parts test and val, but no training part") as caught:
        lay(tmp_path / "set", "test/a.png", "val/b.png")
    assert caught.value.code == Exit.FILE


def test_what_is_decided_is_said(tmp_path: Path) -> None:
    said = lay(tmp_path / "a", "cat/a.png", "dog/b.png", "test/c.png").notes[0]
    assert said == "test is used as the held-out part, not as a class"
    said = lay(tmp_path / "b", "car/a.png", "train/b.png").notes[0]
    assert "train is used as a class" in said


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("data/train-00000-of-00002.parquet", False),
        ("data/validation-00000-of-00001.parquet", True),
        ("default/test/0000.parquet", True),
        ("default/partial-train/0000.parquet", False),
        ("test/train-0.parquet", False),
        ("contest.parquet", False),
        ("t10k-images-idx3-ubyte.gz", True),
        ("testimages.idx3-ubyte", True),
        ("test_batch.bin", True),
        ("data_batch_1.bin", False),
    ],
)
def test_files_to_judge_by(name: str, held: bool) -> None:
    assert for_test(name) is held


def test_links_to_folders_are_entered_and_loops_are_not(tmp_path: Path) -> None:
    lay(tmp_path / "real", "cats/a.png", "dogs/b.png")
    birds = tmp_path / "set" / "birds"
    birds.mkdir(parents=True)
    (birds / "c.png").symlink_to(tmp_path / "real" / "cats" / "a.png")
    (birds / "gone.png").symlink_to(tmp_path / "nothing")
    (birds / "up").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "root").symlink_to("/")
    for name in ("cats", "dogs"):
        (tmp_path / "set" / name).symlink_to(Path("..") / "real" / name)
    data = load(str(tmp_path / "set"))
    assert data.classes == ["birds", "cats", "dogs"]
    assert greys(data) == [0, 0, 1]
    assert sorted(data.skipped) == [
        "birds/gone.png: broken link",
        "birds/up: link to a parent folder",
        "root: link to a parent folder",
    ]


def test_what_systems_put_beside_pictures_is_left_out(tmp_path: Path) -> None:
    aside = ["a/@eaDir/b.png", ".thumbnails/b.png", "a/.ipynb_checkpoints/b.png", "__MACOSX/b.png", "thumbnails/b.png"]
    data = lay(tmp_path / "set", "a/a.png", "b/b.png", *aside)
    (tmp_path / "set" / "a" / "Thumbs.db").write_bytes(b"x")
    assert greys(data) == [0, 1]
    assert data.notes == (
        "hidden folders and thumbnails left out: .ipynb_checkpoints, .thumbnails, @eaDir, __MACOSX, thumbnails",
    )


# --- captions and labels beside pictures -----------------------------------------------------------------------------


def test_captions_in_utf8_with_and_without_a_mark(tmp_path: Path) -> None:
    lay(tmp_path, "0.png", "1.png", "2.png", "3.png")
    (tmp_path / "0.txt").write_text("a red thing", encoding="utf-8-sig")
    (tmp_path / "1.TXT").write_text("ein süßes Ding", encoding="utf-8")
    (tmp_path / "9.txt").write_text("of no picture")
    (tmp_path / "readme.txt").write_text("of no picture either")
    data = load(str(tmp_path))
    assert data.captions == ["a red thing", "ein süßes Ding", "", ""]
    assert data.notes == (
        "1 text (9.txt) not used: no picture with that name, or boxes instead of captions",
        "2 of 4 pictures without a caption",
    )
    (tmp_path / "2.txt").write_text("a red thing", encoding="utf-16")
    (tmp_path / "3.txt").write_bytes(b"4\xb0s")
    with pytest.raises(DifftoolError, match=r"not UTF-8: 2 captions \(2.txt, 3.txt\)") as caught:
        load(str(tmp_path))
    assert caught.value.code == Exit.FILE


def test_half_a_character_in_a_caption(tmp_path: Path) -> None:
    lay(tmp_path, "0.png", "1.png")
    row = '{"file_name": "%d.png", "text": "%s"}\n'
    (tmp_path / "metadata.jsonl").write_text(row % (0, "\\ud83d\\ude00 smiles") + row % (1, "red"))
    assert load(str(tmp_path)).captions == ["😀 smiles", "red"]
    (tmp_path / "metadata.jsonl").write_text(row % (0, "a \\ud83d thing") + row % (1, "red"))
    with pytest.raises(DifftoolError, match="not UTF-8") as caught:
        load(str(tmp_path))
    assert caught.value.code == Exit.FILE


@pytest.mark.parametrize(
    "text",
    [
        "0 0.5 0.5 0.25 0.25\n11 0.1 0.2 0.3 0.4\n",
        "0 0.5 .5 1 1e-05\n",
        "0" + 200 * " 0.123456 0" + "\n",  # outlines, which a regular expression may take years for
    ],
)
def test_boxes_are_no_captions(tmp_path: Path, text: str) -> None:
    lay(tmp_path, "0.png", "1.png")
    (tmp_path / "0.txt").write_text(text)
    data = load(str(tmp_path))
    assert data.captions is None
    assert "1 text (0.txt) not used" in data.notes[0]


@pytest.mark.parametrize("text", ["7 4 1 2 3", "0" + 200 * " 0.123456" + " nan"])
def test_numbers_that_are_no_boxes_are_captions(tmp_path: Path, text: str) -> None:
    lay(tmp_path, "0.png", "1.png")
    (tmp_path / "0.txt").write_text(text)
    assert load(str(tmp_path)).captions == [text, ""]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("metadata.csv", "file_name,text\n0.png,a dog, and a cat\n", "more cells than columns in the row of 0.png"),
        ("metadata.csv", "file_name,label,text\n0.png,x,a dog, and a cat\n", "more cells than columns"),
        ("metadata.jsonl", "[" * 100_000, "not a UTF-8 table"),
        ("metadata.jsonl", '{"file_name": "0.png", "label": {"a": 1}}\n', "without a label"),
        ("metadata.jsonl", '{"file_name": "0.png", "label": {}}\n{"file_name": "1.png", "label": 1}\n', "such as {}"),
    ],
)
def test_metadata_that_are_no_table(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DifftoolError, match=says) as caught:
        lay(tmp_path, "0.png", "1.png")
    assert caught.value.code == Exit.FILE


def test_metadata_of_another_kind_are_not_used(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("isic_id,age\n0,70\n")
    assert lay(tmp_path, "0.png", "1.png").notes == ("metadata.csv not used: it has no column file_name",)


def test_pictures_in_a_folder_of_thumbnails_alone_are_told(tmp_path: Path) -> None:
    with pytest.raises(DifftoolError, match="the only files are in hidden or thumbnail folders: Thumbs"):
        lay(tmp_path, "Thumbs/a/0.png", "Thumbs/b/1.png")
    assert load(str(tmp_path / "Thumbs")).classes == ["a", "b"]


def test_rows_of_metadata_that_are_not_used_are_told(tmp_path: Path) -> None:
    (tmp_path / "Metadata.CSV").write_text("file_name,text,label\n0.png,a,x\n0.png,b,x\n1.png,c,x\n")
    data = lay(tmp_path, "0.png", "1.png")
    assert data.captions == ["b", "c"]
    assert data.labels is None
    assert data.notes == (
        "1 picture (0.png) with several rows of metadata; the last one is used",
        "all pictures have the same label or none; labels not used",
    )


def test_metadata_beside_pictures(tmp_path: Path) -> None:
    lay(tmp_path / "a", "0.png", "1.png", "2.png")
    (tmp_path / "a" / "metadata.csv").write_text("file_name,text,source\n0.png,zero,x\n1.png,one,y\n7.png,seven,z\n")
    data = load(str(tmp_path / "a"))
    assert data.captions == ["zero", "one", ""]
    assert data.notes[:2] == (
        "1 row (7.png) of metadata not used: no such picture",
        "1 column (source) of metadata not used",
    )
    lay(tmp_path / "b", "train/0.png", "train/1.png", "test/0.png")
    for part, count in (("train", 2), ("test", 1)):
        lines = [f'{{"file_name": "{k}.png", "label": {k}}}' for k in range(count)]
        (tmp_path / "b" / part / "metadata.jsonl").write_text("\n".join(lines))
    data = load(str(tmp_path / "b"))
    assert data.classes == ["0", "1"]
    assert data.held_out is not None
    assert data.held_out.labels is not None
    assert data.held_out.labels.tolist() == [0]
    (tmp_path / "a" / "metadata.csv").write_text("file_name;text\n0.png;a\n", "utf-16")
    with pytest.raises(DifftoolError, match="column file_name"):
        load(str(tmp_path / "a"))


def test_a_damaged_data_set_beside_a_picture_is_told(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 4, 0, 0, 0, 4]))
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1PAR1")
    notes = lay(tmp_path, "logo.png").notes
    assert "the header of train-images-idx3-ubyte declares 144 bytes, but the file has 0" in notes
    assert any("train-0.parquet is damaged" in note for note in notes)


def test_the_kind_is_decided_by_all_files(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    data = lay(tmp_path, "idx3.png", "idx3-labels.png", "c.png")
    (tmp_path / "pytorch_model.bin").write_bytes(bytes(1000))
    (tmp_path / "0.json").write_text("{}")
    np.save(tmp_path / "features.npy", np.zeros((3, 512)))
    pyarrow.parquet.write_table(pyarrow.table({"url": ["a", "b", "c", "d"]}), tmp_path / "00000.parquet")
    found = load(str(tmp_path))
    assert found.fingerprint == data.fingerprint
    assert found.notes == ("4 files (0.json, 00000.parquet, features.npy, ...) not used",)
    with io.BytesIO() as held:
        Image.new("L", (4, 4), 90).save(held, "PNG")
        rows = [{"bytes": held.getvalue(), "path": None}] * 5
    pyarrow.parquet.write_table(pyarrow.table({"image": rows}), tmp_path / "00000.parquet")
    found = load(str(tmp_path))
    assert len(found.pixels) == 5
    assert "6 files" in found.notes[-1]
    (tmp_path / "one").mkdir()
    np.savez(tmp_path / "one" / "data.npz", images=found.pixels)
    (tmp_path / "one" / "README.md").write_text("about it")
    assert load(str(tmp_path / "one")).pixels.shape == (5, 4, 4, 1)
