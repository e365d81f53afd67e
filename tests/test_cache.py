"""The cache folder: listed and cleared."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from difftool import files, provenance
from difftool.train.data import pictures


@pytest.fixture
def filled(difftool: Callable, tmp_path: Path) -> Path:
    """Two data sets, one last used 40 days ago, places, and a file of somebody else."""
    folder = tmp_path / "home" / ".cache" / "difftool"
    for name, days in (("a", 40), ("b", 1)):
        held = folder / "pictures" / (name * 64)
        held.mkdir(parents=True)
        (held / "train.npy").write_bytes(bytes(1000))
        os.utime(held, (time.time() - days * 86400,) * 2)
    (folder / "places.json").write_text("{}\n")
    (folder / "pictures" / "mine").mkdir()
    (folder / "mine.txt").write_text("the only copy")
    return folder


def test_it_is_where_others_write(filled: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.cache_dir() == filled
    assert provenance._store() == filled / "places.json"
    monkeypatch.undo()
    assert pictures.cache() == files.cache_dir() / "pictures"


def test_listed(difftool: Callable, filled: Path) -> None:
    lines = difftool("cache", "ls").out.splitlines()
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86400))
    assert lines[0].split()[:8] == ["pictures", "2", "items", "2,000", "bytes", "last", "used", day]
    assert lines[1].split()[:5] == ["places", "1", "item", "3", "bytes"]
    assert lines[2] == f"cache folder: {filled}"
    data = difftool("cache", "ls", "--json").json["data"]
    assert (data["folder"], data["bytes"]) == (str(filled), 2003)
    assert [(item["kind"], item["bytes"], item["in_use"]) for item in data["items"]] == [
        ("pictures", 1000, False),
        ("pictures", 1000, False),
        ("places", 3, False),
    ]


def test_an_empty_one(difftool: Callable) -> None:
    assert difftool("cache", "ls").out.count("0 items") == 2
    assert difftool("cache", "clear").out == "removed 0 items, 0 bytes\n"


def left(folder: Path) -> set[str]:
    return {path.name[:12] for path in [*folder.iterdir(), *(folder / "pictures").iterdir()]}


def test_cleared(difftool: Callable, refused: Callable, filled: Path) -> None:
    everything = left(filled)
    assert difftool("cache", "clear", "--dry-run").out == "would remove 2 items, 2,000 bytes\n"
    assert left(filled) == everything
    for age, kept in (("41d", everything), ("2d", everything - {"a" * 12}), ("1h", everything - {"a" * 12, "b" * 12})):
        assert difftool("cache", "clear", "--older-than", age).code == 0
        assert left(filled) == kept
    assert difftool("cache", "clear", "places", "-q").out == f"{filled / 'places.json'}\n"
    assert left(filled) == {"pictures", "mine", "mine.txt"}
    refused(2, "cache", "clear", "pictrues", says="did you mean 'pictures'?")
    for age in ("", "30", "d", "-1d", "1y", "1.5d"):
        refused(2, "cache", "clear", "--older-than", age, says="is not an age such as")


def test_what_is_in_use_stays(difftool: Callable, filled: Path) -> None:
    first, second = filled / "pictures" / ("a" * 64), filled / "pictures" / ("b" * 64)
    with (first / "train.npy").open("rb"):
        ended = difftool("cache", "clear")
    assert f"{first} is in use" in ended.err
    assert (first.exists(), second.exists()) == (True, False)
    import numpy as np

    np.save(first / "train.npy", np.zeros(100))
    mapped = np.load(first / "train.npy", mmap_mode="c")
    assert difftool("cache", "clear", "--json").json["data"]["removed"] == []
    assert mapped.sum() == 0
    del mapped
    difftool("cache", "clear")
    assert not first.exists()


def test_what_a_killed_process_left(difftool: Callable, filled: Path) -> None:
    fresh = filled / "pictures" / f".{'c' * 64}.tmp-01234567"
    fresh.mkdir()
    difftool("cache", "clear")
    assert fresh.exists()  # it may be being written
    os.utime(fresh, (0, 0))
    difftool("cache", "clear")
    assert not fresh.exists()
