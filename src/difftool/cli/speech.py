"""Where speech goes, and what is said of it."""

from __future__ import annotations

import os
import shlex
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import DifftoolError, Exit
from ..files import MARK, default_dir, lock, replacing, unused, writable
from ..limits import counted
from ..provenance import beside
from .console import Console, Result

if TYPE_CHECKING:
    from ..voice.plan import Plan

FORMATS = (".wav", ".flac", ".mp3", ".ogg")
SEVERAL_RUNS = "a text that is said in several runs needs a place of its own"
STAGES = ("load", "conditioning", "autoregressive", "clvp", "diffusion", "vocoder")


class Places(NamedTuple):
    """The files of a run."""

    sounds: list[Path]
    """Of the candidates, the best first."""
    stages: Path | None
    default: bool = False
    """Whether nobody said where."""

    @property
    def all(self) -> list[Path]:
        """With the notes beside the sounds."""
        return [*self.sounds, *map(beside, self.sounds), *([self.stages] if self.stages else [])]


def places(
    command: str,
    run: str,
    count: int,
    seed: int,
    output: Path | None,
    folder: Path | None,
    stages: Path | None = None,
    suffix: str = ".wav",
) -> Places:
    """The files for so many candidates. Raises DifftoolError 2 for a kind of file that is not written."""
    if output is not None and not output.is_dir() and output.suffix.lower() not in FORMATS:
        what = f"speech is written as {', '.join(FORMATS)}, and {output} ends otherwise"
        raise DifftoolError(Exit.USAGE, what, f"try -o {shlex.quote(str(output.with_suffix('.wav')))}")
    if stages is not None and stages.suffix.lower() != ".npz":
        raise DifftoolError(Exit.USAGE, f"stages are written as .npz, and {stages} ends otherwise", "name a FILE.npz")
    singles = [f"{k:05d}-{seed}" for k in range(count)]
    if output is None:
        place = folder or default_dir(command, run)
        return Places([place / f"{name}{suffix}" for name in singles], stages, default=folder is None)
    return Places([output, *(output.with_name(f"{output.stem}-{name}{output.suffix}") for name in singles[1:])], stages)


def anew(console: Console, to: Places, output: Path | None, *, overwrite: bool) -> Places:
    """In a folder that is that of every run, names that are taken lead to a folder of this run in it."""
    taken = any(os.path.lexists(path) for path in to.sounds)
    if not (console.standing_folder and taken) or output is not None or overwrite:
        return to
    return to._replace(sounds=[path.parent / console.run_id / path.name for path in to.sounds])


def carry_out(
    console: Console,
    plan: Plan,
    to: Places,
    *,
    overwrite: bool,
    attempts: Sequence[int] = (),
    only: int | None = None,
    low_vram: bool = False,
    cache: bool = True,
) -> Result:
    """Says what was planned, all of it in memory, writes the files (`only` that of one candidate), and tells what it
    did."""
    import numpy as np

    from ..audio.files import RATE
    from ..audio.joining import to_bytes
    from ..voice.engines.tortoise.networks import is_there
    from ..voice.provenance import save
    from ..voice.speak import perform

    unused(to.all, overwrite=overwrite)
    if to.stages and not is_there("clvp", plan.folder):
        what = f"--save-stages asks clvp2.pth of Tortoise too, which is not in {plan.folder}"
        raise DifftoolError(Exit.FILE, what, "run difftool models pull tortoise")
    if to.stages and plan.settings["engine"] == "stock":
        raise DifftoolError(Exit.USAGE, "tortoise-tts tells of no stages", "leave out --save-stages or --engine")
    _warn_of_signs(console, plan)
    stages: dict[str, Any] | None = {} if to.stages else None
    with writable(*{path.parent: None for path in to.all}):
        done = perform(plan, track=console.track, low_vram=low_vram, cache=cache, attempts=attempts, stages=stages)
        ranks = [only] if only is not None else [*range(plan.script.candidates)]
        console.resume = "run it again with --overwrite"  # some of the files may be there by then
        for k, path in zip(ranks, to.sounds, strict=True):
            save(path, [to_bytes(done.sounds[k])], done.manifest | {"item": {"index": k}})
        if to.stages and stages:
            with replacing(to.stages) as written, written.open("w+b") as file:
                np.savez(file, **{name: tensor.cpu().numpy() for name, tensor in stages.items()})
                with zipfile.ZipFile(file, "a") as archive:
                    archive.comment = b'%sstages/1"' % MARK
    items = [
        {
            "index": k,
            "seconds": round(len(done.sounds[k]) / RATE, 3),
            "parts": [part[k] for part in done.manifest["said"]],
        }
        for k in ranks
    ]
    return _told(console, plan, to, items, done.manifest, done.seconds)


def read_out(
    console: Console,
    plan: Plan,
    to: Places,
    redo: str | None,
    max_minutes: float | None,
    *,
    overwrite: bool,
    low_vram: bool,
    cache: bool,
) -> Result:
    """Says a text of several parts, from where an earlier run stopped, joins them, and tells what it did."""
    from ..audio.files import seconds_of
    from ..voice import long_text
    from ..voice.provenance import save
    from ..voice.speak import described

    if to.default and (redo is not None or max_minutes is not None):
        raise DifftoolError(Exit.USAGE, SEVERAL_RUNS, "name it with -o FILE")
    if to.default:
        again = f"-o {shlex.quote(str(to.sounds[0]))}"
        console.say(f"to go on after a stop, run this again with {again}")
        console.resume = f"run it again with {again}"
    if to.stages:
        what = f"the text has {len(plan.parts)} parts, and stages are written for one"
        raise DifftoolError(Exit.USAGE, what, "leave out --save-stages, or give a shorter text")
    again = long_text.numbers(redo, len(plan.parts))
    folder = long_text.folder_of(to.sounds[0])
    ours = long_text.made_here(plan, folder, to.sounds)
    unused(to.sounds if ours else to.all, overwrite=overwrite or ours)
    _warn_of_signs(console, plan)
    until = None if max_minutes is None else console.began + 60 * max_minutes
    with writable(to.sounds[0].parent, folder), lock(folder):
        done = long_text.read(
            plan,
            folder,
            redo=again,
            overwrite=overwrite,
            until=until,
            track=console.track,
            low_vram=low_vram,
            cache=cache,
        )
        note = described(plan, console.run_id) | {"attempts": [part["attempt"] for part in done.parts]}
        left = not long_text.finished(folder, to.sounds)
        if left:
            with long_text.joining(folder, to.sounds):
                for k, path in enumerate(to.sounds):
                    said = [[long_text.brief(part["takes"][k])] for part in done.parts]
                    save(path, long_text.pieces(folder, done.parts, k), note | {"said": said, "item": {"index": k}})
    items = [
        {"index": k, "seconds": seconds_of(path), "parts": [long_text.brief(part["takes"][k]) for part in done.parts]}
        for k, path in enumerate(to.sounds)
    ]
    told = _told(console, plan, to, items, note, done.seconds)
    data = told.data | {"parts": len(done.parts), "said_now": done.said, "manifest": str(folder / long_text.LIST)}
    if not left:
        return Result(data, [f"nothing left to do: all {len(done.parts)} parts are said", str(to.sounds[0])], to.sounds)
    now = "" if done.said == len(done.parts) else f", {done.said} of them now"
    return told._replace(data=data, summary=[*told.summary, f"{len(done.parts)} parts{now}: {folder}"])


def dry(plan: Plan, to: Places) -> Result:
    """What would be done, and what it needs."""
    from ..voice.engines.tortoise.networks import FILES

    files = sorted({FILES[name] for name in plan.networks})
    needs = {"networks": files, "steps": plan.steps * len(plan.parts), "folder": str(plan.folder)}
    count = counted(len(plan.parts), "part")
    summary = [
        f"would say {count} {_how(plan)} on {plan.settings['device']} in {plan.settings['dtype']}",
        f"needs {', '.join(files)} of {plan.folder}, and up to {counted(needs['steps'], 'step')} of them",
        f"would write {to.sounds[0]}",
    ]
    parts = [{"text": part.text, "pause": part.pause} for part in plan.parts]
    data = {"dry_run": True, "settings": plan.settings, "needs": needs, "parts": parts}
    return Result(data | {"would_write": [*map(str, to.all)]}, summary, [])


def _told(
    console: Console,
    plan: Plan,
    to: Places,
    items: Sequence[Mapping[str, Any]],
    note: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> Result:
    total = time.monotonic() - console.began
    timing = {name: round(seconds.get(name, 0.0), 3) for name in dict.fromkeys((*STAGES, *seconds))}
    outputs = [
        {"path": str(path), "seed": plan.settings["seed"], **item} for path, item in zip(to.sounds, items, strict=True)
    ]
    cut = [str(k + 1) for k, part in enumerate(items[0]["parts"]) if not part["stopped"]]
    if cut:
        which = "it" if len(items[0]["parts"]) == 1 else f"part {', '.join(cut)}"
        console.warn(f"{which} did not come to an end within {plan.script.most} codes, and was cut off")
    data = {
        "outputs": outputs,
        "stages": str(to.stages) if to.stages else None,
        "settings": plan.settings,
        "voices": note["voices"],
        "models": note["models"],
        "timing": timing | {"total": round(total, 3)},
        "rtf": round(total / max(items[0]["seconds"], 1e-3), 3),
    }
    summary = [f"{items[0]['seconds']:.1f} s of speech {_how(plan)} in {total:.1f} s", *map(str, to.all[: len(items)])]
    return Result(data, summary, [*to.sounds, *([to.stages] if to.stages else [])])


def _how(plan: Plan) -> str:
    given, script = plan.settings, plan.script
    as_what = given["compat"] or (given["engine"] if given["engine"] != "native" else given["preset"])
    way = f"{script.way.sampler} with {counted(script.way.steps, 'step')}, guidance {script.guidance:g}"
    return f"in the voice {given['voice']} ({as_what}: {script.samples} samples, {way}, seed {given['seed']})"


def _warn_of_signs(console: Console, plan: Plan) -> None:
    from ..voice.text import unspoken

    if not plan.plain and (signs := unspoken(plan.settings["text"])):
        console.warn(f"not spoken, for want of a sound: {' '.join(signs)}")
