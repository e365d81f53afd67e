from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import hypothesis
import psutil
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores: one thread for each, and for what its tests start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("NUMBA_NUM_THREADS", os.environ["OMP_NUM_THREADS"])  # of Whisper, which sets it for all

hypothesis.settings.register_profile("difftool", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("difftool")

GOLDEN = Path(__file__).parent / "golden"
_signals, _signalled = os.pipe()


def pytest_configure() -> None:
    """SIGTERM ends the run as Ctrl-C does; and Ctrl-C ends what tests start, also where a shell that keeps the run in
    the background has it ignored."""
    os.set_blocking(_signals, False)
    os.set_blocking(_signalled, False)
    signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(*_: object) -> None:
    """Ends the run, and the workers and commands that it started."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    raise KeyboardInterrupt("SIGTERM")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """A command that a test runs in this process takes SIGTERM for its own: the run ends after that test. Python writes
    the number of each signal to the pipe, whoever handles it."""
    signal.set_wakeup_fd(_signalled, warn_on_full_buffer=False)
    done = yield
    with suppress(BlockingIOError):
        if signal.SIGTERM in os.read(_signals, 4096):
            _end()
    return done


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """Reference results of diffusers, k-diffusion and others; `meta` in the file says how they were made."""
    return json.loads((GOLDEN / "samplers.json").read_text())


@pytest.fixture(scope="session", autouse=True)
def cached_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test leaves anything in the cache of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of decoded pictures and sounds for one test."""
    from difftool.train.data import pictures

    place = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(pictures, "cache", lambda: place)
    return place


@pytest.fixture
def small_previews(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training in this process draws few pictures on the way, in few steps."""
    from difftool.learning import driver
    from difftool.train import run

    monkeypatch.setattr(run, "PREVIEW_PICTURES", 4)
    monkeypatch.setattr(run, "RAW_PICTURES", 2)
    monkeypatch.setattr(run, "DRAWING_STEPS", 2)
    monkeypatch.setattr(driver, "PREVIEWS", 2)


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny pipeline by its kind, made once."""
    from tiny_pipelines import make

    root, made = tmp_path_factory.mktemp("pipelines"), {}

    def of(kind: str) -> Path:
        if kind not in made:
            made[kind] = make(kind, root)
        return made[kind]

    return of


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


@pytest.fixture
def difftool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ended]]:
    """Runs a command line in this process, in an empty folder and with an empty home."""
    from difftool.cli.app import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def run(*args: object) -> Ended:
        capfd.readouterr()
        code = main([str(arg) for arg in args])
        return Ended(code, *capfd.readouterr())

    with patch.dict(os.environ):  # which a command may change
        yield run


@pytest.fixture
def refused(difftool: Callable[..., Ended], tmp_path: Path) -> Callable[..., Ended]:
    """Runs a command line that must fail: checks the exit code, the two lines, and that no file was made or changed."""

    def files() -> dict[str, bytes]:
        # pictures that were decoded stay in the cache, whatever came after
        kept = (path for path in tmp_path.rglob("*") if path.is_file() and ".cache" not in path.parts)
        return {str(path): path.read_bytes() for path in kept}

    def run(code: int, *args: object, says: str = "") -> Ended:
        before = files()
        ended = difftool(*args)
        lines = [line for line in ended.err.splitlines() if line.startswith(("error: ", "hint: "))]
        assert ended.code == code, ended
        assert [line.split(":")[0] for line in lines] == ["error", "hint"], ended.err
        assert "Traceback" not in ended.err
        assert says in lines[0] + lines[1], ended.err
        if "--json" in args:
            told = ended.json
            assert told["ok"] is False
            assert told["error"]["code"] == code
            assert told["data"] is None
        else:
            assert ended.out == ""
        assert files() == before
        return ended

    return run


def tiny_config(channels: int = 1, classes: tuple[str, ...] = ("a", "b"), target: str = "v") -> dict[str, Any]:
    """The config of a small model of 6x10 pictures (height 6)."""
    flow = {"type": "flow", "shift": 1.0, "clock": 1000}
    return {
        "net": {"type": "unet", "channels": channels, "width": 8, "mults": [1, 2], "classes": len(classes)},
        "path": flow if target == "flow" else {"type": "discrete_vp", "betas": "cosine", "T": 1000},
        "target": target,
        "size": [6, 10],
        "classes": list(classes),
    }


@pytest.fixture
def tiny_model(tmp_path: Path) -> Callable[..., Path]:
    """Makes folders of small models with random weights."""
    import torch

    from difftool.models import build_net, save_model

    def make(name: str = "tiny", **settings: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        config = tiny_config(**settings)
        torch.manual_seed(0)
        net = build_net(config["net"])
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        save_model(folder, config, net.state_dict())
        return folder

    return make


@pytest.fixture(scope="session")
def tortoise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny networks with random weights, called as the official files of Tortoise; to be left as it is."""
    from tiny_tortoise import official

    return official(tmp_path_factory.mktemp("tortoise"))


@pytest.fixture(scope="session")
def f5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with tiny networks of F5-TTS, with random weights; to be left as it is."""
    from tiny_f5 import official

    return official(tmp_path_factory.mktemp("f5"))


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    """A folder of voices: me with three reference clips and a consent, plain without one."""
    import numpy as np
    import soundfile

    folder = tmp_path / "voices"
    for name, place in (("me", "refs/tortoise"), ("plain", ".")):
        own = folder / name / place
        own.mkdir(parents=True)
        for k in range(3):
            sound = np.random.default_rng(k + len(name)).standard_normal(132_300).astype(np.float32) * 0.1
            soundfile.write(own / f"{k}.wav", sound, 22_050, subtype="FLOAT")
    note = {"schema": "difftool/voice/1", "name": "me", "consent": {"kind": "self", "date": "2026-11-26"}}
    (folder / "me" / "voice.json").write_text(json.dumps(note))
    return folder


ENGINES = ("tortoise", "beep", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mini", "f5")))
"""Of which the second is tests/voice/engines/beep.py: what knows no engine serves all. With those marked, the
normal run has only the tests of EVERY_ENGINE."""
ANY_ENGINE = pytest.mark.parametrize("engine", ENGINES, indirect=True)
EVERY_ENGINE = pytest.mark.parametrize("engine", [getattr(row, "values", [row])[0] for row in ENGINES], indirect=True)


@pytest.fixture
def spoken_words(voices: Path) -> None:
    """The clips for F5-TTS: short ones, with their words."""
    import soundfile

    for clip in voices.rglob("*.wav"):
        samples, rate = soundfile.read(clip)
        soundfile.write(clip, samples[: 2 * rate], rate, subtype="FLOAT")
        clip.with_suffix(".txt").write_text("This is what was said.")


@pytest.fixture
def beep(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that beeps, in the table of engines of this process and of those that `dies` starts."""
    import difftool.voice.settings
    import difftool.voice.tuning.settings  # noqa: F401 (help that names the engines is written at import)
    from difftool.voice.engines import ENGINES

    folder = Path(__file__).parent / "voice" / "engines"
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(ENGINES, "beep", "beep")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(":"))
    monkeypatch.setenv("DYING_IMPORTS", "with_beep")


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """Tortoise, or the engine with which a test is parametrised."""
    name = getattr(request, "param", "tortoise")
    if name == "beep":
        request.getfixturevalue("beep")
    if name == "f5":
        request.getfixturevalue("spoken_words")
    return name
