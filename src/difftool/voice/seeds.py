"""Seeds that are made of others."""

from __future__ import annotations

import hashlib


def derived(seed: int, *purpose: object) -> int:
    """A seed of 64 bits for a purpose, that shares nothing with those for others."""
    text = "\0".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
