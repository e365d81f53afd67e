from __future__ import annotations

import pytest

from difftool.errors import MEANING, DifftoolError, Exit, is_disk_full, is_out_of_memory, nearest, pick


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
    error = DifftoolError(Exit.FILE, "there is no recording out of memory, no space left on device.wav", "")
    assert not is_out_of_memory(error)
    assert not is_disk_full(error)
    for name in ("out of memory.wav", "no space left on device.wav"):
        missing = FileNotFoundError(2, "No such file or directory", name)
        assert not (is_out_of_memory(missing) or is_disk_full(missing))
