"""The files of speech and the report on them."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, NamedTuple

from ..audio import FORMATS
from ..errors import DifftoolError, Exit
from ..files import unused, writable
from ..limits import counted
from ..outputs import Destination, sounds
from ..provenance import beside
from .console import Console, Result

if TYPE_CHECKING:
    from torch import Tensor

    from ..voice.output import Written
    from ..voice.plan import SpeechPlan
    from ..voice.speak import CandidateRecord

SHOWN, HEARD = 5, 100
"""Parts in the message about those that are not right, and characters of what was heard in each."""
SEVERAL_RUNS = "--redo and --max-minutes need an output file"


class Places(NamedTuple):
    """The files of a run."""

    sounds: list[Path]
    """One per candidate, the best first."""
    stages: Path | None
    default: bool = False
    """Whether neither -o nor --output-dir was given."""

    @property
    def all(self) -> list[Path]:
        """All files, with the JSON notes beside the sounds."""
        return [*self.sounds, *map(beside, self.sounds), *([self.stages] if self.stages else [])]


def places(to: Destination, count: int, seed: int, stages: Path | None = None, suffix: str = ".wav") -> Places:
    """The files for `count` candidates. Raises DifftoolError 2 for an unsupported file type."""
    paths = sounds(to, [(k, seed) for k in range(count)], suffix, [*FORMATS])
    if stages is not None and stages.suffix.lower() != ".npz":
        raise DifftoolError(Exit.USAGE, f"--save-stages writes .npz, not {stages}", "use a name that ends in .npz")
    return Places(paths, stages, default=to.output is None and to.folder is None)


def carry_out(console: Console, plan: SpeechPlan, to: Places, *, overwrite: bool) -> Result:
    """Speaks a plan of one part, writes the files and reports."""
    from ..voice.output import write
    from ..voice.speak import speak_plan

    unused(to.all, overwrite=overwrite)
    inputs = [Path(name).resolve() for name in plan.work.inputs]
    if own := next((path for path in to.all if path.resolve() in inputs), None):
        raise DifftoolError(Exit.USAGE, f"{own} is the recording itself", "choose another name for the result")
    if to.stages:
        plan.work.check_stages()
    warn_of_signs(console, plan)
    stages: dict[str, Tensor] | None = {} if to.stages else None
    with writable(*{path.parent: None for path in to.all}):
        cloned = speak_plan(plan, track=console.track, stages=stages)
        console.resume = "run it again with --overwrite"  # some of the files may exist by then
        staged = (to.stages, stages) if to.stages and stages else None
        written = write(plan, cloned, to.sounds, stages=staged)
        return report(console, plan, to, written)


def read_out(
    console: Console,
    plan: SpeechPlan,
    to: Places,
    redo: str | None,
    max_minutes: float | None,
    *,
    overwrite: bool,
) -> Result:
    """Speaks a text of several parts, resuming an earlier run, joins the parts and reports."""
    from ..voice import output
    from ..voice.reading import LIST

    if to.default and (redo is not None or max_minutes is not None):
        raise DifftoolError(Exit.USAGE, SEVERAL_RUNS, "add -o FILE")
    if to.default:
        again = f"-o {shlex.quote(str(to.sounds[0]))}"
        console.say(f"to resume after an interruption, run the same command with {again}")
        console.resume = f"run it again with {again}"
    if to.stages:
        message = f"--save-stages needs a text of one part, and this text has {len(plan.parts)}"
        raise DifftoolError(Exit.USAGE, message, "leave out --save-stages or use a shorter text")
    warn_of_signs(console, plan)
    until = None if max_minutes is None else console.began + 60 * max_minutes
    reading = output.read_plan(
        plan, to.sounds, redo=redo, overwrite=overwrite, until=until, track=console.track, run=console.run_id
    )
    result = report(console, plan, to, reading.written)
    manifest = str(reading.folder / LIST)
    data = {**result.data, "parts": reading.parts, "said_now": reading.said, "manifest": manifest}
    if not reading.joined:
        summary = [f"nothing left to do: all {reading.parts} parts are done", str(to.sounds[0])]
        return Result(data, summary, to.sounds, result.error)
    now = "" if reading.said == reading.parts else f", {reading.said} of them in this run"
    summary = [*result.summary, f"{reading.parts} parts{now}: {reading.folder}"]
    return result._replace(data=data, summary=summary)


def dry(plan: SpeechPlan, to: Places) -> Result:
    """Reports what would be done and what it needs."""
    files, folder, settings = [*plan.work.files], plan.work.folder, plan.settings
    steps = plan.steps * len(plan.parts) * (plan.verifier.tries if plan.verifier else 1)
    count = counted(len(plan.parts), "part")
    models = f"{', '.join(files)} in {folder}" if files else "no models"
    machine = f"on {settings.device} in {settings.dtype}"
    summary = [
        f"would speak {count} {_how(plan)} {machine}",
        f"needs {models} and up to {counted(steps, 'step')}",
        f"would write {to.sounds[0]}",
    ]
    if plan.verifier:
        how = f"with Whisper {settings.whisper}, and try at most {counted(plan.verifier.tries, 'candidate')} of each"
        summary.insert(1, f"would check {count} {how}")
    parts = [{"text": part.text, "pause": part.pause} for part in plan.parts]
    chapters = [{"number": k, "title": title, "parts": count} for k, title, count in _chapters(plan)]
    summary += [f"{row['number']:>5}  {row['title']} ({counted(row['parts'], 'part')})" for row in chapters]
    needs = {"networks": files, "steps": steps, "folder": str(folder) if folder else None}
    data = {"dry_run": True, "settings": plan.manifest, "needs": needs, "parts": parts}
    if plan.document is not None:
        data["chapters"] = chapters
    return Result(data | {"would_write": [*map(str, to.all)]}, summary, [])


def _chapters(plan: SpeechPlan) -> Iterator[tuple[int, str, int]]:
    """(number, title, how many parts) of each chapter of a plan's document."""
    begins = plan.chapters
    ends = [*(k for k, _ in begins[1:]), len(plan.parts)]
    titled = [(title, end - k) for (k, title), end in zip(begins, ends, strict=False)]
    before = begins[0][0] if begins else len(plan.parts)
    for chapter in plan.document.chapters if plan.document else ():
        if not chapter.title:
            yield chapter.number, "without a title", before
        elif titled and titled[0][0] == chapter.title:
            yield chapter.number, *titled.pop(0)
        else:
            yield chapter.number, chapter.title, 0


def report(console: Console, plan: SpeechPlan, to: Places, written: Written) -> Result:
    """Reports the sounds that were written."""
    best, total = written.items[0], time.monotonic() - console.began
    _warn_of_cuts(console, plan, best["parts"])
    timing = dict.fromkeys(plan.work.stages, 0.0)
    timing |= {stage: round(spent, 3) for stage, spent in written.seconds.items()}
    timing["total"] = round(total, 3)
    outputs = []
    for path, item in zip(to.sounds, written.items, strict=True):
        outputs.append({"path": str(path), "seed": plan.settings.seed, **item})
    real_time_factor = total / max(best["seconds"], 1e-3)
    data = {
        "outputs": outputs,
        "stages": str(to.stages) if to.stages else None,
        "settings": plan.manifest,
        "voices": written.manifest["voices"],
        "models": written.manifest["models"],
        "trained": written.manifest.get("trained", {}),
        "timing": timing,
        "rtf": round(real_time_factor, 3),
    }
    rows = _verified(written)
    if rows:
        data["verified"] = rows
    line = f"{best['seconds']:.1f} s of speech {_how(plan)} in {total:.1f} s"
    stages = [to.stages] if to.stages else []
    error = _misheard(rows, to) if plan.verifier else None
    return Result(data, [line, *map(str, to.sounds)], [*to.sounds, *stages], error)


def _verified(written: Written) -> list[dict[str, object]]:
    """How each part was verified, where it was."""
    rows: list[dict[str, object]] = []
    attempts = written.manifest.get("attempts", [])
    for k, check in enumerate(written.checks):
        if check:
            row: dict[str, object] = {"part": k + 1, "right": check["right"], "tries": check["tries"]}
            row |= {"attempt": attempts[k], "sample": check["sample"], "wer": check["wer"]}
            rows.append(row if check["right"] else row | {"heard": check["heard"]})
    return rows


def _misheard(rows: Sequence[Mapping[str, object]], to: Places) -> DifftoolError | None:
    """The error that names the parts of which no try was right."""
    wrong = [row for row in rows if not row["right"]]
    if not wrong:
        return None
    heard = [f"{row['part']} (heard {shorten(str(row['heard']), HEARD)!r})" for row in wrong[:SHOWN]]
    more = [f"and {', '.join(str(row['part']) for row in wrong[SHOWN:])}"] if wrong[SHOWN:] else []
    numbers = ",".join(str(row["part"]) for row in wrong)
    message = f"Whisper did not hear the text in {len(wrong)} of {counted(len(rows), 'part')} of {to.sounds[0]}"
    again = f"--redo {numbers}" if len(rows) > 1 else "--overwrite and another --seed"
    hint = f"the best try of each is kept: listen to it, or speak it again with {again}, or more --tries"
    return DifftoolError(Exit.PARTIAL, f"{message}: {', '.join([*heard, *more])}", hint)


def _warn_of_cuts(console: Console, plan: SpeechPlan, parts: Sequence[CandidateRecord]) -> None:
    cut = [str(k) for k, part in enumerate(parts, 1) if not part["stopped"]]
    if cut:
        subject = "the speech" if len(parts) == 1 else f"part {cut[0]}"
        if len(cut) > 1:
            subject = f"each of parts {', '.join(cut)}"
        console.warn(f"{subject} did not end within {plan.work.limit} and was cut off")


def _how(plan: SpeechPlan) -> str:
    trained = ", trained" if plan.work.reference.trained else ""
    return f"in the voice {plan.settings.voice}{trained} ({plan.work.summary}, seed {plan.settings.seed})"


def warn_of_signs(console: Console, plan: SpeechPlan) -> None:
    if signs := plan.work.unspoken():
        console.warn(f"characters without a pronunciation were skipped: {' '.join(signs)}")
