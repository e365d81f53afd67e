"""How fast `difftool voice prep` makes a voice from a long recording, without Whisper: stage by stage, and in how much
memory.

    python bench/prep.py [HOURS]

The recording is the spoken text of the tests over and over, each time from another place and with other noise, as MP3.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

SPEECH = Path(__file__).parent.parent / "tests" / "golden" / "speech.ogg"


def main() -> None:
    hours = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with tempfile.TemporaryDirectory() as folder:
        path, rng = Path(folder) / "long.mp3", np.random.default_rng(0)
        sound, rate = soundfile.read(SPEECH, dtype="float32")
        with soundfile.SoundFile(path, "w", rate, 1, format="MP3") as file:
            for number in range(-(-int(hours * 3600 * rate) // len(sound))):
                noise = rng.normal(size=len(sound)).astype(np.float32) * 3e-4
                file.write(rng.uniform(0.5, 1) * np.roll(sound, number * 997) + noise)
        command = [sys.executable, "-m", "difftool", "voice", "prep", path, "--voice", "me", "--consent", "synthetic"]
        command += ["--slice", "vad", "--voices-dir", Path(folder) / "voices", "--json"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    told = json.loads(done.stdout)["data"]
    seconds, timing = told["seconds"]["total"], told["timing"]
    print(f"{seconds / 3600:.2f} h of speech, {told['clips']} clips")
    for name, took in timing.items():
        print(f"{name:24} {took:8.1f} s {took / timing['total']:6.0%} {seconds / max(took, 1e-3):8.0f} x")
    print("sounds of the report are made beside cut and measure")
    print(f"memory at most: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
