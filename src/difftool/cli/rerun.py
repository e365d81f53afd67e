from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar

import typer

from ..errors import DifftoolError, Exit
from ..files import versions
from ..pixels import settings as pixels_settings
from ..provenance import located, shared
from ..settings import checked, from_manifest
from . import speech
from .console import Console, Result
from .options import MOST, DryRun, Output, OutputDir, Overwrite
from .outputs import carry_out, dry, places
from .speech import FORMATS

log = logging.getLogger(__name__)

T = TypeVar("T")


def rerun(
    console: Console,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture or a sound that difftool made.")],
    output: Output = None,
    output_dir: OutputDir = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> Result:
    """Make a picture or a sound again from the settings it carries, and say whether it came out the same.

    On the same machine, with the same model and versions, every pixel and sample does. A grid makes all its pictures
    again.

    Examples:

    difftool rerun digits-00003-3.png -o again.png
    """
    if file.suffix.lower() in FORMATS:
        return _sound(console, file, output, output_dir, overwrite=overwrite, dry_run=dry_run)
    import numpy as np

    from ..pictures.png import read_png
    from ..pictures.sheets import grid

    before, _, manifest = read_png(file)
    if manifest is None:
        raise DifftoolError(Exit.FILE, f"{file} carries no settings of difftool", "name a picture that difftool made")
    if (manifest.get("schema"), manifest.get("command")) == ("difftool/manifest/1", "txt2img"):
        return _words(console, file, before, manifest, output, output_dir, overwrite=overwrite, dry_run=dry_run)
    if (manifest.get("schema"), manifest.get("command")) != ("difftool/manifest/1", "sample"):
        raise DifftoolError(
            Exit.FILE, f"{file} was not made by a command that this version can repeat", "see difftool meta FILE"
        )
    settings, digest, item = _read_settings(file, manifest, pixels_settings.Settings)
    wanted = range(settings.count or 0) if item is None else [item]
    items = [(k, settings.seed + k) for k in wanted]
    to = places(
        "rerun", console.run_id, items, output, output_dir, overwrite=overwrite, standing=console.standing_folder
    )
    from ..pixels.draw import columns
    from ..pixels.plan import planned as plan

    with _again(file):
        planned = plan(settings)
    if planned.model.sha256 != digest:
        raise DifftoolError(
            Exit.FILE,
            f"{planned.model.source} is not the model that made {file}: its weights differ",
            "put that model back",
        )
    if dry_run:
        return dry(planned, to, wanted)
    drawn, told = carry_out(console, planned, to, only=wanted)
    # grids of earlier versions have a column for each class
    wide = {columns(drawn), len(planned.model.classes) or None}
    sheets = [grid(drawn.pixels, n) for n in wide] if item is None else [drawn.pixels[0]]
    identical = any(np.array_equal(before, sheet) for sheet in sheets)
    return _compared(file, told, manifest["versions"], versions(*planned.model.packages), "pixel", identical)


def _words(
    console: Console,
    file: Path,
    before: Any,
    manifest: dict[str, Any],
    output: Path | None,
    output_dir: Path | None,
    *,
    overwrite: bool,
    dry_run: bool,
) -> Result:
    """The same for a picture of `txt2img`."""
    import numpy as np

    from ..pictures.png import read_png
    from .prompted import Work, carry_out, dry

    asked = manifest.get("settings")
    if isinstance(asked, dict) and "prompts" in asked:
        raise DifftoolError(Exit.FILE, f"{file} shows pictures of several prompts", "name one of them")
    settings, digest, item = _read(file, manifest, PAINTED)
    settings = located(manifest, file)
    wanted = range(settings["count"]) if item is None else [item]
    items = [(k, settings["seed"] + k) for k in wanted]
    to = places(
        "rerun", console.run_id, items, output, output_dir, overwrite=overwrite, standing=console.standing_folder
    )
    from ..text2img.draw import PACKAGES, described
    from ..text2img.session import again

    with _again(file):
        planned = again(settings)
    if planned.studio.pipeline.sha256 != digest:
        what = f"{planned.studio.pipeline.source} is not the model that made {file}: its weights differ"
        raise DifftoolError(Exit.FILE, what, "put that model back")
    works = [Work("the prompt", 0, planned, dict(zip(wanted, to.singles, strict=True)))]
    if dry_run:
        return dry(works, to, {})
    asked, loras = manifest["settings"], zip(manifest["settings"]["loras"], settings["loras"], strict=True)
    where = {name: path for (name, *_), (path, *_) in loras} | {asked[key]: settings[key] for key in ("init", "mask")}
    then, files = (
        {where.get(name, name): digest for name, digest in shared(note).get("files", {}).items()}
        for note in (manifest, described(planned, console.run_id))
    )
    now = {**versions(*PACKAGES), **files}
    told = carry_out(console, works, to, {})
    identical = bool(np.array_equal(before, read_png(to.all[-1])[0]))
    return _compared(file, told, {**manifest["versions"], **then}, now, "pixel", identical)


def _sound(
    console: Console, file: Path, output: Path | None, output_dir: Path | None, *, overwrite: bool, dry_run: bool
) -> Result:
    from ..voice.replay import replay

    again = replay(file)
    seed = again.plan.settings.seed
    to = speech.places("rerun", console.run_id, 1, seed, output, output_dir, suffix=file.suffix)
    to = speech.anew(console, to, output, overwrite=overwrite)
    if dry_run:
        return speech.dry(again.plan, to)
    result = speech.carry_out(console, again.plan, to, overwrite=overwrite, attempts=again.attempts, only=again.index)
    then, now = again.versions
    return _compared(file, result, then, now, "sample", again.identical(to.sounds[0]))


@contextmanager
def _again(file: Path) -> Iterator[None]:
    """Within it settings that do not fit are the fault of the file that carries them, whatever they make fail."""
    try:
        yield
    except DifftoolError as error:
        if error.code != Exit.USAGE:
            raise
        raise DifftoolError(Exit.FILE, f"{file} cannot be made again: {error.message}", error.hint) from error
    except (TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
        raise _damaged(file) from error


def _compared(
    file: Path, told: Result, then: Mapping[str, str], now: Mapping[str, str], what: str, identical: bool
) -> Result:
    """What was told, and whether it came out the same with the same versions."""
    changed = {name: [was, now.get(name)] for name, was in then.items() if now.get(name) != was}
    if changed:
        which = ", ".join(f"{name} {was}, now {here}" for name, (was, here) in changed.items())
        log.warning(f"made with other versions or files: {which}")
    if not identical:
        log.warning(f"the {what}s differ from {file}")
    summary = [*told.summary, f"every {what} as in {file}"] if identical else told.summary
    return told._replace(data={**told.data, "identical": identical, "versions_changed": changed}, summary=summary)


PAINTED: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("model", "prompt", "sampler", "schedule", "device", "dtype"), (str,)),
    **dict.fromkeys(("steps", "count", "batch_size", "threads", "seed", "clip_skip"), (int,)),
    **dict.fromkeys(("guidance", "true_cfg"), (float, int)),
    **dict.fromkeys(("eta", "strength"), (float, int, NoneType)),
    **dict.fromkeys(("prediction", "negative", "init", "mask", "models_dir"), (str, NoneType)),
    **dict.fromkeys(("size", "loras"), (list,)),
    "low_vram": (bool,),
}
"""The settings of `txt2img` in a manifest."""


def _read_settings(file: Path, manifest: dict[str, Any], cls: type[T]) -> tuple[T, str, int | None]:
    """(settings, hash of the model, index of the picture; None for a grid) of a manifest. Raises DifftoolError 4 where
    they are not what the command writes: a file may come from anywhere."""
    try:
        digest, item = manifest["model"]["sha256"], manifest.get("item")
        index = None if item is None else item["index"]
        with _again(file):
            settings = checked(from_manifest(cls, located(manifest, file)))
        versions_fit = all(isinstance(version, str) for version in manifest["versions"].values())
        count = settings.count  # type: ignore[attr-defined]
        index_fits = index is None or (type(index) is int and 0 <= index < count)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _damaged(file) from error
    if not (versions_fit and index_fits and isinstance(digest, str)):
        raise _damaged(file)
    return settings, digest, index


def _read(
    file: Path, manifest: dict[str, Any], kinds: dict[str, tuple[type, ...]]
) -> tuple[dict[str, Any], str, int | None]:
    """(settings, hash of the model, index of the picture; None for a grid) of a manifest. Raises DifftoolError 4 where
    they are not what `sample` writes, or of which others say the `kinds`: a file may come from anywhere."""
    fits = False
    settings, digest, index = {}, "", None
    with suppress(KeyError, TypeError, AttributeError):
        settings, digest, item = manifest["settings"], manifest["model"]["sha256"], manifest.get("item")
        index = None if item is None else item["index"]
        fits = (
            settings.keys() == kinds.keys()
            and all(type(value) in kinds[key] for key, value in settings.items())
            and all(1 <= settings[key] <= MOST for key in ("steps", "count", "batch_size", "threads"))
            and (index is None or (type(index) is int and 0 <= index < settings["count"]))
            and isinstance(digest, str)
            and all(isinstance(version, str) for version in manifest["versions"].values())
        )
    if not fits:
        raise _damaged(file)
    return settings, digest, index


def _damaged(file: Path) -> DifftoolError:
    what = f"the settings in {file} are damaged or of another version"
    return DifftoolError(Exit.FILE, what, "take another copy of it")
