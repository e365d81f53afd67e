"""Samplers selected by name."""
