"""Reproduces a picture or sound from its stored settings and compares the two."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import outputs
from .audio import FORMATS
from .errors import DifftoolError, Exit
from .files import versions, writable
from .outputs import Destination, Places, destination_of
from .pixels.settings import ForwardSettings
from .pixels.settings import Settings as PixelSettings
from .progress import Track, untracked
from .provenance import beside, damaged, located, settings_of, shared
from .settings import checked, from_manifest, manifest_of
from .text2img.settings import Settings as WordSettings

if TYPE_CHECKING:
    from .pictures import Pixels
    from .pixels.forward import ForwardPlan, Noised
    from .pixels.plan import SamplePlan as PixelPlan
    from .pixels.write import Written
    from .text2img.batch import BatchPlan, Drawn
    from .voice.output import Written as Speech

SCHEMA = "difftool/manifest/1"
COMMANDS: dict[str, type[PixelSettings | WordSettings | ForwardSettings]] = {
    "sample": PixelSettings,
    "sample --forward": ForwardSettings,
    "txt2img": WordSettings,
}
"""The commands whose pictures can be reproduced, and their settings."""


@dataclass(frozen=True)
class Source:
    """A picture or a generated sound, and how it was made."""

    file: Path
    pixels: Pixels
    """Of a sound its samples, int16 (S,)"""
    settings: PixelSettings | WordSettings | ForwardSettings
    sha256: str
    """Hash of the model's weights."""
    models: Mapping[str, str]
    """Hashes of the weights of other models, by setting."""
    versions: Mapping[str, str]
    """Versions of the packages that made it."""
    hashes: Mapping[str, str]
    """Hashes of its input files, by their names in the manifest."""
    places: Mapping[str, str]
    """Paths of the files named in its settings."""
    index: int | None
    """Index of the picture in its run; None for a grid of all."""

    @property
    def is_sound(self) -> bool:
        return self.pixels.ndim == 1

    @property
    def indices(self) -> Sequence[int]:
        """Indices of the pictures to reproduce."""
        return range(count_of(self.settings)) if self.index is None else [self.index]

    @property
    def items(self) -> list[tuple[int, int]]:
        """(index, seed) of these pictures."""
        return [(index, seed_of(self.settings, index)) for index in self.indices]


def count_of(settings: PixelSettings | WordSettings | ForwardSettings) -> int:
    """The number of pictures of a run; a forward process has none."""
    return 0 if isinstance(settings, ForwardSettings) else settings.count or 0


def seed_of(settings: PixelSettings | WordSettings | ForwardSettings, index: int) -> int:
    """The seed of an item of a run."""
    return settings.seed_of(index) if isinstance(settings, PixelSettings) else settings.seed + index


class Replay(NamedTuple):
    """The plan that reproduces a picture."""

    source: Source
    plan: PixelPlan | BatchPlan | ForwardPlan
    places: Places
    to: Destination


class Replayed(NamedTuple):
    """A reproduced picture or sound."""

    drawn: Written | Drawn | Noised | Speech
    identical: bool
    """Whether every pixel or sample is identical."""
    then: Mapping[str, str]
    """Package versions and file hashes of the original."""
    now: Mapping[str, str]
    """Current package versions and file hashes."""
    seconds: Mapping[str, float]
    """Durations by stage."""


def rerun(
    file: str | Path,
    output: str | Path | None = None,
    output_dir: str | Path | None = None,
    *,
    overwrite: bool = False,
    grid_only: bool = False,
    track: Track = untracked,
) -> Replayed:
    """Reproduces a picture of `sample` or `txt2img`, or a sound of `voice clone`, from its stored settings into
    `output` or `output_dir`, and compares the two: with the same machine, model and versions, every pixel and sample is
    identical. For a grid, all its pictures are made again; with `grid_only`, only the grid is written.

    Raises DifftoolError: 1, 3 and 6 as the original command; 2 for an output that is not a PNG; 4 if the file has no or
    damaged settings, the model is missing or has changed, or the output exists.
    """
    to = destination_of("rerun", output, output_dir, overwrite=overwrite, grid_only=grid_only)
    if is_speech(Path(file)):
        return _respoken(Path(file), to, track)
    return redraw(plan_replay(source_of(Path(file)), to), track=track)


def is_speech(file: Path) -> bool:
    """Whether a file is a sound that `sample` did not make."""
    if file.suffix.lower() not in FORMATS:
        return False
    from .audio.notes import load

    _, note = load(file)
    return note is None or note.get("command") != "sample"


def _sound_in(file: Path) -> tuple[Pixels, Any]:
    """The samples, int16 (S,), of a sound of `sample`, and its manifest."""
    import numpy as np

    from .audio.files import samples_of
    from .audio.notes import load

    return np.frombuffer(samples_of(file), "int16"), load(file)[1]


def source_of(file: Path) -> Source:
    """Reads a picture or a sound of `sample` and how it was made. Raises DifftoolError 4 if it is none or its settings
    are missing or invalid: files may come from anywhere."""
    from .pictures.png import read_png

    if file.suffix.lower() in FORMATS:
        pixels, manifest = _sound_in(file)
    else:
        pixels, _, manifest = read_png(file)
    if manifest is None:
        message = f"{file} has no settings of difftool"
        raise DifftoolError(Exit.FILE, message, "pass a picture or sound made by difftool")
    command = manifest.get("command")
    if manifest.get("schema") != SCHEMA or not isinstance(command, str) or command not in COMMANDS:
        message = f"{file} was made by a command that this version cannot rerun"
        raise DifftoolError(Exit.FILE, message, f"see difftool meta {shlex.quote(str(file))}")
    asked = manifest.get("settings")
    if isinstance(asked, dict) and "prompts" in asked:
        raise DifftoolError(
            Exit.FILE,
            f"{file} is a grid of several prompts",
            "pass one of the single pictures; difftool meta prints the prompts",
        )
    try:
        digest, item = manifest["model"]["sha256"], manifest.get("item")
        index = None if item is None else item["index"]
        with settings_of(file):
            settings = checked(from_manifest(COMMANDS[command], located(manifest, file)))
        versions_fit = all(isinstance(version, str) for version in manifest["versions"].values())
        index_fits = index is None or (type(index) is int and 0 <= index < count_of(settings))
        places = dict(zip(_named(asked), _named(manifest_of(settings)), strict=True))
        hashes = {str(name): str(digest) for name, digest in shared(manifest).get("files", {}).items()}
        models = {str(name): str(digest) for name, digest in manifest.get("models", {}).items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise damaged(file) from error
    if not (versions_fit and index_fits and isinstance(digest, str)):
        raise damaged(file)
    return Source(file, pixels, settings, digest, models, manifest["versions"], hashes, places, index)


def _named(settings: Any) -> list[str]:
    """The files named in the settings of a manifest."""
    names = [*(name for name, *_ in settings.get("loras", [])), settings.get("init"), settings.get("mask")]
    return [name for name in names if isinstance(name, str)]


def plan_replay(source: Source, to: Destination) -> Replay:
    """The plan that reproduces a picture. Raises DifftoolError 2 if the output is not a PNG, 4 if it exists or if the
    model is missing or has changed."""
    if isinstance(source.settings, ForwardSettings):
        places = outputs.animation(to, "forward")
    else:
        places = (outputs.sampled_sounds if source.is_sound else outputs.pictures)(to, source.items)
    from .pixels.plan import SamplePlan as PixelPlan
    from .text2img.batch import BatchPlan

    with settings_of(source.file):
        plan = _plan(source, places)
    model = plan.works[0].plan.session.pipeline if isinstance(plan, BatchPlan) else plan.model
    if isinstance(plan, PixelPlan) and (plan.sound is not None) != source.is_sound:
        message = f"{source.file} is a picture of sounds, which alone are generated again"
        raise DifftoolError(Exit.FILE, message, "pass one of the WAV files")
    changed = model.source if model.sha256 != source.sha256 else None
    if isinstance(plan, PixelPlan):
        if plan.worse is not None and plan.worse.sha256 != source.models.get("autoguide"):
            changed = plan.worse.source
        if plan.sound is not None and plan.sound.vocoder.sha256 != source.models.get("vocoder"):
            changed = plan.sound.vocoder.name
    if changed is not None:
        message = f"{changed} is not the model that made {source.file}: its weights differ"
        raise DifftoolError(Exit.FILE, message, "restore the original model")
    return Replay(source, plan, places, to)


def _plan(source: Source, places: Places) -> PixelPlan | BatchPlan | ForwardPlan:
    """The plan with the settings of a picture."""
    if isinstance(source.settings, ForwardSettings):
        from .pixels.forward import plan_forward

        return plan_forward(source.settings)
    if isinstance(source.settings, PixelSettings):
        from .pixels.plan import plan_samples

        return plan_samples(source.settings)
    from .text2img.batch import ALONE, BatchPlan, Work
    from .text2img.session import Session
    from .text2img.session import plan_prompt as planned_words

    # every manifest says true_cfg; that of a model that takes none is 1
    true_cfg = None if source.settings.true_cfg == 1 else source.settings.true_cfg
    settings = replace(source.settings, true_cfg=true_cfg)
    plan = planned_words(Session.opened(settings), settings)
    paths = dict(zip(source.indices, places.files(len(source.indices)), strict=True))
    return BatchPlan([Work(ALONE, 0, plan, paths)], places, 0, {})


def redraw(replay: Replay, *, track: Track = untracked) -> Replayed:
    """Generates a picture again, writes it and compares."""
    from .pixels.forward import ForwardPlan
    from .pixels.plan import SamplePlan as PixelPlan

    if isinstance(replay.plan, PixelPlan):
        return _redraw_pixels(replay, replay.plan, track)
    if isinstance(replay.plan, ForwardPlan):
        return _redraw_forward(replay, replay.plan)
    return _redraw_words(replay, replay.plan, track)


def _redraw_pixels(replay: Replay, plan: PixelPlan, track: Track) -> Replayed:
    import numpy as np

    from .audio.files import to_pcm
    from .pictures.sheets import sheet
    from .pixels.draw import columns, draw_samples, with_sounds
    from .pixels.write import write

    source, began = replay.source, time.monotonic()
    with writable(*replay.places.folders):
        drawn = with_sounds(draw_samples(plan, only=source.indices, track=track, name=replay.to.run_id))
        ended = time.monotonic()
        written = write(drawn, replay.places)
    seconds = {"sample": ended - began, "save": time.monotonic() - ended}
    if source.is_sound:
        sheets = [np.frombuffer(to_pcm(drawn.sounds[0]), "int16")]
    elif source.index is None:  # grids of earlier versions have a column for each class
        sheets = [sheet(drawn.pixels, wide) for wide in {columns(drawn), len(plan.model.classes) or None}]
    else:
        sheets = [drawn.pixels[0]]
    identical = any(np.array_equal(source.pixels, pixels) for pixels in sheets)
    then, now = _hashes(source, drawn.manifest)
    return Replayed(written, identical, {**source.versions, **then}, {**versions(*plan.model.packages), **now}, seconds)


def _redraw_forward(replay: Replay, plan: ForwardPlan) -> Replayed:
    import numpy as np

    from .pixels.forward import noised, write_noised

    source, began = replay.source, time.monotonic()
    with writable(*replay.places.folders):
        done = noised(plan, replay.places, replay.to.run_id)
        ended = time.monotonic()
        write_noised(done)
    seconds = {"sample": ended - began, "save": time.monotonic() - ended}
    identical = np.array_equal(source.pixels, done.strip)
    then, now = _hashes(source, done.manifest)
    return Replayed(done, identical, {**source.versions, **then}, {**versions(*plan.model.packages), **now}, seconds)


def _hashes(source: Source, note: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """The hashes of the input files of a picture, then and now (`note` is the new manifest), by their names now."""
    then = {source.places.get(name, name): digest for name, digest in source.hashes.items()}
    now = {source.places.get(name, name): digest for name, digest in shared(note).get("files", {}).items()}
    return then, now


def _redraw_words(replay: Replay, plan: BatchPlan, track: Track) -> Replayed:
    import numpy as np

    from .pictures.png import read_png
    from .text2img.batch import draw_batch
    from .text2img.draw import PACKAGES, described

    source = replay.source
    note = described(plan.works[0].plan, replay.to.run_id)
    then, now = _hashes(source, note)
    drawn = draw_batch(plan, replay.to.run_id, track=track)
    pixels, _, _ = read_png(replay.places.all[-1])
    identical = bool(np.array_equal(source.pixels, pixels))
    return Replayed(drawn, identical, {**source.versions, **then}, {**versions(*PACKAGES), **now}, drawn.seconds)


def _respoken(file: Path, to: Destination, track: Track) -> Replayed:
    """Speaks a sound again, writes it and compares."""
    from .voice.replay import replay, respeak

    again = replay(file)
    seed = again.plan.settings.seed
    (path,) = outputs.sounds(to, [(0, seed)], suffix=file.suffix, suffixes=[*FORMATS])
    to.claim([path, beside(path)])
    written = respeak(again, path, track=track)
    then, now = again.versions
    return Replayed(written, again.identical(path), then, now, written.seconds)
