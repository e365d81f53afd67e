"""From any recording to a voice: decoded, transcribed, cut, measured, judged, and written as a folder."""
