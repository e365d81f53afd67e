"""The acceptance kit, with tiny models."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_tortoise
import tiny_whisper
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import acceptance  # noqa: E402

TORTOISE = find_spec("tortoise") is not None


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of tiny models."""
    from tiny_pipelines import make

    root = tmp_path_factory.mktemp("models")
    make("sd", root).rename(root / "sd15")
    tiny_tortoise.official(root / "tortoise")
    tiny_whisper.save(root / "whisper-base" / "base.pt")
    return root


def options(models: Path, out: Path, **more: Any) -> acceptance.Options:
    return acceptance.Options(models, False, out, "cpu", 1e9, "draft")._replace(**more)


def test_all_of_it(models: Path, tmp_path: Path, difftool: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: what tiny models draw and say passes, but for words, of which nobody understands any."""
    monkeypatch.setattr(acceptance, "difftool", lambda *words: difftool(*words, "--json").json["data"])
    monkeypatch.setattr(acceptance, "SEEDS", (0,))
    monkeypatch.setattr(acceptance, "STEPS", 5)
    ran: list[str] = []

    def run(name: str, o: acceptance.Options) -> list[acceptance.Row]:
        ran.append(name)
        return list(acceptance.STEPS_BY_NAME[name](o))

    names = [name for name in acceptance.STEPS_BY_NAME if name != "tortoise" or not TORTOISE]
    o = options(models, tmp_path / "out")
    assert acceptance.accept(o, names, again=False, run=run)
    result = json.loads((o.out / "acceptance.json").read_text())
    rows = {f"{name}: {one['what']}": one for name, step in result["steps"].items() for one in step["rows"]}
    assert result["ok"] and ran == names
    for sampler in acceptance.SAMPLERS:
        assert 0 < rows[f"diffusers: {sampler}: latents"]["figure"] < 1e-3
        assert rows[f"diffusers: {sampler}: picture"]["bound"] == 1
    assert rows["pictures: drawn again, 255ths that differ"]["figure"] == 0
    assert rows["diffusers: the picture that difftool txt2img drew"]["ok"]
    assert rows["hearing: wrong words"]["figure"] > 0.2
    page = (o.out / "acceptance.html").read_text()
    assert page.count("data:image/png") == len(acceptance.SEEDS) + len(acceptance.SAMPLERS)
    assert page.count("data:audio/wav") == 1 and "Acceptance of difftool: passed" in page

    ran.clear()
    assert acceptance.accept(o, names, again=False, run=run) and not ran
    assert not acceptance.accept(o._replace(words=0.2), ["hearing"], again=False, run=run)
    assert ran == ["hearing"]
    assert "at most 0.2: FAILED" in (o.out / "acceptance.html").read_text()


@pytest.mark.skipif(not TORTOISE, reason="tortoise-tts is not installed: make test-stock")
def test_the_original(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import networks

    sys.path.insert(0, str(ROOT / "tests" / "stock"))
    from original import speaker

    def tiny(folder: Path) -> Any:
        return speaker(tiny_tortoise.talkative, tiny_tortoise.STOCK, kv_cache=True, batch=networks.SAMPLES)

    monkeypatch.setattr(networks, "stock", tiny)
    codes, sound = acceptance.tortoise(options(models, tmp_path))
    assert codes["ok"] and codes["figure"] == 0
    assert sound["ok"] and sound["figure"] < 1e-3


def test_what_does_not_pass(models: Path, tmp_path: Path) -> None:
    """A difference above its bound, a file that is missing, a step that ends with an error."""
    assert acceptance.row("a", 1.0, bound=1)["ok"] and not acceptance.row("a", 1.1, bound=1)["ok"]
    assert not acceptance.row("a", None, bound=1)["ok"]
    for name, change in (("a", 0), ("b", 2)):
        Image.fromarray(np.full((2, 3, 3), 7 + change, np.uint8)).save(tmp_path / f"{name}.png")
    assert acceptance.apart(*(acceptance.pixels(tmp_path / f"{name}.png") for name in "ab")) == 2
    assert acceptance.wrong_words("This, is a test", "this is not a test") == 0.2
    missing = {one["what"]: one["ok"] for one in acceptance.models(options(tmp_path, tmp_path))}
    assert len(missing) == 3 and not any(missing.values())

    def run(name: str, o: acceptance.Options) -> list[acceptance.Row]:
        return [acceptance.row("the process", None, ok=False, error="RuntimeError: <no room>")]

    o = options(models, tmp_path)
    assert not acceptance.accept(o, ["models", "speech"], again=False, run=run)
    assert "RuntimeError: &lt;no room&gt;" in (tmp_path / "acceptance.html").read_text()
    assert [step["ok"] for step in json.loads((tmp_path / "acceptance.json").read_text())["steps"].values()] == [
        False
    ] * 2


@pytest.mark.slow
def test_the_command(models: Path, tmp_path: Path) -> None:
    """Each step a process of its own; the exit code tells."""
    line = [sys.executable, ROOT / "bench" / "acceptance.py", "--models", models, "--no-pull", "--out", tmp_path]
    line += ["--device", "cpu", "--preset", "draft", "--steps", "models,pictures,diffusers,speech,hearing"]
    done = subprocess.run([*line, "--words", "1e9"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    failing = subprocess.run(line, capture_output=True, text=True)
    assert failing.returncode == 1
    (failed,) = [one for one in failing.stdout.splitlines() if one.startswith("FAILED")]
    assert "wrong words" in failed
