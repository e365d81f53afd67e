from __future__ import annotations

import pytest

from difftool.errors import MEANING, DifftoolError, Exit, nearest, pick


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
