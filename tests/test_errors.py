from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest

from difftool.errors import MEANING, DifftoolError, Exit, install_extra, nearest, pick, pip_install

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
