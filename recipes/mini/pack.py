"""Joins the teacher's utterances into arrays to train on: `pack.py UTTERANCES OUT`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

HALF = 300
"""Samples of a value of the pitch."""


def main() -> None:
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    columns: dict[str, list[np.ndarray]] = {"tokens": [], "durations": [], "pitch": []}
    lengths: dict[str, list[int]] = {"tokens": [], "frames": []}
    speakers, numbers = [], []
    with (out / "sounds.tmp").open("wb") as sounds:
        for path in sorted(source.glob("*.npz")):
            with np.load(path) as row:
                assert len(row["sound"]) == HALF * len(row["pitch"])
                sounds.write(row["sound"].tobytes())
                for name, parts in columns.items():
                    parts.append(row[name])
                lengths["tokens"].append(len(row["tokens"]))
                lengths["frames"].append(len(row["pitch"]))
                speakers.append(int(row["speaker"]))
                numbers.append(int(path.stem))
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    counts = {f"{name}_per_row": np.array(values) for name, values in lengths.items()}
    np.savez(out / "rows.tmp.npz", **joined, **counts, speakers=np.array(speakers), numbers=np.array(numbers))
    (out / "rows.tmp.npz").replace(out / "rows.npz")
    (out / "sounds.tmp").replace(out / "sounds.i16")
    print(f"{len(speakers)} utterances, {sum(lengths['frames']) * HALF / 24000 / 3600:.2f} h")


if __name__ == "__main__":
    main()
