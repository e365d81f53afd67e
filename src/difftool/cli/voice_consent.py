from __future__ import annotations

from typing import Annotated

import typer

from ..voice.settings import known_voices
from .completion import completer, consents
from .console import Console, Result
from .options import VoicesDir


def consent(
    console: Console,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the voice.", autocompletion=completer(known_voices))
    ],
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="Kind of consent: self, written:FILE, license:ID or synthetic.",
            autocompletion=completer(consents),
        ),
    ],
    voices_dir: VoicesDir = None,
) -> Result:
    """Record the consent of a voice's owner; required once before the voice is cloned.

    KIND is self for your own voice, written:FILE for another person's written consent, license:ID for a licence of the
    recordings that permits this use, or synthetic for a voice that belongs to no person.

    Examples:

    difftool voice consent me self

    difftool voice consent anna written:anna.pdf
    """
    from ..voice.library import record

    path = record(name, kind, voices_dir)
    data = {"path": str(path), "voice": name, "consent": kind}
    return Result(data, [f"consent of {name} recorded: {kind}", str(path)], [path])
