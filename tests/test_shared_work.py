"""Several processes (gloo, on the CPU) speak the text and draw the prompts that one does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from together import Ended, Fault, together

from difftool.pictures.png import read_manifest, read_png

PARTS = "\n\n".join(f"This is part {word}." for word in ("one", "two", "three", "four, which is longer", "five"))
CLONE = ("voice", "clone", "--engine", "beep", "--preset", "draft", "--device", "cpu")
DRAW = ("txt2img", "--device", "cpu", "--steps", "2", "--size", "32x32")


def like(folder: Path, name: str) -> dict[str, Any]:
    """All that a long reading has written, by name, without the times."""
    record = json.loads((folder / f"{name}.json").read_text())
    book = json.loads((folder / f"{name}.parts" / "manifest.json").read_text())
    del record["run_id"], record["created"]
    book["joined"]["files"] = [*book["joined"]["files"].values()]
    parts = {path.name: path.read_bytes() for path in (folder / f"{name}.parts").glob("*.wav")}
    return {"sound": (folder / f"{name}.wav").read_bytes(), "record": record, "book": book, "parts": parts}


def note_of(picture: Path) -> dict[str, Any]:
    """The manifest in a picture, without the times."""
    note = dict(read_manifest(picture) or {})
    del note["run_id"], note["created"]
    return note


def codes(run: list[Ended]) -> list[int]:
    return [process.code for process in run]


def silent(run: list[Ended]) -> bool:
    """Whether all processes but the first said nothing."""
    return all(process.out == process.err == "" for process in run[1:])


def test_the_parts_of_a_text_are_shared_out(beep: None, tmp_path: Path) -> None:
    one, two, three, single = together(
        (1, (*CLONE, PARTS, "-o", "one.wav", "--json"), None),
        (2, (*CLONE, PARTS, "-o", "two.wav", "--json"), None),
        (3, (*CLONE, PARTS, "-o", "three.wav", "-q", "--redo", "9"), None),
        (2, (*CLONE, "A part.", "-o", "single.wav", "-q"), None),
        cwd=tmp_path,
    )
    assert codes(one) == [0] and codes(two) == [0, 0] and silent(two)
    assert like(tmp_path, "two") == like(tmp_path, "one")
    assert len(like(tmp_path, "two")["parts"]) == 5
    data = [json.loads(run[0].out)["data"] for run in (one, two)]
    assert [each["said_now"] for each in data] == [5, 5]
    assert codes(three) == [2, 2, 2] and silent(three)
    assert three[0].err.startswith("error: there is no part 9: the text has only 5")
    assert (codes(single), single[0].out) == ([0, 0], "single.wav\n") and silent(single)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "ends"),
    [
        (Fault(1, "SIGKILL", 2, "*.wav"), [1, -9]),
        (Fault(0, "SIGKILL", 3, "*.wav"), [-9, 1]),
        (Fault(1, "SIGINT", 2, "*.wav"), [130, 130]),
        (Fault(0, "SIGTERM", 3, "*.wav"), [143, 143]),
        (Fault(1, "MemoryError", 2, "*.wav"), [6, 6]),
        (Fault(1, "OSError", 2, "*.wav"), [1, 1]),
        (Fault(0, "OSError", 1, "book.wav*"), [1, 1]),
    ],
    ids=str,
)
def test_what_stops_one_ends_all(beep: None, tmp_path: Path, fault: Fault, ends: list[int]) -> None:
    """Each with its code and no word twice; repeated in one process or two, it makes the file of one."""
    line = (*CLONE, PARTS, "-o", "book.wav")
    (broken,) = together((2, line, fault), cwd=tmp_path)
    assert codes(broken) == ends
    assert sum(process.err.count("error:") for process in broken) == 1
    shutil.copytree(tmp_path, tmp_path / "again")
    (whole, once), (twice,) = (
        together((1, (*line[:-1], "whole.wav"), None), (1, (*line, "--json"), None), cwd=tmp_path),
        together((2, (*line, "--json"), None), cwd=tmp_path / "again"),
    )
    assert codes(whole) + codes(once) + codes(twice) == [0, 0, 0, 0]
    assert all(json.loads(run[0].out)["data"]["said_now"] < 5 for run in (once, twice))
    assert like(tmp_path, "book") == like(tmp_path / "again", "book") == like(tmp_path, "whole")


@pytest.mark.slow
def test_more_processes_than_parts(beep: None, tmp_path: Path) -> None:
    one, three, again = together(
        (1, (*CLONE, "One.\n\nTwo.", "-o", "one.wav"), None),
        (3, (*CLONE, "One.\n\nTwo.", "-o", "three.wav"), None),
        (2, (*CLONE, "Only one.", "-o", "three.wav"), None),
        cwd=tmp_path,
    )
    assert codes(one + three) == [0, 0, 0, 0] and silent(three)
    assert like(tmp_path, "three") == like(tmp_path, "one")
    assert codes(again) == [4, 4] and silent(again)
    assert again[0].err.count("error: three.wav exists already") == 1


@pytest.mark.slow
def test_the_prompts_of_a_file_are_shared_out(tiny_pipeline: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a circle\n[a|b]\na square --count 2\na ring --steps 1\n")
    (tmp_path / "big.txt").write_text("a circle\na square --size 32x999\na star --lora none.safetensors\n")
    draw = (*DRAW, "--model", tiny_pipeline("sd"))
    runs = together(
        (1, (*draw, "--prompts", "list.txt", "--output-dir", "one", "--json"), None),
        (2, (*draw, "--prompts", "list.txt", "--output-dir", "two", "--json"), None),
        (2, (*draw, "--prompts", "list.txt", "--output-dir", "two", "--json", "--skip-existing"), None),
        (2, (*draw, "--prompts", "list.txt", "-o", "sheet.png", "--grid-only"), None),
        (2, (*draw, "--prompts", "big.txt", "--output-dir", "big", "--json"), None),
        (2, (*draw, "a circle", "--count", "3", "-q"), None),
        (2, (*draw, "--prompts", "list.txt", "--output-dir", "full"), Fault(1, "OSError", 1, "00003*")),
        cwd=tmp_path,
        imports=("accelerate", "difftool.text2img.draw"),
    )
    one, two, again, sheet, big, alone, full = runs
    assert [codes(run) for run in (one, two, again, sheet, big)] == [[5], *[[5, 5]] * 4]
    assert all(map(silent, runs))
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["00000-0.png", "00002-2.png", "00003-3.png", "00004-4.png", "grid.png"]
    for name in names:
        left, right = (tmp_path / folder / name for folder in ("one", "two"))
        assert (read_png(left)[0] == read_png(right)[0]).all()
        assert note_of(left) == note_of(right)
    of_one, of_two = (json.loads(run[0].out)["data"] for run in (one, two))
    paths = [[picture["path"].partition("/")[2] for picture in data["outputs"]] for data in (of_one, of_two)]
    assert paths[0] == paths[1] == names[:-1]
    assert of_one["failed"] == of_two["failed"]
    assert json.loads(again[0].out)["data"]["skipped"] == 4
    assert (read_png(tmp_path / "sheet.png")[0] == read_png(tmp_path / "two" / "grid.png")[0]).all()
    assert {row["where"] for row in json.loads(big[0].out)["data"]["failed"]} == {"line 2", "line 3"}
    assert codes(alone) == [0, 0]
    assert len({Path(line).parent for line in alone[0].out.splitlines()}) == 1
    assert codes(full) == [1, 1] and full[0].err.count("error: the disk is full") == 1
