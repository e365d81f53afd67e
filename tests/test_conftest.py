"""How the run of the tests itself behaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import os, signal, subprocess
from contextlib import suppress
from pathlib import Path
from difftool.signals import Terminated, sigterm_raises

def test_a_command_in_this_process_that_has_started_another():
    with suppress(Terminated), sigterm_raises(), open("alive", "w") as alive:
        subprocess.Popen(["sleep", "600"], pass_fds=[alive.fileno()])
        print(os.environ.get("OMP_NUM_THREADS"), file=alive, flush=True)
        signal.pause()

def test_that_is_not_begun():
    Path("begun").touch()
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_sigterm_ends_the_run_and_all_that_it_started(tmp_path: Path, workers: int) -> None:
    if workers:
        pytest.importorskip("xdist")
    shutil.copy(Path(__file__).parent / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(TESTS)
    os.mkfifo(tmp_path / "alive")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "OMP"))}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *(["-n", str(workers)] if workers else [])]
    run = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL)
    with (tmp_path / "alive").open() as alive:
        assert alive.readline() == ("1\n" if workers else "None\n")
        run.send_signal(signal.SIGTERM)
        assert alive.read() == ""  # ends when nobody is left who could write
    assert run.wait() == pytest.ExitCode.INTERRUPTED
    assert not (tmp_path / "begun").exists()
