from __future__ import annotations

from typing import Annotated

import typer

from .console import Console, Result
from .options import VoicesDir


def consent(
    console: Console,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A folder of the voices.")],
    kind: Annotated[str, typer.Argument(metavar="KIND", help="self, written:FILE, license:ID or synthetic.")],
    voices_dir: VoicesDir = None,
) -> Result:
    """Note that the owner of a voice agrees to its use, which a voice needs once before it is cloned.

    self is your own voice, written:FILE the agreement of another, license:ID a licence under which the recordings may
    be used so, synthetic nobody's voice.

    Examples:

    difftool voice consent me self

    difftool voice consent anna written:anna.pdf
    """
    from ..voice.library import record

    path = record(name, kind, voices_dir)
    return Result({"path": str(path), "voice": name, "consent": kind}, [f"noted for {name}: {kind}", str(path)], [path])
