"""What presets really take on a GPU, beside what is counted; and the counted tables, for presets/*.toml.

python bench/vram.py             # the architectures of txt2img with random weights, in halves
python bench/vram.py count       # needs no GPU
"""

from __future__ import annotations

import gc
import sys
from typing import Any

import torch

from difftool.lab import count
from difftool.lab.verdicts import CONTEXT, presets
from difftool.presets import family, needs

ARCHITECTURES = {"shapes": "shapes", "sd": "sd1", "sdxl": "sdxl", "sd3": "sd3", "flux": "flux", "schnell": "schnell"}


def tables() -> None:
    """Prints the counted needs as TOML."""

    def shown(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{name} = {number:_}" for name, number in value.items()) + " }"
        return f"{value:_}"

    found = {f"train {name}": count.training(name) for name in needs("train") if name != "shapes"}
    found |= {f"txt2img {name}": count.painting(kind) for name, kind in ARCHITECTURES.items()}
    found |= {"voice tortoise": count.speaking()}
    found |= {f"whisper {size}": count.transcribing(size) for size in family("whisper")}
    for name, need in found.items():
        print(f"[{name.split()[1]}.needs] # {name.split()[0]}.toml")
        print("\n".join(f"{key} = {shown(value)}" for key, value in need.items()), "\n")


def measured() -> None:
    """Prints what the parts of each architecture that fits take on the first GPU, and what the verdicts reckon with."""
    if not torch.cuda.is_available():
        sys.exit("there is no GPU here")
    total = torch.cuda.get_device_properties(0).total_memory
    reckoned = {one.name: one.ways[0].vram for one in presets() if one.command == "txt2img"}
    for name, kind in ARCHITECTURES.items():
        if reckoned[name] > total:
            print(f"{name}: {reckoned[name] / 2**30:.1f} GiB are reckoned, more than there is", flush=True)
            continue
        with torch.device("cuda"):
            peak = count.worked(kind)
        print(
            f"{name}: reserved {peak / 2**30:.2f} GiB and CUDA's own, reckoned {reckoned[name] / 2**30:.2f} GiB with "
            f"{CONTEXT / 2**30:.2f} of it",
            flush=True,
        )
        gc.collect()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    {"count": tables}.get(*sys.argv[1:2] or [""], measured)()
