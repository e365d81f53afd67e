"""Training on sounds: the run, its previews and figures."""
