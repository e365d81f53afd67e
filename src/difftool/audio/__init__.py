"""Sound: files, loudness, joining."""

from __future__ import annotations

FORMATS = {".wav": "wav", ".flac": "flac", ".mp3": "mp3", ".ogg": "ogg"}
"""What a result can be written as, and what ffmpeg calls it."""
