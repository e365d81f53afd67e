"""Packs what bench/gpu.py needs and a GPU machine without a network lacks, as wheels in a folder.

    python bench/pack.py wheels          # the checkout and the folder together are at most 64 MiB
    python bench/pack.py wheels --here   # installs them on the other side; prints what to set

Such a machine is taken to have Python 3.12 on x86-64 Linux with torch, torchaudio, transformers, peft, accelerate,
scikit-learn, numba, tiktoken and rich. Of difftool itself the code in the checkout runs; its wheel tells its version.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST = 64 * 2**20
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64", "manylinux_2_17_x86_64", "any")
WHEELS = (
    *("diffusers", "soundfile", "silero-vad", "pydub", "pyloudnorm", "platformdirs", "pysubs2", "rapidfuzz", "inflect"),
    *("unidecode", "ffmpeg-python", "typer", "more-itertools", "typeguard", "cffi", "pycparser", "importlib-metadata"),
)
"""imageio-ffmpeg is not among them: it is 68 MB, and the bench needs no ffmpeg."""
SOURCES = ("openai-whisper", "future", "jaraco.functools")
"""What may come as source, and is pure Python."""
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]


def pack(folder: Path) -> int:
    """Fills the folder; bytes of it and the checkout."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()  # two versions of one package stop the install
    pins = ["--no-deps", "-c", ROOT / "constraints.txt"]
    target = ["--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp"]
    target += [word for name in PLATFORMS for word in ("--platform", name)]
    subprocess.run([*PIP, "download", *pins, *target, "-d", folder, *WHEELS], check=True)
    subprocess.run([*PIP, "wheel", *pins, "-w", folder, *SOURCES, ROOT], check=True)
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = [*folder.glob("*.whl"), *(ROOT / name for name in tracked.split("\0") if name)]
    return sum(path.stat().st_size for path in files if path.is_file())


def install(folder: Path) -> Path:
    """Installs what was packed, beside it, without a network."""
    site = folder / "site"
    options = ["--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--upgrade"]
    subprocess.run([*PIP, "install", *options, "--target", site, *sorted(folder.glob("*.whl"))], check=True)
    return site


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[2:] not in ([], ["--here"]):
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    if sys.argv[2:]:
        print(f"PYTHONPATH={ROOT / 'src'}:{install(folder).absolute()} python3 bench/gpu.py")
        return
    size = pack(folder)
    print(f"{len([*folder.glob('*.whl')])} wheels in {folder}; with the checkout {size / 2**20:.1f} MiB")
    if size > MOST:
        sys.exit(f"error: that is more than {MOST / 2**20:.0f} MiB\nhint: leave a package out of WHEELS")


if __name__ == "__main__":
    main()
