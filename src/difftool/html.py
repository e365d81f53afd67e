"""HTML pages: one offline file each, from the templates of the package."""

from __future__ import annotations

import base64
from pathlib import Path

from .files import replacing

TEMPLATES = Path(__file__).with_name("templates")


def write(path: Path, template: str, **values: object) -> None:
    """Writes a page atomically, piece by piece: `template` with `values`, whose texts are escaped. The filter `base64`
    embeds the file at a path."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = _base64
    pieces = environment.get_template(template).generate(**values)
    # names of files may be no Unicode
    with replacing(path) as written, written.open("w", encoding="utf-8", errors="replace") as file:
        file.writelines(pieces)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
