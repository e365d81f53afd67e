"""The paths of a run's files, and whether they may be overwritten."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from .errors import DifftoolError, Exit
from .files import default_dir, expanded, run_id, unused
from .settings import exclude_each_other

NEARBY = 25
"""Most single pictures that are written beside a named grid; more have a folder of their own."""


@dataclass(frozen=True)
class Destination:
    """Where a run writes its files."""

    command: str
    run_id: str
    output: Path | None = None
    """The file of the result; the other files go beside it."""
    folder: Path | None = None
    """The folder of all files without `output`; default: a new folder."""
    overwrite: bool = False
    skip_existing: bool = False
    """Whether existing results are kept and only missing ones are made."""
    grid_only: bool = False
    """Whether of several pictures only their grid is written."""
    standing: bool = False
    """Whether `folder` is configured for all runs, not given for this one."""

    @property
    def keeps(self) -> bool:
        return self.skip_existing and not self.overwrite

    @property
    def home(self) -> Path:
        """The folder of the files."""
        if self.output is not None:
            return self.output.parent
        return self.folder or default_dir(self.command, self.run_id)

    def beside(self, name: str) -> Path:
        """The path of a file of the run: NAME in its folder, or STEM-NAME beside the result."""
        return self.home / (name if self.output is None else f"{self.output.stem}-{name}")

    def freed(self, paths: Iterable[Path]) -> Destination:
        """Itself, or a subfolder for this run if the folder is shared by all runs and one of the paths exists."""
        if not self.standing or self.output is not None or self.overwrite or self.keeps:
            return self
        if not any(os.path.lexists(path) for path in paths):
            return self
        return replace(self, folder=self.home / self.run_id, standing=False)

    def claim(self, paths: Sequence[Path]) -> None:
        """Raises DifftoolError 4 if a file exists that may not be overwritten."""
        ordered = sorted(paths, key=lambda path: path != self.output)  # the named file is reported first
        unused((path for path in ordered if not (self.keeps and path.is_file())), overwrite=self.overwrite)


def destination_of(
    command: str, output: str | Path | None, output_dir: str | Path | None, **options: bool
) -> Destination:
    """The destination that a caller from Python names; `options` are fields of `Destination`. Raises DifftoolError 2 if
    both a file and a folder are named."""
    if output is not None and output_dir is not None:
        raise exclude_each_other("--output", "--output-dir")
    file, folder = (None if path is None else expanded(path) for path in (output, output_dir))
    return Destination(command, run_id(), file, folder, **options)


class Places(NamedTuple):
    """The files of a run that generates pictures."""

    singles: list[Path]
    """The file of each picture; [] if only the grid is written."""
    grid: Path | None
    trajectory: list[Path]
    """The strip and the animation of the trajectory, or []."""
    companions: Sequence[Path] = ()
    """Of sounds: the picture and the manifest beside each."""

    @property
    def results(self) -> list[Path]:
        """Those that a run reports."""
        return [*self.trajectory, *self.singles, *([self.grid] if self.grid else [])]

    @property
    def all(self) -> list[Path]:
        return [*self.companions, *self.results]

    @property
    def folders(self) -> list[Path]:
        """The folders of the files."""
        return list(dict.fromkeys(path.parent for path in self.all))

    def files(self, count: int) -> list[Path]:
        """The file of each of `count` pictures: its own, or the grid that shows it."""
        return self.singles or self.all[-1:] * count


def pictures(to: Destination, items: Sequence[tuple[int, int]], *, trajectory: bool = False) -> Places:
    """The files for pictures with these (index, seed), with `trajectory` also a strip and an animation. Raises
    DifftoolError 2 if the output is not a PNG, 4 if a file exists and is neither kept nor overwritten."""
    refuse_other(to.output, "pictures are written as PNG", (".png",))
    places = _pictures(to, items, trajectory)
    free = to.freed(places.all)
    if free is not to:
        places = _pictures(free, items, trajectory)
    free.claim(places.all)
    return places


def _pictures(to: Destination, items: Sequence[tuple[int, int]], trajectory: bool) -> Places:
    steps = _steps(to, trajectory)
    if len(items) > 1:
        return Places([] if to.grid_only else _singles(to, items), to.output or to.home / "grid.png", steps)
    return Places([to.output] if to.output else _singles(to, items), None, steps)


def _steps(to: Destination, trajectory: bool) -> list[Path]:
    return [to.beside(f"trajectory.{kind}") for kind in ("png", "gif")] if trajectory else []


def _singles(to: Destination, items: Sequence[tuple[int, int]]) -> list[Path]:
    """The files of single pictures: many have a folder beside a named grid. A picture that is kept may be in the other
    place, since it was made when the pictures were fewer or more."""
    bare = names(items, ".png")
    beside = [to.beside(name) for name in bare]
    if to.output is None:
        return beside
    inside = [to.beside("singles") / name for name in bare]
    places, others = (inside, beside) if len(items) > NEARBY else (beside, inside)
    if not to.keeps:
        return places
    return [
        other if other.is_file() and not place.is_file() else place for place, other in zip(places, others, strict=True)
    ]


def figure(to: Destination, name: str) -> Path:
    """The only file of a run. Raises what `pictures` raises."""
    refuse_other(to.output, "pictures are written as PNG", (".png",))
    path = to.output or to.home / name
    free = to.freed([path])
    path = path if free is to else free.home / name
    free.claim([path])
    return path


def animation(to: Destination, name: str) -> Places:
    """The files of a strip, NAME.png or the output, and of an animation of that name. Raises what `pictures` raises."""
    refuse_other(to.output, "pictures are written as PNG", (".png",))

    def files(to: Destination) -> list[Path]:
        picture = to.output or to.home / f"{name}.png"
        return [picture, picture.with_suffix(".gif")]

    to = to.freed(files(to))
    to.claim(files(to))
    return Places([], None, files(to))


def sounds(
    to: Destination, items: Sequence[tuple[int, int]], suffix: str = ".wav", suffixes: Sequence[str] = (".wav",)
) -> list[Path]:
    """The files for sounds with these (index, seed), the best first. They have the suffix of the output, or `suffix`.
    They are not claimed: a long text resumes with its own files. Raises DifftoolError 2 if the output has none of the
    `suffixes`."""
    refuse_other(to.output, f"speech is written as {', '.join(suffixes)}", suffixes)
    if to.output is not None:
        return [to.output, *(to.beside(name) for name in names(items[1:], to.output.suffix))]
    paths = [to.beside(name) for name in names(items, suffix)]
    free = to.freed(paths)
    return paths if free is to else [free.beside(path.name) for path in paths]


def sampled_sounds(to: Destination, items: Sequence[tuple[int, int]], *, trajectory: bool = False) -> Places:
    """The files for generated sounds with these (index, seed), a picture and a manifest beside each, and a figure of
    several, which may be all. Raises DifftoolError 2 if the output is not a WAV file, or for a figure a PNG, 4 if a
    file exists that may not be overwritten."""
    if to.grid_only:
        refuse_other(to.output, "figures are written as PNG", (".png",))
    else:
        refuse_other(to.output, "sounds are written as WAV", (".wav",))

    def files(to: Destination) -> Places:
        if to.grid_only:
            return Places([], to.output or to.home / "grid.png", _steps(to, trajectory))
        paths = [to.beside(name) for name in names(items, ".wav")]
        if to.output is not None:
            paths[0] = to.output
        companions = [path.with_suffix(suffix) for path in paths for suffix in (".png", ".json")]
        grid = to.beside("grid.png") if len(items) > 1 else None
        return Places(paths, grid, _steps(to, trajectory), companions)

    to = to.freed(files(to).all)
    to.claim(files(to).all)
    return files(to)


def names(items: Iterable[tuple[int, int]], suffix: str) -> list[str]:
    """The names of the files with these (index, seed)."""
    return [f"{index:05d}-{seed}{suffix}" for index, seed in items]


def refuse_other(output: Path | None, rule: str, suffixes: Sequence[str]) -> None:
    """Raises DifftoolError 2, with `rule` in the message, if the output has none of the suffixes."""
    if output is None or output.is_dir() or output.suffix.lower() in suffixes:
        return
    hint = f"try -o {shlex.quote(str(output.with_suffix(suffixes[0])))}"
    raise DifftoolError(Exit.USAGE, f"{rule}; unsupported file type: {output}", hint)
