"""Where the files of a run lie: their names, what may be there already, and what is overwritten."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from .errors import DifftoolError, Exit
from .files import default_dir, unused


@dataclass(frozen=True)
class Destination:
    """Where a run was told to put its files."""

    command: str
    run_id: str
    output: Path | None = None
    """The file of the result, beside which the other files lie."""
    folder: Path | None = None
    """Of all files, where there is no `output`; a folder of this run's own by default."""
    overwrite: bool = False
    skip_existing: bool = False
    """Whether results that are there stay, and only the others are made."""
    standing: bool = False
    """Whether `folder` is that of every run, and was not said for this one."""

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
        """A file of the run: NAME in its folder, or STEM-NAME beside the result."""
        return self.home / (name if self.output is None else f"{self.output.stem}-{name}")

    def freed(self, paths: Iterable[Path]) -> Destination:
        """Itself; where its folder is that of every run and one of the paths in it is taken, a folder of this run in
        that one."""
        if not self.standing or self.output is not None or self.overwrite or self.keeps:
            return self
        if not any(os.path.lexists(path) for path in paths):
            return self
        return replace(self, folder=self.home / self.run_id, standing=False)

    def claim(self, paths: Sequence[Path]) -> None:
        """Raises DifftoolError 4 where a file is there that may not be overwritten."""
        ordered = sorted(paths, key=lambda path: path != self.output)  # what was named is complained of first
        unused((path for path in ordered if not (self.keeps and path.is_file())), overwrite=self.overwrite)


class Places(NamedTuple):
    """The files of a run that draws."""

    singles: list[Path]
    grid: Path | None
    way: list[Path]
    """A strip and an animation of the way there, or nothing."""

    @property
    def all(self) -> list[Path]:
        return [*self.way, *self.singles, *([self.grid] if self.grid else [])]


def pictures(to: Destination, items: Sequence[tuple[int, int]], *, trajectory: bool = False) -> Places:
    """The files for pictures of these (index, seed), and with `trajectory` those of the way there. Raises DifftoolError
    2 for a file that is no PNG, 4 for one that is there and is neither kept nor overwritten."""
    refuse_other(to.output, "pictures are written as PNG", (".png",))
    places = _pictures(to, items, trajectory)
    free = to.freed(places.all)
    if free is not to:
        places = _pictures(free, items, trajectory)
    free.claim(places.all)
    return places


def _pictures(to: Destination, items: Sequence[tuple[int, int]], trajectory: bool) -> Places:
    singles = [to.beside(name) for name in names(items, ".png")]
    way = [to.beside(f"trajectory.{kind}") for kind in ("png", "gif")] if trajectory else []
    if len(items) > 1:
        return Places(singles, to.output or to.home / "grid.png", way)
    return Places([to.output] if to.output else singles, None, way)


def figure(to: Destination, name: str) -> Path:
    """The one file of a run. Raises what `pictures` raises."""
    refuse_other(to.output, "pictures are written as PNG", (".png",))
    path = to.output or to.home / name
    free = to.freed([path])
    path = path if free is to else free.home / name
    free.claim([path])
    return path


def sounds(
    to: Destination, items: Sequence[tuple[int, int]], suffix: str = ".wav", suffixes: Sequence[str] = (".wav",)
) -> list[Path]:
    """The files for sounds of these (index, seed), the best first: the first is the result. They end in `suffix`, or as
    the result does. They are not claimed yet: a long reading goes on with its own. Raises DifftoolError 2 for a result
    that ends in none of the `suffixes`."""
    refuse_other(to.output, f"speech is written as {', '.join(suffixes)}", suffixes)
    if to.output is not None:
        return [to.output, *(to.beside(name) for name in names(items[1:], to.output.suffix))]
    paths = [to.beside(name) for name in names(items, suffix)]
    free = to.freed(paths)
    return paths if free is to else [free.beside(path.name) for path in paths]


def names(items: Iterable[tuple[int, int]], suffix: str) -> list[str]:
    """What the files of these (index, seed) are called."""
    return [f"{index:05d}-{seed}{suffix}" for index, seed in items]


def refuse_other(output: Path | None, rule: str, suffixes: Sequence[str]) -> None:
    """Raises DifftoolError 2, and says the rule, for a result whose name ends otherwise."""
    if output is None or output.is_dir() or output.suffix.lower() in suffixes:
        return
    hint = f"try -o {shlex.quote(str(output.with_suffix(suffixes[0])))}"
    raise DifftoolError(Exit.USAGE, f"{rule}, and {output} ends otherwise", hint)
