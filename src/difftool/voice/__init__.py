"""Speech: Tortoise's networks from their files."""
