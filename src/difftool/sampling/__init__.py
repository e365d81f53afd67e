"""A sampler as it was chosen by name."""
