"""Tortoise: its networks, and speech from them."""
