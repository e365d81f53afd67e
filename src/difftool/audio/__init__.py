"""Sound: files, loudness, joining."""

from __future__ import annotations

FORMATS = {".wav": "wav", ".flac": "flac", ".mp3": "mp3", ".ogg": "ogg", ".m4b": "ipod", ".m4a": "ipod"}
"""Suffixes of output files, and ffmpeg's names of their formats."""
