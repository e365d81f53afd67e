from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from difftool import files
from difftool.errors import DifftoolError, Exit


def fails(code: Exit) -> pytest.RaisesExc[DifftoolError]:
    return pytest.RaisesExc(DifftoolError, check=lambda error: error.code == code)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert "tmp" in temporary.name
    files.write_text(path, "new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_tensors_come_back(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {"a": torch.randn(3, 4), "b": torch.arange(5), "c": torch.randn(2, 2).T, "d": torch.zeros(0)}
    files.save_tensors(path, tensors, {"step": "7"})
    found, metadata, digest = files.load_tensors(path)
    assert metadata["step"] == "7"
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "html", "header", "data", "folder"])
def test_damaged_tensors_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.safetensors"
    files.save_tensors(path, {"a": torch.randn(100)})
    good = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        flipped = bytearray(good)
        flipped[12 if damage == "header" else -5] ^= 0x10
        content = {"empty": b"", "cut": good[:-7], "html": b"<!DOCTYPE html><html>" * 20}
        path.write_bytes(content.get(damage, bytes(flipped)))
    with fails(Exit.FILE):
        files.load_tensors(path)


def test_every_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    files.save_tensors(path, {"a": torch.tensor([1.0, 2.0])})
    good = path.read_bytes()
    for place in range(0, len(good) * 8, 7):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        path.write_bytes(bytes(bad))
        try:
            found = files.load_tensors(path).tensors
        except DifftoolError as error:
            assert error.code == Exit.FILE
        else:  # a letter of the header that means nothing, or the name, which a network then misses
            assert all(value.tolist() == [1.0, 2.0] for value in found.values())


def test_a_name_that_leads_nowhere_is_in_use_too(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("nothing")
    with fails(Exit.FILE):
        files.unused([tmp_path / "a.png"], overwrite=False)


def test_homes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert files.expanded("~/a") == Path("/home/me/a")
    assert files.expanded("~no-such-user/a") == Path("~no-such-user/a")


def test_json_that_is_none(tmp_path: Path) -> None:
    for content in (b"", b"{", b"[1]", b"\xff\xfe"):
        (tmp_path / "a.json").write_bytes(content)
        with fails(Exit.FILE):
            files.read_json(tmp_path / "a.json")
    with fails(Exit.FILE):
        files.read_json(tmp_path / "b.json")


@pytest.mark.parametrize("kind", ["voice", "model", "parts"])
def test_notes_that_nothing_makes_again_are_no_results(kind: str, tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"schema": f"difftool/{kind}/1"})
    with pytest.raises(DifftoolError, match="not a result"):
        files.unused([tmp_path / "a.json"], overwrite=True)


def test_equal_tensors_and_notes_make_equal_files(tmp_path: Path) -> None:
    notes = {name: name for name in "gfedcba"}
    for name, given in (("one", notes), ("other", dict(sorted(notes.items())))):
        files.save_tensors(tmp_path / name, {"a": torch.ones(3), "b": torch.ones(2).half()}, given)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    loaded = files.load_tensors(tmp_path / "one")
    assert {name: loaded.metadata[name] for name in notes} == notes
    assert loaded.tensors["b"].dtype == torch.float16


def test_unused(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a", files.manifest("sample", "1", {}, ()))
    (tmp_path / "d").mkdir()
    files.unused([tmp_path / "b"], overwrite=False)
    files.unused([tmp_path / "a"], overwrite=True)
    with pytest.raises(DifftoolError) as ours:
        files.unused([tmp_path / "a"], overwrite=False)
    assert "--overwrite" in ours.value.hint
    with fails(Exit.FILE):
        files.unused([tmp_path / "d"], overwrite=True)


@pytest.mark.parametrize("kind", ["text", "link", "nowhere", "pipe"])
def test_what_difftool_did_not_write_is_not_replaced(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "a.png"
    files.write_json(tmp_path / "ours", files.manifest("sample", "1", {}, ()))
    if kind == "text":
        target.write_text("ten years of work")
    elif kind == "pipe":
        os.mkfifo(target)
    else:
        target.symlink_to("ours" if kind == "link" else "nothing")
    for overwrite in (False, True):
        with pytest.raises(DifftoolError) as refusal:
            files.unused([target], overwrite=overwrite)
        assert refusal.value.code == Exit.FILE
        assert "--overwrite" not in refusal.value.hint


@pytest.mark.parametrize("read", [files.read_json, files.load_tensors])
def test_a_pipe_is_not_waited_for(read: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with fails(Exit.FILE):
        read(tmp_path / "a")


def test_folders_made_for_nothing_are_gone(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), files.writable(tmp_path / "x" / "y", tmp_path / "z"):
        (tmp_path / "z" / "kept").write_text("work")
        raise RuntimeError
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["z", "z/kept"]
    with files.writable(tmp_path / "x"):
        pass
    assert (tmp_path / "x").is_dir()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with fails(Exit.FILE), files.writable(tmp_path / "file" / "below"):
        pass


def test_a_full_disk_is_noticed_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with fails(Exit.FILE), files.writable(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()


def test_a_lock_is_held_by_one_process_and_dies_with_it(tmp_path: Path) -> None:
    code = f"from pathlib import Path\nfrom difftool.files import lock\nwith lock(Path({str(tmp_path)!r})):\n"
    code += " print('held', flush=True)\n input()\n"
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with fails(Exit.LATER), files.lock(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with files.lock(tmp_path):
        assert (tmp_path / ".lock").exists()
    assert not (tmp_path / ".lock").exists()
