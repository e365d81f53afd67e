"""A picture or a sound made again from the settings it carries, and compared with what it was."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import outputs
from .audio import FORMATS
from .errors import DifftoolError, Exit
from .files import run_id, versions, writable
from .outputs import Destination, Places
from .pixels.settings import Settings as PixelSettings
from .progress import Track, untracked
from .provenance import beside, located, shared
from .settings import checked, from_manifest, manifest_of
from .text2img.settings import Settings as WordSettings

if TYPE_CHECKING:
    from .pictures import Pixels
    from .pixels.plan import Plan as PixelPlan
    from .pixels.write import Written
    from .text2img.batch import Drawn, Planned
    from .voice.output import Written as Speech

SCHEMA = "difftool/manifest/1"
COMMANDS: dict[str, type[PixelSettings | WordSettings]] = {"sample": PixelSettings, "txt2img": WordSettings}
"""The commands whose pictures can be made again, and what their settings are."""


@dataclass(frozen=True)
class Source:
    """A picture, and how it was made."""

    file: Path
    pixels: Pixels
    settings: PixelSettings | WordSettings
    sha256: str
    """Of the model's weights."""
    versions: Mapping[str, str]
    """Of the packages that made it."""
    hashes: Mapping[str, str]
    """Of the files that it was made from, by the names that a manifest gives them."""
    places: Mapping[str, str]
    """Where the files lie that its settings name."""
    index: int | None
    """Of the picture in its run; None for a grid, which shows them all."""

    @property
    def indices(self) -> Sequence[int]:
        """The pictures that are to be made again."""
        return range(self.settings.count or 0) if self.index is None else [self.index]

    @property
    def items(self) -> list[tuple[int, int]]:
        """(index, seed) of these pictures."""
        return [(index, self.settings.seed + index) for index in self.indices]


class Replay(NamedTuple):
    """A run that was planned once more."""

    source: Source
    plan: PixelPlan | Planned
    places: Places
    to: Destination


class Replayed(NamedTuple):
    """What came of it."""

    drawn: Written | Drawn | Speech
    identical: bool
    """Whether every pixel is as it was."""
    then: Mapping[str, str]
    """Versions of packages, and hashes of files, with which the picture was made first."""
    now: Mapping[str, str]
    """The same of now."""
    seconds: Mapping[str, float]
    """That drawing and saving took."""


def rerun(
    file: str | Path,
    output: Path | None = None,
    output_dir: Path | None = None,
    *,
    overwrite: bool = False,
    track: Track = untracked,
) -> Replayed:
    """Makes a picture of `sample` or `txt2img`, or a sound of `voice clone`, again from the settings that it carries,
    into `output` or `output_dir`, and compares the two: on the same machine, with the same model and versions, every
    pixel and sample is the same. A grid makes all its pictures again.

    Raises DifftoolError: 1, 3 and 6 as the command that made it, 4 for a file that carries no settings, or damaged
    ones, for a model that is not there or another one now, and for an output that exists, 2 for an output that is no
    PNG.
    """
    to = Destination("rerun", run_id(), output, output_dir, overwrite=overwrite)
    if Path(file).suffix.lower() in FORMATS:
        return _respoken(Path(file), to, track)
    return redraw(planned(source_of(Path(file)), to), track=track)


def source_of(file: Path) -> Source:
    """A picture and how it was made. Raises DifftoolError 4 where it is none, does not tell, or tells what no command
    writes: a file may come from anywhere."""
    from .pictures.png import read_png

    pixels, _, manifest = read_png(file)
    if manifest is None:
        raise DifftoolError(Exit.FILE, f"{file} carries no settings of difftool", "name a picture that difftool made")
    command = manifest.get("command")
    if manifest.get("schema") != SCHEMA or command not in COMMANDS:
        what = f"{file} was not made by a command that this version can repeat"
        raise DifftoolError(Exit.FILE, what, "see difftool meta FILE")
    asked = manifest.get("settings")
    if isinstance(asked, dict) and "prompts" in asked:
        raise DifftoolError(Exit.FILE, f"{file} shows pictures of several prompts", "name one of them")
    try:
        digest, item = manifest["model"]["sha256"], manifest.get("item")
        index = None if item is None else item["index"]
        with settings_of(file):
            settings = checked(from_manifest(COMMANDS[command], located(manifest, file)))
        versions_fit = all(isinstance(version, str) for version in manifest["versions"].values())
        index_fits = index is None or (type(index) is int and 0 <= index < (settings.count or 0))
        places = dict(zip(_named(asked), _named(manifest_of(settings)), strict=True))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise damaged(file) from error
    if not (versions_fit and index_fits and isinstance(digest, str)):
        raise damaged(file)
    hashes = shared(manifest).get("files", {})
    return Source(file, pixels, settings, digest, manifest["versions"], hashes, places, index)


def _named(settings: Any) -> list[str]:
    """The files that the settings of a manifest name."""
    names = [*(name for name, *_ in settings.get("loras", [])), settings.get("init"), settings.get("mask")]
    return [name for name in names if name is not None]


def planned(source: Source, to: Destination) -> Replay:
    """The run of a picture, planned once more. Raises DifftoolError 2 for an output that is no PNG, 4 for one that
    exists, and where its model is not there or another one now."""
    places = outputs.pictures(to, source.items)
    from .pixels.plan import Plan as PixelPlan

    with settings_of(source.file):
        plan = _plan(source, places)
    model = plan.model if isinstance(plan, PixelPlan) else plan.works[0].plan.studio.pipeline
    if model.sha256 != source.sha256:
        what = f"{model.source} is not the model that made {source.file}: its weights differ"
        raise DifftoolError(Exit.FILE, what, "put that model back")
    return Replay(source, plan, places, to)


def _plan(source: Source, places: Places) -> PixelPlan | Planned:
    """The plan that has the settings of a picture."""
    if isinstance(source.settings, PixelSettings):
        from .pixels.plan import planned

        return planned(source.settings)
    from .text2img.batch import ALONE, Planned, Work
    from .text2img.session import Studio
    from .text2img.session import planned as planned_words

    plan = planned_words(Studio.opened(source.settings), source.settings)
    paths = dict(zip(source.indices, places.singles, strict=True))
    return Planned([Work(ALONE, 0, plan, paths)], places, 0, {})


def redraw(replay: Replay, *, track: Track = untracked) -> Replayed:
    """Draws a picture again, writes it and compares."""
    from .pixels.plan import Plan as PixelPlan

    if isinstance(replay.plan, PixelPlan):
        return _redraw_pixels(replay, replay.plan, track)
    return _redraw_words(replay, replay.plan, track)


def _redraw_pixels(replay: Replay, plan: PixelPlan, track: Track) -> Replayed:
    import numpy as np

    from .pictures.sheets import grid
    from .pixels.draw import columns, draw
    from .pixels.write import write

    source, began = replay.source, time.monotonic()
    with writable(replay.places.singles[0].parent):
        drawn = draw(plan, only=source.indices, track=track, name=replay.to.run_id)
        ended = time.monotonic()
        written = write(drawn, replay.places)
    seconds = {"sample": ended - began, "save": time.monotonic() - ended}
    if source.index is None:  # grids of earlier versions have a column for each class
        sheets = [grid(drawn.pixels, wide) for wide in {columns(drawn), len(plan.model.classes) or None}]
    else:
        sheets = [drawn.pixels[0]]
    identical = any(np.array_equal(source.pixels, sheet) for sheet in sheets)
    return Replayed(written, identical, source.versions, versions(*plan.model.packages), seconds)


def _redraw_words(replay: Replay, plan: Planned, track: Track) -> Replayed:
    import numpy as np

    from .pictures.png import read_png
    from .text2img.batch import draw_batch
    from .text2img.draw import PACKAGES, described

    source, places = replay.source, replay.source.places
    note = described(plan.works[0].plan, replay.to.run_id)
    then = {places.get(name, name): digest for name, digest in source.hashes.items()}
    now = {places.get(name, name): digest for name, digest in shared(note)["files"].items()}
    drawn = draw_batch(plan, replay.to.run_id, track=track)
    pixels, _, _ = read_png(replay.places.all[-1])
    identical = bool(np.array_equal(source.pixels, pixels))
    return Replayed(drawn, identical, {**source.versions, **then}, {**versions(*PACKAGES), **now}, drawn.seconds)


def _respoken(file: Path, to: Destination, track: Track) -> Replayed:
    """The same for a sound."""
    from .voice.output import write
    from .voice.replay import replay
    from .voice.speak import perform

    again = replay(file)
    seed = again.plan.settings.seed
    (path,) = outputs.sounds(to, [(0, seed)], suffix=file.suffix, suffixes=[*FORMATS])
    to.claim([path, beside(path)])
    with writable(path.parent):
        cloned = perform(again.plan, track=track, attempts=again.attempts)
        written = write(again.plan, cloned, [path], only=again.index)
    then, now = again.versions
    return Replayed(written, again.identical(path), then, now, cloned.seconds)


@contextmanager
def settings_of(file: Path) -> Iterator[None]:
    """Within it settings that do not fit are the fault of the file that carries them, whatever they make fail."""
    try:
        yield
    except DifftoolError as error:
        if error.code != Exit.USAGE:
            raise
        raise DifftoolError(Exit.FILE, f"{file} cannot be made again: {error.message}", error.hint) from error
    except (TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
        raise damaged(file) from error


def damaged(file: Path) -> DifftoolError:
    """That the settings in a file are none."""
    what = f"the settings in {file} are damaged or of another version"
    return DifftoolError(Exit.FILE, what, "take another copy of it")
