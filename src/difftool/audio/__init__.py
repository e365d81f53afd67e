"""Sound: files, loudness, joining."""

from __future__ import annotations

FORMATS = {".wav": "wav", ".flac": "flac", ".mp3": "mp3", ".ogg": "ogg", ".m4b": "ipod", ".m4a": "ipod"}
"""Suffixes of output files, and ffmpeg's names of their formats."""
AUTO, GRIFFIN_LIM = "auto", "griffin-lim"
VOCODERS = (AUTO, GRIFFIN_LIM, "univnet", "vocos", "mini")
"""What makes sound of mel spectrograms: no network, or one by its name."""
