from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from ..errors import DifftoolError, Exit
from .console import Console, Result
from .speech import FORMATS


def meta(
    console: Console,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture or sound made by difftool.")],
) -> Result:
    """Print the settings stored in a picture or sound.

    Examples:

    difftool meta digits.png

    difftool meta --json digits.png
    """
    if file.suffix.lower() in FORMATS:
        return _of_sound(file)
    from ..pictures.png import read_png, texts_in

    _, parameters, manifest = read_png(file)
    if parameters is None and manifest is None:
        others = ", ".join(texts_in(file))
        message = f"{file} has no settings in a known format"
        if others:
            message += f", only text chunks named {others}"
        raise DifftoolError(Exit.FILE, message, "pass a picture or sound made by difftool or a similar tool")
    summary = [] if parameters is None else [parameters.strip()]
    if manifest is not None:
        summary.append(json.dumps(manifest, indent=2, ensure_ascii=False))
    return Result({"path": str(file), "parameters": parameters, "manifest": manifest}, summary, [file])


def _of_sound(file: Path) -> Result:
    from ..audio.notes import load
    from ..voice.provenance import chapters_in

    tags, manifest = load(file)
    tags.pop("encoder", None)
    if not tags:
        raise DifftoolError(Exit.FILE, f"{file} has no tags", "pass a sound file made by difftool")
    shown = {key: value for key, value in tags.items() if key != "comment" or manifest is None}
    summary = [f"{key}: {value}" for key, value in shown.items()]
    chapters = chapters_in(file, manifest)
    summary += [f"chapter at {timedelta(seconds=int(row['start']))}: {row['title']}" for row in chapters]
    if manifest is not None:
        summary.append(json.dumps(manifest, indent=2, ensure_ascii=False))
    data = {"path": str(file), "tags": tags, "chapters": chapters, "manifest": manifest}
    return Result(data, summary, [file])
