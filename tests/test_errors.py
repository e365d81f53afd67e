from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest

from difftool.errors import (
    MEANING,
    DifftoolError,
    Exit,
    install_extra,
    is_disk_full,
    is_out_of_memory,
    nearest,
    pick,
    pip_install,
)

ROOT = Path(__file__).parents[1]


def test_every_code_has_a_meaning() -> None:
    assert set(MEANING) == set(Exit)
    assert [int(code) for code in Exit] == [0, 1, 2, 3, 4, 5, 6, 7, 75, 130, 143]


def test_nearest() -> None:
    assert nearest("dimm", ["ddim", "euler"]) == "ddim"
    assert nearest("EULER-A", ["ddim", "euler_a"]) == "euler_a"
    assert nearest("xyzzy", ["ddim", "euler"]) is None


def test_pick() -> None:
    assert pick("letter", "a", {"a": 1}) == 1
    with pytest.raises(DifftoolError, match="unknown letter 'aa'; did you mean 'a'") as caught:
        pick("letter", "aa", {"a": 1})
    assert caught.value.code == Exit.USAGE
    assert caught.value.hint == "known: a"


def test_an_extra_is_installed_by_the_packages_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = [
        "rich>=13.7",
        "audioop-lts>=0.2; python_version >= '3.13'",
        "pytorch-fid>=0.3; extra == 'fid'",
        "torchvision<0.27,>=0.26; extra == 'fid'",
        """tortoise-tts==3.0.0; (python_version < "3.12") and extra == "stock\"""",
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needs)
    monkeypatch.setattr(sys, "executable", "/home/me/it's here/bin/python")
    command = install_extra("fid")
    pip = ["/home/me/it's here/bin/python", "-m", "pip", "install"]
    assert shlex.split(command) == [*pip, "pytorch-fid>=0.3", "torchvision<0.27,>=0.26"]
    assert shlex.split(install_extra("stock")) == [*pip, "tortoise-tts==3.0.0"]


def test_where_there_is_no_pip_it_is_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert pip_install("soundfile") == f"uv pip install --python {shlex.quote(sys.executable)} soundfile"


def test_no_hint_takes_difftool_from_a_registry() -> None:
    texts = [*ROOT.glob("*.md"), *ROOT.glob("*.txt"), *(ROOT / "src").rglob("*.py")]
    found = [path.name for path in texts if re.search(r"pip install[^`\n]*\bdifftool\b", path.read_text())]
    assert texts and not found


def caused(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: 8 TB"),
        RuntimeError("can't start new thread"),
        RuntimeError("could not create a primitive"),
        RuntimeError("unable to mmap 8 bytes from file <x>: Cannot allocate memory (12)"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        ValueError("Error in header: I/O error: Cannot allocate memory (os error 12)"),
    ],
    ids=repr,
)
def test_the_end_of_memory_is_known(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert is_out_of_memory(caused(DifftoolError(Exit.FILE, "cannot read x", ""), error))
    assert not is_disk_full(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError(122, "Disk quota exceeded"),
        OSError("1000000 requested and 4096 written"),
        ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=repr,
)
def test_a_full_disk_is_known(error: Exception) -> None:
    assert is_disk_full(error)
    assert is_disk_full(caused(DifftoolError(Exit.FAILED, "cannot write x", ""), error))
    assert not is_out_of_memory(error)


def test_names_are_no_signs_of_it() -> None:
    error = DifftoolError(Exit.FILE, "no such recording: out of memory, no space left on device.wav", "")
    assert not is_out_of_memory(error)
    assert not is_disk_full(error)
    for name in ("out of memory.wav", "no space left on device.wav"):
        missing = FileNotFoundError(2, "No such file or directory", name)
        assert not (is_out_of_memory(missing) or is_disk_full(missing))
