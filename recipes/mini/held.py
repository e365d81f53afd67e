"""Has the teacher speak what the voice is judged by: `held.py PACKAGES OUT`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import soundfile
from sentences import EACH, FIRST, REFERENCES, SPEAKERS, of_speaker
from speak import HELD
from teacher import RATE, Teacher
from texts import sentence


def main() -> None:
    packages, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    teacher = Teacher(packages)
    texts = {}
    for k in range(SPEAKERS):
        style, _ = teacher.style(HELD + k)
        references = [sentence(FIRST + k * REFERENCES + j, teacher.words) for j in range(REFERENCES)]
        said = [*[(f"{k:02d}-said{j}", text) for j, text in enumerate(of_speaker(k))]]
        heard = [*[(f"{k:02d}-reference{j}", text) for j, text in enumerate(references)]]
        for name, text in said + heard:
            path = out / f"{name}.wav"
            texts[name] = text
            if not path.exists():
                soundfile.write(path, teacher.speak(text, style).sound.clip(-1, 1), RATE, subtype="PCM_16")
    (out / "texts.json").write_text(json.dumps(texts, indent=1))


if __name__ == "__main__":
    main()
