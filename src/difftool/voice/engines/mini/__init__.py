"""The voice in the package."""
