"""How good the digits of a model are, over three seeds of 500 pictures each. Without a folder it is the model in the
package.

    python bench/digits.py [RUN]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from statistics import mean

import difftool
from difftool.train.data.pictures import digits
from difftool.train.quality import measure

COUNT, SEEDS = 500, (0, 10_000, 20_000)


def main() -> None:
    found = []
    for seed in SEEDS:
        found.append(measure(difftool.sample(*sys.argv[1:2], count=COUNT, seed=seed), digits()))
        print(row(f"seed {seed}", found[-1]), flush=True)
    print(row("mean", {name: mean(one[name] for one in found) for name in found[0]}))


def row(name: str, figures: Mapping[str, float]) -> str:
    line = "C2ST {c2st:.3f}  FD {fd:5.1f}  nearest {nearest:.3f}  recognised {legible:.1%}  exploded {exploded:g}"
    return f"{name:12} {line.format(**figures)}"


if __name__ == "__main__":
    main()
