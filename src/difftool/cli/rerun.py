from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from types import NoneType
from typing import Annotated, Any

import typer

from ..errors import DifftoolError, Exit
from ..files import versions
from .console import Console, Result
from .options import MOST, DryRun, Output, OutputDir, Overwrite
from .outputs import carry_out, dry, places

log = logging.getLogger(__name__)


def rerun(
    console: Console,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture that difftool made.")],
    output: Output = None,
    output_dir: OutputDir = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> Result:
    """Make a picture again from the settings it carries, and say whether it came out the same.

    On the same machine, with the same model and versions, every pixel does. A grid makes all its pictures again.

    Examples:

    difftool rerun digits-00003-3.png -o again.png
    """
    import numpy as np

    from ..pictures import grid, read_png

    before, _, manifest = read_png(file)
    if manifest is None:
        raise DifftoolError(Exit.FILE, f"{file} carries no settings of difftool", "name a picture that difftool made")
    if (manifest.get("schema"), manifest.get("command")) != ("difftool/manifest/1", "sample"):
        raise DifftoolError(
            Exit.FILE, f"{file} was not made by a command that this version can repeat", "see difftool meta FILE"
        )
    settings, digest, item = _read(file, manifest)
    wanted = range(settings["count"]) if item is None else [item]
    items = [(k, settings["seed"] + k) for k in wanted]
    to = places("rerun", console.run_id, items, output, output_dir, overwrite=overwrite)
    from ..image.pixels import columns
    from ..image.plan import plan

    try:
        planned = plan(**settings)
    except DifftoolError as error:
        if error.code != Exit.USAGE:
            raise
        raise DifftoolError(Exit.FILE, f"{file} cannot be made again: {error.message}", error.hint) from error
    if planned.model.sha256 != digest:
        raise DifftoolError(
            Exit.FILE,
            f"{planned.model.source} is not the model that made {file}: its weights differ",
            "put that model back",
        )
    if dry_run:
        return dry(planned, to, wanted)
    drawn, told = carry_out(console, planned, to, only=wanted)
    identical = bool(np.array_equal(before, grid(drawn.pixels, columns(drawn)) if item is None else drawn.pixels[0]))
    now = versions(*planned.model.packages)
    changed = {name: [then, now.get(name)] for name, then in manifest["versions"].items() if now.get(name) != then}
    if changed:
        log.warning(
            "made with other versions: "
            + ", ".join(f"{name} {then}, now {here}" for name, (then, here) in changed.items())
        )
    if not identical:
        log.warning(f"the pixels differ from {file}")
    summary = [*told.summary, f"every pixel as in {file}"] if identical else told.summary
    return told._replace(data={**told.data, "identical": identical, "versions_changed": changed}, summary=summary)


KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("model", "sampler", "schedule", "device", "dtype"), (str,)),
    **dict.fromkeys(("steps", "count", "batch_size", "threads", "seed"), (int,)),
    "eta": (float, int, NoneType),
    "guidance": (float, int),
    "label": (str, NoneType),
}
"""The settings of `sample` in a manifest, and what they are; the whole numbers but the seed lie in 1 .. MOST."""


def _read(file: Path, manifest: dict[str, Any]) -> tuple[dict[str, Any], str, int | None]:
    """(settings, hash of the model, index of the picture; None for a grid) of a manifest. Raises DifftoolError 4 where
    they are not what `sample` writes: a file may come from anywhere."""
    fits = False
    settings, digest, index = {}, "", None
    with suppress(KeyError, TypeError, AttributeError):
        settings, digest, item = manifest["settings"], manifest["model"]["sha256"], manifest.get("item")
        index = None if item is None else item["index"]
        fits = (
            settings.keys() == KINDS.keys()
            and all(type(value) in KINDS[key] for key, value in settings.items())
            and all(1 <= settings[key] <= MOST for key in ("steps", "count", "batch_size", "threads"))
            and (index is None or (type(index) is int and 0 <= index < settings["count"]))
            and isinstance(digest, str)
            and all(isinstance(version, str) for version in manifest["versions"].values())
        )
    if not fits:
        raise DifftoolError(
            Exit.FILE, f"the settings in {file} are damaged or of another version", "take another copy of it"
        )
    return settings, digest, index
