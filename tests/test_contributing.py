"""What CONTRIBUTING.md tells a newcomer to do, done."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from difftool.core import SAMPLERS, START, Denoised, DiscreteVP, Level, Noise, Sampler, betas, grid, solve

GUIDE = Path(__file__).parent.parent / "CONTRIBUTING.md"


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Adds the samplers of the guide to the table, as somebody who types them into core/solve.py."""
    section = GUIDE.read_text().split("## How to add a sampler")[1].split("\n## ")[0]
    blocks = [textwrap.dedent(block) for block in re.findall(r"(?:^(?: {4}.*)?\n)+", section, re.MULTILINE)]
    names = []
    for block in filter(str.strip, blocks):
        code = "\n".join(line for line in block.splitlines() if not line.startswith('"'))
        exec(code, vars(solve))
        rows: dict[str, Any] = eval("{" + "".join(set(block.splitlines()) - set(code.splitlines())) + "}", vars(solve))
        for name, row in rows.items():
            assert isinstance(row, Sampler)
            monkeypatch.setitem(SAMPLERS, name, row)
            names.append(name)
    yield names
    vars(solve).pop("extrapolated")


def test_a_row_and_a_function_are_all_it_takes(
    added: list[str], difftool: Callable, tiny_model: Callable[..., Path]
) -> None:
    assert added == ["ddim_half", "extrapolated"]
    folder = tiny_model()
    listed = difftool("sample", "--list-samplers").out
    for name in added:
        assert f"{name:13} {SAMPLERS[name].title}" in listed
        args = ("sample", folder, "--steps", 5, "--count", 2, "--overwrite", "-o", "a.png")
        assert difftool(*args, "--sampler", SAMPLERS[name].title).code == 0
        assert difftool("rerun", "a-00001-1.png", "--json").json["data"]["identical"]
    assert difftool("sample", folder, "--compare", ",".join(added), "--steps", 3, "-o", "b.png").code == 0
    assert difftool("sample", folder, "--sampler", "ddim_half", "--eta", 1, "--dry-run").code == 0


def test_the_law_of_the_new_method(added: list[str]) -> None:
    def gaussian(x: torch.Tensor, p: Level) -> Denoised:
        return Denoised(x * (p.alpha * 0.25 / (p.alpha**2 * 0.25 + p.sigma**2)))

    path = DiscreteVP(betas("scaled_linear"))
    levels = grid(path, 20, "lu")
    x = levels[0].sigma * Noise(range(2), (50,), dtype=torch.float64)(START)
    ends = []
    for name in ("extrapolated", "dpmpp_2m"):
        row = SAMPLERS[name]
        states = list(row.solver(gaussian, x, levels, **row.defaults))
        *_, again = row.solver(gaussian, states[7], levels, **row.defaults)
        assert torch.equal(again.x, states[-1].x)
        ends.append(states[-1].x)
    torch.testing.assert_close(*ends)
