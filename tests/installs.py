"""`make test-install`: the wheel as users get it, in a clean environment for each Python and each build of PyTorch.

No part of pytest's run: an environment takes 6 GB and some minutes. They are made below TMPDIR, one after another, and
removed. A Python or a build that cannot be had here is skipped, and the table says so.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
TORCH = re.findall(r"^(torch(?:audio)?==\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
BUILDS = {"registry": [], "cpu": [f"{one}+cpu" for one in TORCH]}
"""What pip is told beside the wheel. On Linux the registry has PyTorch for CUDA."""
EVERY_MODULE = """
import importlib, pkgutil, sys, torchaudio, difftool
for module in pkgutil.walk_packages(difftool.__path__, "difftool."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
assert difftool.__file__.startswith(sys.prefix), difftool.__file__
"""
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "imports": (["python", "-c", EVERY_MODULE], []),
    "--help": (["difftool", "--help"], []),
    "--version": (["difftool", "--version"], []),
    "sample": (
        ["difftool", "sample", "--count", "4", "--output-dir", "digits"],
        ["digits/grid.png", *(f"digits/{k:05d}-{k}.png" for k in range(4))],
    ),
    "txt2img": (["difftool", "txt2img", "a red circle on a blue ground", "-o", "circle.png"], ["circle.png"]),
    "lab check": (["difftool", "lab", "check", "--json"], []),
}
"""What is run in each environment, and the files that must be there afterwards."""


class Skipped(Exception):
    """This cell of the table cannot be had here."""


def run(line: Sequence[str | Path], **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, line)], capture_output=True, text=True, timeout=3600, check=False, **more)  # type: ignore[call-overload]


def python(version: str) -> Path:
    """An interpreter of this version that can make environments: of PATH, or one that pyenv keeps."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    folders = [Path(one) for one in os.environ.get("PATH", "").split(os.pathsep) if one]
    for folder in [*folders, *sorted(kept.glob(f"{version}.*/bin"), reverse=True)]:
        found = folder / f"python{version}"
        if found.exists() and not run([found, "-c", "import ensurepip, venv"]).returncode:
            return found
    raise Skipped(f"no Python {version} that can make environments was found")


def wheel(folder: Path) -> Path:
    """The wheel, built from the source distribution, which is built from this checkout."""
    run([sys.executable, "-m", "venv", folder / "env"]).check_returncode()
    interpreter = folder / "env/bin/python"
    for line in (["pip", "install", "--quiet", "build"], ["build", "--outdir", folder, ROOT]):
        done = run([interpreter, "-m", *line])
        if done.returncode:
            raise SystemExit(f"error: {done.stderr or done.stdout}")
    (built,) = folder.glob("*.whl")
    here = {str(file.relative_to(ROOT / "src")) for file in (ROOT / "src/difftool").rglob("*") if file.is_file()}
    inside = set(zipfile.ZipFile(built).namelist())
    about = {name for name in inside if name.split("/")[0].endswith(".dist-info")}
    wrong = {name for name in here ^ (inside - about) if "__pycache__" not in name}
    missing = {name for name in ("LICENSE", "NOTICE") if not any(one.endswith(f"/{name}") for one in about)}
    if wrong or missing:
        raise SystemExit(f"error: in the wheel or in src/difftool only, or no licence: {sorted(wrong | missing)}")
    return built


def install(env: Path, interpreter: Path, built: Path, build: str) -> None:
    run([interpreter, "-m", "venv", env]).check_returncode()
    pip = [env / "bin/python", "-m", "pip", "install", "--quiet"]
    around = {**os.environ, "TMPDIR": str(env.parent)}  # what pip leaves where it is killed is removed with the rest
    if build == "cpu":
        asked = run([*pip, "--dry-run", "--no-deps", "--retries", "1", *BUILDS[build]], env=around)
        if asked.returncode:
            raise Skipped(
                f"pip finds no {'+cpu, no '.join(TORCH)}+cpu; PIP_EXTRA_INDEX_URL says where else it may look"
            )
    done = run([*pip, "-c", ROOT / "constraints.txt", *BUILDS[build], built], env=around)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())


def results(env: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """What each command came to: "ok", or what was wrong. They run in `folder`, with an empty home."""
    home = folder / "home"
    home.mkdir()
    around = {"HOME": str(home), "PATH": f"{env / 'bin'}:/usr/bin:/bin", "LANG": "C.UTF-8"}
    for name, ((program, *rest), files) in COMMANDS.items():
        done = run([env / "bin" / program, *rest], cwd=folder, env=around)
        if done.returncode:
            yield name, f"ended with {done.returncode}: {done.stderr.strip()[-2000:]}"
            continue
        lacking = [file for file in files if not (folder / file).exists()]
        yield name, f"made no {', '.join(lacking)}" if lacking else "ok"
        if name == "lab check":
            machine = json.loads(done.stdout)["data"]["machine"]
            yield "torch", machine["torch"]
            yield "torchaudio", machine["torchaudio"]


def cell(version: str, build: str, built: Path) -> list[str]:
    """A line of the table, for a Python and a build; what went wrong is told on stderr."""
    title = [version, build]
    print(f"Python {version}, {build}: this takes some minutes", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="difftool-install-") as place:
        env, folder = Path(place) / "env", Path(place) / "empty"
        folder.mkdir()
        try:
            interpreter = python(version)
            install(env, interpreter, built, build)
        except Skipped as why:
            print(f"Python {version}, {build}: skipped: {why}", file=sys.stderr, flush=True)
            return [*title, "skipped"]
        except RuntimeError as why:
            print(f"Python {version}, {build}: cannot be installed: {why}", file=sys.stderr, flush=True)
            return [*title, "failed"]
        said = dict(results(env, folder))
    for name in COMMANDS:
        if said[name] != "ok":
            print(f"Python {version}, {build}: {name} {said[name]}", file=sys.stderr, flush=True)
    words = ["ok" if said[name] == "ok" else "failed" for name in COMMANDS]
    return [*title, said.get("torch", ""), said.get("torchaudio", ""), *words]


def main(versions: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # not without removing what was made
    with tempfile.TemporaryDirectory(prefix="difftool-install-") as place:
        built = wheel(Path(place))
        rows = [cell(version, build, built) for version in versions or PYTHONS for build in BUILDS]
    head = ["Python", "build", "torch", "torchaudio", *COMMANDS]
    for row in [head, *rows]:
        print("  ".join(f"{word:12}" for word in row).rstrip())
    return 0 if any("ok" in row for row in rows) and not any("failed" in row for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
