"""The networks of the voice in the package."""
