"""Adds the engine that beeps to the table, in a process that imports this first."""

from difftool.voice.engines import ENGINES

ENGINES["beep"] = "beep"
