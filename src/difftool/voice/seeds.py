"""Seeds derived from others."""

from __future__ import annotations

import hashlib


def derived(seed: int, *purpose: object) -> int:
    """A 64-bit seed for a purpose, independent of those for other purposes."""
    text = "\0".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
