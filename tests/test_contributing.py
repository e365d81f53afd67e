"""What CONTRIBUTING.md tells a newcomer to do, done on disk in a copy of the tree.

A block of a section "How to add ..." is put where the paragraph above it says: "in the table `NAME` of `FILE`", "above
`NAME` in `FILE`", "at the end of `FILE`", "as the new file `FILE`". A block of lines that begin with difftool or pytest
is run.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from difftool.core import START, Denoised, DiscreteVP, Level, Noise, betas, grid, solve

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "CONTRIBUTING.md"
RUN = """
import contextlib, io, json, shlex, sys
from difftool.cli.app import main

for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(shlex.split(line)[1:])
    print(json.dumps({"line": line.strip(), "code": code, "out": out.getvalue(), "err": err.getvalue()}), flush=True)
"""
"""Runs the command lines on stdin, as so many processes would, in the time of one."""


class Step(NamedTuple):
    """A block of the guide, and what stands above it."""

    section: str
    place: str
    block: str

    @property
    def is_run(self) -> bool:
        return self.block.startswith(("difftool ", "pytest "))


def steps() -> list[Step]:
    """The blocks of all recipes, in order."""
    found = []
    for section in re.split(r"^## ", GUIDE.read_text(), flags=re.MULTILINE):
        title, _, body = section.partition("\n")
        if not title.startswith("How to add"):
            continue
        place = ""
        for part in re.findall(r"(?:^ {4}.*\n|^\n(?=\n* {4}))+|(?:^\S.*\n)+", body, re.MULTILINE):
            if part.lstrip("\n").startswith("    "):
                found.append(Step(title, place, textwrap.dedent(part).strip("\n")))
            else:
                place = " ".join(part.split())
    return found


def apply(step: Step, tree: Path) -> None:
    """Puts a block where the paragraph above it says."""
    named = re.findall(r"`([^`]+)`", step.place)
    path = tree / next(name for name in reversed(named) if "/" in name and (tree / name).parent.is_dir())
    if "new file" in step.place:
        assert not path.exists(), path
        path.write_text(f"{step.block}\n")
    elif "at the end of" in step.place:
        path.write_text(f"{path.read_text()}\n{step.block}\n")
    elif table := re.search(r"in the table `(\w+)`", step.place):
        _insert(path, _lines_of(path, table[1])[1] - 1, textwrap.indent(step.block, "    "))
    else:
        above = re.search(r"[Aa]bove `(\w+)`", step.place)
        assert above, f"where does this go? {step.place}"
        gap = "\n\n\n" if step.block.startswith(("def ", "class ")) else "\n"
        _insert(path, _lines_of(path, above[1])[0] - 1, f"{step.block}{gap[1:]}")


def _lines_of(path: Path, name: str) -> tuple[int, int]:
    """The first and the last line of what is called so in a module."""
    for node in ast.parse(path.read_text()).body:
        targets = [node] if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else getattr(node, "targets", [node])
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        if any(name in (getattr(target, "id", None), getattr(target, "name", None)) for target in targets):
            return node.lineno, node.end_lineno or node.lineno
    raise AssertionError(f"there is no {name} in {path}")


def _insert(path: Path, line: int, text: str) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:line], *text.split("\n"), *lines[line:]]) + "\n")


class Done(NamedTuple):
    """The tree with all recipes done, and how the command lines ended."""

    tree: Path
    ended: dict[str, dict[str, Any]]
    """By line: code, out, err."""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    tree = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__", "assets", "*.egg-info"))
    (tree / "src/difftool/assets").symlink_to(ROOT / "src/difftool/assets")
    for folder in ("tests", "bench"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    for step in steps():
        if not step.is_run:
            apply(step, tree)
    rng = np.random.default_rng(0)
    rows = np.column_stack([np.arange(40) % 10, rng.integers(0, 256, (40, 64))])
    np.savetxt(
        tree / "mnist.csv", rows, "%d", ",", header=",".join(["label", *(f"p{k}" for k in range(64))]), comments=""
    )
    lines = [line for line in _lines() if line.startswith("difftool ")]
    ran = _run(tree, [sys.executable, "-c", RUN], "\n".join(lines))
    assert ran.returncode == 0, ran.stderr
    rows_of = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    return Done(tree, {row["line"]: row for row in rows_of})


def _lines() -> list[str]:
    return [line for step in steps() if step.is_run for line in step.block.splitlines()]


def _run(tree: Path, line: list[str], said: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(tree / "src"), "HOME": str(tree / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(line, cwd=tree, env=env, input=said, capture_output=True, text=True, timeout=300)


def test_every_recipe_has_its_blocks() -> None:
    sections = {step.section.removeprefix("How to add a ") for step in steps()}
    assert {"sampler", "preset", "data source", "command"} <= sections
    for section in sections:
        assert any(step.is_run for step in steps() if step.section.endswith(section)), f"nothing is run in {section}"


@pytest.mark.parametrize("line", [line for line in _lines() if line.startswith("difftool ")])
def test_a_command_line(done: Done, line: str) -> None:
    ended = done.ended[line]
    assert ended["code"] == 0, ended["err"]


def test_the_tests_that_it_names(done: Done) -> None:
    """All in one run, which takes as long as one."""
    lines = [line.split('"') for line in _lines() if line.startswith("pytest ")]
    assert lines
    files = [word for line in lines for word in line[0].split()[1:] if word != "-k"]
    names = [f"({line[1]})" for line in lines if len(line) > 1]
    alone = [Path(line[0].split()[1]).stem for line in lines if len(line) == 1]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *files]
    ran = _run(done.tree, [*command, "-k", " or ".join([*names, *alone])])
    assert ran.returncode == 0, ran.stdout


def test_lab_check_lists_the_new_presets(done: Done) -> None:
    ended = done.ended["difftool lab check faces sketch slow"]
    for name in ("faces", "sketch", "slow"):
        assert re.search(rf"^  {name} +(fits|tight|no)", ended["out"], re.MULTILINE), ended["out"]


def test_a_new_data_source_is_read(done: Done) -> None:
    ended = done.ended["difftool train mnist.csv --preset mnist --dry-run"]
    assert "pictures of 8x8, grey" in ended["err"] + ended["out"]


@pytest.fixture
def extrapolated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The method of the guide."""
    block = next(step.block for step in steps() if step.block.startswith("def extrapolated("))
    monkeypatch.setattr(solve, "extrapolated", None, raising=False)
    exec(block, vars(solve))
    yield vars(solve)["extrapolated"]


def test_the_law_of_the_new_method(extrapolated: Any) -> None:
    """It is `dpmpp_2m` where the steps of lam are equal, as the guide says."""

    def gaussian(x: torch.Tensor, p: Level) -> Denoised:
        return Denoised(x * (p.alpha * 0.25 / (p.alpha**2 * 0.25 + p.sigma**2)))

    levels = grid(DiscreteVP(betas("scaled_linear")), 20, "lu")
    x = levels[0].sigma * Noise(range(2), (50,), dtype=torch.float64)(START)
    ends = []
    for solver in (extrapolated, solve.multistep):
        states = list(solver(gaussian, x, levels))
        *_, again = solver(gaussian, states[7], levels)
        assert torch.equal(again.x, states[-1].x)
        ends.append(states[-1].x)
    torch.testing.assert_close(*ends)
