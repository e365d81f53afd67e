"""What a user types. One file a command; each is imported only when it is called."""

from __future__ import annotations

COMMANDS = {
    "train": ("difftool.cli.train:train", "Train a model on your pictures, or on handwritten digits."),
    "sample": ("difftool.cli.sample:sample", "Draw pictures from a model, or from the digits in the package."),
    "txt2img": ("difftool.cli.txt2img:txt2img", "Draw pictures from words, with Stable Diffusion or FLUX."),
    "eval": ("difftool.cli.evaluate:evaluate", "Measure a model against pictures it never saw."),
    "voice clone": ("difftool.cli.voice_clone:clone", "Say a text in a voice."),
    "voice prep": ("difftool.cli.voice_prep:prep", "Make a voice from recordings, and say what they are worth."),
    "voice consent": ("difftool.cli.voice_consent:consent", "Note that the owner of a voice agrees."),
    "voice list": ("difftool.cli.voice_library:ls", "List the voices that are here."),
    "voice show": ("difftool.cli.voice_library:show", "Show what a voice is made of and worth."),
    "voice export": ("difftool.cli.voice_library:export", "Write a voice as other tools take it."),
    "voice rm": ("difftool.cli.voice_library:rm", "Remove a voice."),
    "lab check": ("difftool.cli.lab:check", "Say what this machine carries, preset by preset."),
    "lab plan": ("difftool.cli.lab:plan", "The way from a first machine to a laboratory, and what each step adds."),
    "models ls": ("difftool.cli.models:ls", "List the models that can be fetched, and those that are here."),
    "models pull": ("difftool.cli.models:pull", "Fetch a model: the only command that downloads."),
    "models verify": ("difftool.cli.models:verify", "Read the models that are here and check that they are whole."),
    "models rm": ("difftool.cli.models:rm", "Remove a model from this machine."),
    "meta": ("difftool.cli.meta:meta", "Print how a picture or a sound was made."),
    "rerun": ("difftool.cli.rerun:rerun", "Make a picture or a sound again from the settings it carries."),
}
"""The name of a command, as typed after `difftool`, to ("module:function", a line of help). Two words make a group."""
TOGETHER = ("train", "sample", "eval")
"""Commands that several processes may run together."""
