"""The command line. One file per command; each is imported only when it is called."""

from __future__ import annotations

COMMANDS = {
    "train": ("difftool.cli.train:train", "Train a model on your pictures or sounds, or on handwritten digits."),
    "sample": ("difftool.cli.sample:sample", "Generate pictures from a trained model."),
    "txt2img": ("difftool.cli.txt2img:txt2img", "Generate pictures from a prompt with Stable Diffusion or FLUX."),
    "eval": ("difftool.cli.evaluate:evaluate", "Measure the quality of a model on held-out pictures."),
    "voice clone": ("difftool.cli.voice_clone:clone", "Speak a text in a voice."),
    "voice prep": ("difftool.cli.voice_prep:prep", "Build a voice from recordings and grade it."),
    "voice train": ("difftool.cli.voice_train:train", "Fine-tune an engine on a voice."),
    "voice judge": ("difftool.cli.voice_judge:judge", "Judge speech: its words, whose voice it is, and how it sounds."),
    "voice consent": ("difftool.cli.voice_consent:consent", "Record the consent of a voice's owner."),
    "voice list": ("difftool.cli.voice_library:ls", "List voices."),
    "voice show": ("difftool.cli.voice_library:show", "Show the sources, clips and grade of a voice."),
    "voice export": ("difftool.cli.voice_library:export", "Export a voice for other tools."),
    "voice rm": ("difftool.cli.voice_library:rm", "Remove a voice."),
    "studio": ("difftool.cli.studio:studio", "Open a page in the browser: record a voice, speak with it, and draw."),
    "lab check": ("difftool.cli.lab:check", "Check which presets this machine can run."),
    "lab plan": ("difftool.cli.lab:plan", "Show a hardware upgrade path."),
    "models ls": ("difftool.cli.models:ls", "List available and installed models."),
    "models pull": ("difftool.cli.models:pull", "Download models; no other command downloads anything."),
    "models verify": ("difftool.cli.models:verify", "Check installed models against their hashes."),
    "models rm": ("difftool.cli.models:rm", "Remove installed models."),
    "runs ls": ("difftool.cli.runs:ls", "List runs with their date, command, state, size and folder."),
    "runs show": ("difftool.cli.runs:show", "Show a run, and the command that resumes or reproduces it."),
    "runs rm": ("difftool.cli.runs:rm", "Remove the folders of runs."),
    "config show": ("difftool.cli.config_show:show", "Show the value of every option and where it comes from."),
    "cache ls": ("difftool.cli.cache:ls", "List what is cached, by kind, with size and last use."),
    "cache clear": ("difftool.cli.cache:clear", "Remove cached files."),
    "meta": ("difftool.cli.meta:meta", "Print the settings stored in a picture or sound."),
    "rerun": ("difftool.cli.rerun:rerun", "Reproduce a picture or sound from its stored settings."),
}
"""Command name, as typed after `difftool`, to ("module:function", one line of help). Two words make a group."""
GROUPS = {
    "voice": "Build voices from recordings and speak with them.",
    "lab": "Check this machine and plan upgrades.",
    "models": "Download and manage models.",
    "runs": "List, show and remove runs.",
    "config": "Show the configuration.",
    "cache": "List and clear the cache.",
}
"""First word of the commands of a group to a line of help."""
LOADING = ("train", "sample", "txt2img", "eval", "voice clone", "voice prep", "voice train", "voice judge", "rerun")
"""Commands that import torch, which takes seconds."""
TOGETHER = ("train", "sample", "txt2img", "eval", "voice clone")
"""Commands that can run in several processes (torchrun)."""
