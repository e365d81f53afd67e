"""Training data: reading, decoding, splitting and caching pictures."""
