"""What a machine carries: probes of it, needs of the presets, and verdicts."""
