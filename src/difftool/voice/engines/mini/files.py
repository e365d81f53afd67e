"""The files of the voice in the package."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from contextlib import contextmanager

from ....errors import DifftoolError, Exit, is_out_of_memory
from ....models import ASSETS

FOLDER = ASSETS / "mini"


@contextmanager
def reading() -> Iterator[None]:
    """Raises DifftoolError 4 where its block cannot read a file of the package."""
    try:
        yield
    except (DifftoolError, OSError, EOFError, lzma.LZMAError, ValueError, KeyError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        reason = error.message if isinstance(error, DifftoolError) else str(error).splitlines()[0]
        message = f"the voice in the package is damaged: {reason}"
        raise DifftoolError(Exit.FILE, message, "install difftool again, or use --engine tortoise") from error
