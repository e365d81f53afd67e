"""Adds the engine that beeps to the tables, in a process that imports this first."""

import sys

import beep_tuning

from difftool.voice import tuning
from difftool.voice.engines import ENGINES

ENGINES["beep"] = "beep"
tuning.TRAINABLE = (*tuning.TRAINABLE, "beep")
sys.modules["beep.tuning"] = beep_tuning
