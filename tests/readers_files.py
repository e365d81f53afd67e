"""The files that the pages expect a reader to have: pictures, recordings, texts, runs, and models in the store. All are
small; the networks have random weights."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

GOLDEN = Path(__file__).parent / "golden"
STORE = "home/.local/share/difftool/models"
CONSENT = {"schema": "difftool/voice/1", "consent": {"kind": "self", "date": "2026-11-26"}}


def provide(folder: Path, text: str) -> None:
    """Makes in `folder` what a text names, apart from models and runs. The reader's home is `folder`/home."""
    for name in ("cats", "home/pictures", "home/others"):
        if name.removeprefix("home/") in text:
            _pictures(folder / name)
    for name in ("sketch.png", "sky.png"):
        Image.new("RGB", (32, 32), "white").save(folder / name)
    (folder / "list.txt").write_text("a red circle on a blue ground\na green star on a yellow ground\n")
    (folder / "book.txt").write_text("It is late.\n\nNobody is at home.\n")
    (folder / "anna.pdf").write_bytes(b"%PDF-1.4 an agreement")
    (folder / "docs").mkdir()
    (folder / "docs" / "shapes.txt").write_text("a red circle on a blue ground\n")
    (folder / "voices").mkdir()  # as in a checkout
    for name, mention in (("anna", "anna"), ("lj", "consent lj"), ("me", "1.wav 2.wav")):
        if mention in text:
            _voice(folder / "voices" / name)
    _recordings(folder, text)


def _voice(folder: Path) -> None:
    import soundfile

    folder.mkdir()
    for k in range(3):
        sound = 0.1 * np.random.default_rng(k).standard_normal(132_300)
        soundfile.write(folder / f"{k}.wav", sound, 22_050)
    (folder / "voice.json").write_text(json.dumps({**CONSENT, "name": folder.name}))


def _pictures(folder: Path) -> None:
    random = np.random.default_rng(0)
    for k in range(24):
        kind = ("cat", "dog")[k % 2]
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / kind / f"{k}.png")


def _recordings(folder: Path, text: str) -> None:
    for name in ("talk.ogg", "talk.mp3", "talk.mp4", "take.wav", "recordings/monday.flac", "drop/monday.flac"):
        if re.search(rf"\b{name.split('/')[0]}\b", text):
            (folder / name).parent.mkdir(exist_ok=True)
            _converted(GOLDEN / "speech.ogg", folder / name)
    lines = []
    for k, segment in enumerate(json.loads((GOLDEN / "speech.json").read_text())["segments"]):
        start, end = (_time(segment["words"][n][key]) for n, key in ((0, "start"), (-1, "end")))
        lines.append(f"{k + 1}\n{start} --> {end}\n{segment['text'].strip()}\n")
    (folder / "talk.srt").write_text("\n".join(lines))


def _time(seconds: float) -> str:
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02},{whole % 1000:03}"


def _converted(sound: Path, to: Path) -> None:
    from difftool.audio.files import ffmpeg

    if to.suffix == sound.suffix:
        shutil.copy(sound, to)
    else:
        subprocess.run([ffmpeg(), "-loglevel", "error", "-i", sound, to], check=True)


def provide_models(store: Path, tortoise: Path, pipelines: dict[str, Path]) -> None:
    """Fills the store with tiny networks under the names of real ones."""
    from tiny_whisper import save

    store.mkdir(parents=True)
    shutil.copytree(tortoise, store / "tortoise")
    for name, pipeline in pipelines.items():
        shutil.copytree(pipeline, store / name)
    save(store / "whisper-base" / "base.pt")
    for path in [path for path in store.rglob("*") if path.is_file()]:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n")
