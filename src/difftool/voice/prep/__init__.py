"""From recordings to a voice: decode, transcribe, cut, measure, filter, and write the folder."""
