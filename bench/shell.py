"""How fast the shell answers: help, help of a command, and a typing error, with the commands there are and with 20
made up ones of 30 options each; and 16 pictures from the model in the package.

    python bench/shell.py

Medians of fresh processes, beside what an empty Python needs in the same rounds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 15
OPTIONS = ", ".join(f"o{i}: Annotated[int | None, typer.Option(help='Option {i}.')] = None" for i in range(30))
MANY = f"""
import sys
from typing import Annotated
import typer
from difftool.cli.console import Result

def command(console, {OPTIONS}):
    return Result({{}}, [], [])

if __name__ == "__main__":
    from difftool.cli.app import main
    sys.exit(main(table={{f"c{{i}}": ("many:command", f"Command {{i}}.") for i in range(20)}}))
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        many = Path(folder) / "many.py"
        many.write_text(MANY)
        ours, made_up = [sys.executable, "-m", "difftool"], [sys.executable, str(many)]
        lines = {
            "an empty Python": [sys.executable, "-c", "pass"],
            "difftool --help": [*ours, "--help"],
            "difftool sample --help": [*ours, "sample", "--help"],
            "difftool sample --stpes 3": [*ours, "sample", "--stpes", "3"],
            "difftool lab check": [*ours, "lab", "check"],
            "20 x 30: --help": [*made_up, "--help"],
            "20 x 30: CMD --help": [*made_up, "c7", "--help"],
            "20 x 30: a typing error": [*made_up, "c7", "--o31"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in lines}
        for name in [*lines] * ROUNDS:
            seconds[name].append(took(lines[name], folder))
        drawn = [*ours, "sample", "--count", "16", "--overwrite", "--output-dir", folder]
        seconds["difftool sample --count 16"] = [took(drawn, folder) for _ in range(3)]
    for name, found in seconds.items():
        print(f"{name:28} {statistics.median(found):6.3f} s")


def took(command: list[str], folder: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True, env={**os.environ, "PYTHONPATH": folder})
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
