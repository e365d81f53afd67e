"""Sound: files, loudness, joining."""
