"""Makes the voice in the package: `python recipes/mini/make.py FOLDER [STAGE...]`.

All stages run in their order, or those that are named. A stage that is finished is skipped, but for assets; to repeat
one, delete FOLDER/done/STAGE. A stage that runs out of its budget ends the command with 75: repeat it to go on.

The first stages need pip, npm and the network. Everything but the assets is kept in FOLDER, some 5 GB.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from plan import STAGES

from difftool.errors import DifftoolError, Exit
from difftool.files import lock
from difftool.signals import sigterm_raises

LAST = "assets"
"""The stage that is never skipped, as its results are not in FOLDER."""


def main(words: Sequence[str] | None = None) -> int:
    folder, stages, minutes = arguments(words)
    with sigterm_raises() as stop:  # so that a process of the teacher ends too
        try:
            (folder / "done").mkdir(parents=True, exist_ok=True)
            with lock(folder):
                for name in stages:
                    run(name, folder, minutes[name])
        except DifftoolError as error:
            return ended(error.code, error.message, error.hint)
        except OSError as error:
            return ended(Exit.FILE, str(error), "check the path, its permissions and the free space, and repeat")
        except KeyboardInterrupt:
            return ended(stop.code or Exit.INTERRUPTED, "stopped", "repeat the command to go on")
    return Exit.DONE


def ended(code: Exit, message: str, hint: str) -> int:
    """Says why the chain ended. Returns the exit code."""
    print(f"error: {message}\nhint: {hint}", file=sys.stderr)
    return code


def run(name: str, folder: Path, minutes: float) -> None:
    """Runs a stage, unless it is finished. Raises DifftoolError, with 75 after so many minutes."""
    mark = folder / "done" / name
    if mark.exists() and name != LAST:
        print(f"{name}: finished before", flush=True)
        return
    print(f"{name}: at most {minutes:g} minutes", flush=True)
    module, function = STAGES[name].function.split(":")
    try:
        getattr(importlib.import_module(module), function)(folder, time.monotonic() + 60 * minutes)
    except DifftoolError as error:
        more = f", or give it more time with --minutes {name}=N" if error.code == Exit.LATER else ""
        raise DifftoolError(error.code, f"{name}: {error.message}", error.hint + more) from error
    mark.touch()


def arguments(words: Sequence[str] | None) -> tuple[Path, list[str], dict[str, float]]:
    """The folder, the stages to run in their order, and the budgets of all stages in minutes."""
    lines = [f"  {name:12} {stage.minutes:4g} min  {stage.does}" for name, stage in STAGES.items()]
    parser = argparse.ArgumentParser(
        description="Makes the voice in the package.",
        epilog="\n".join(["stages and their budgets:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="where everything is kept")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="stages to run; by default all")
    parser.add_argument(
        "--minutes", action="append", default=[], metavar="STAGE=N", help="another budget for a stage; may be repeated"
    )
    given = parser.parse_args(words)
    minutes = {name: stage.minutes for name, stage in STAGES.items()}
    for pair in given.minutes:
        name, _, number = pair.partition("=")
        try:
            minutes[name] = float(number)
        except ValueError:
            parser.error(f"--minutes {pair}: expected STAGE=N")
    if unknown := [name for name in (*given.stages, *minutes) if name not in STAGES]:
        parser.error(f"unknown stage {unknown[0]}; the stages are {', '.join(STAGES)}")
    return given.folder.resolve(), [name for name in STAGES if name in (given.stages or STAGES)], minutes


if __name__ == "__main__":
    sys.exit(main())
