"""Jobs: what was asked for, how far it is, and what came of it. Each is a JSON file of the state folder."""

from __future__ import annotations

import dataclasses
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from ..audio.files import FORMATS
from ..errors import DifftoolError, Exit
from ..files import TEMPORARY, default_dir, read_json, write_json
from .commands import Line
from .errors import shareable
from .shapes import Again, Failure, MadeVoice, Outcome, Output, Progress, Settings, ShownJob

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
UNFINISHED = (QUEUED, RUNNING)
ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")
MOST_KEPT = 1000
"""Ended jobs that are remembered."""
MOST_TRIES = 3
"""How often a job is started that ends the studio each time."""
SILENT = "it failed without a message"
ENDED = f"the studio ended {MOST_TRIES} times while this job ran"


@dataclass
class Job:
    """A job of the queue."""

    id: str
    kind: str
    settings: Settings
    line: Line
    created: str
    state: str = QUEUED
    started: str | None = None
    ended: str | None = None
    tries: int = 0
    """How often it was started."""
    outputs: list[Output] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: Failure | None = None
    rerun: Again | None = None
    """Of a job that repeats another one: its ID, and when it is done, whether the results are identical."""
    voice: MadeVoice | None = None
    progress: Progress | None = None
    preview: str | None = None
    """Where the picture is that is being drawn."""

    @property
    def folder(self) -> Path | None:
        """The folder of its files, in that of the studio; a voice has none."""
        command = " ".join(self.line.command)
        return None if command == "voice prep" else default_dir(command, self.id)

    @property
    def argv(self) -> list[str]:
        """The words of the command that is run. One that was killed may have left files, which are the same."""
        if self.folder is None:
            return self.line.words("--json")
        again = ["--overwrite"] if self.tries > 1 else []
        return self.line.words("--json", f"--output-dir={self.folder}", *again)

    def file(self, root: Path, name: str) -> Path | None:
        """The path of one of its files: an output, or the manifest beside it."""
        names = {output["name"] for output in self.outputs}
        names |= {str(Path(output["name"]).with_suffix(".json")) for output in self.outputs}
        if self.folder is None or name not in names:
            return None
        path = root / self.folder / name
        is_own = path.is_file() and path.resolve().parent == path.parent.resolve()  # no link to another place
        return path if is_own else None

    def shown(self, position: int | None = None) -> ShownJob:
        """As the API shows it."""
        return {
            "id": self.id,
            "kind": self.kind,
            "settings": self.settings,
            "created": self.created,
            "state": self.state,
            "started": self.started,
            "ended": self.ended,
            "position": position,
            "progress": self.progress,
            "preview": self.preview,
            "outputs": self.outputs,
            "warnings": self.warnings,
            "error": self.error,
            "rerun": self.rerun,
            "voice": self.voice,
            "command": self.line.typed,
        }

    def finish(self, outcome: Outcome) -> None:
        """Takes over what its command returned: the exit code, and the JSON object that it printed."""
        result = outcome["result"] or {"data": None, "warnings": [], "error": None}
        data = result["data"] or {}
        self.state = FAILED if result["error"] or outcome["code"] else DONE
        if self.state == FAILED:
            error = result["error"] or {"code": outcome["code"], "message": SILENT, "hint": "try it again"}
            message, hint = shareable(error["message"]), shareable(error["hint"])
            self.error = {"code": error["code"], "message": message, "hint": hint}
        self.warnings += map(shareable, result["warnings"])
        self.outputs = outcome.get("outputs", [])
        if self.rerun is not None and "identical" in data:
            self.rerun["identical"] = bool(data["identical"])
        grade = data.get("grade")
        if isinstance(grade, Mapping):
            self.voice = {"name": str(data["voice"]), "grade": grade["letter"], "reasons": grade["actions"]}
        self.end()

    def end(self, state: str | None = None) -> None:
        self.state, self.ended = state or self.state, now()
        self.progress = self.preview = None


def outputs_of(data: Mapping[str, object], name: str) -> Iterator[Output]:
    """The files in the result of the command of a job, the grid last. Called in the folder of the studio."""
    rows = data.get("outputs")
    listed = [dict(row) for row in rows if Path(row["path"]).is_file()] if isinstance(rows, list) else []
    if data.get("grid"):
        listed.append({"path": data["grid"], "seed": None})
    for row in listed:
        path = Path(row["path"])
        kind = "sound" if path.suffix in FORMATS else "picture"
        output: Output = {"name": path.name, "url": f"/api/jobs/{name}/files/{path.name}", "kind": kind}
        if path.suffix == ".png":
            row |= _size(path)
        for key in ("seed", "seconds", "width", "height", "label"):
            if key in row:
                output[key] = row[key]
        yield output


def _size(path: Path) -> dict[str, int]:
    """The width and height of a PNG, from its first bytes."""
    with path.open("rb") as file:
        width, height = struct.unpack(">16xII", file.read(24).ljust(24, b"\0"))
    return {"width": width, "height": height}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Records:
    """The jobs on disk. IDs sort by time, and are those of runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(TEMPORARY):
            left.unlink()
        self._last = max(self.ids(), default="")

    def new_id(self) -> str:
        """An ID after all others, also if the clock was set back."""
        when = datetime.now(UTC)
        with suppress(ValueError, OverflowError):  # no ID yet, or one that is no time
            seconds, _, micros = self._last.partition("-")
            last = datetime.strptime(seconds, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            last += timedelta(microseconds=min(int(micros[:5], 16), 999_999) + 1)
            when = max(when, last)
        # microseconds in hexadecimal have five digits
        self._last = f"{when:%Y%m%dT%H%M%SZ}-{when.microsecond:05x}0"
        return self._last

    def ids(self) -> list[str]:
        """The IDs of all jobs, the newest first."""
        return sorted((path.stem for path in self.folder.glob("*.json") if ID.fullmatch(path.stem)), reverse=True)

    def save(self, job: Job) -> None:
        fields = dataclasses.asdict(job)
        del fields["progress"], fields["preview"]
        write_json(self._path(job.id), fields)

    def load(self, name: str) -> Job | None:
        """The job of that ID; None where there is none, or its file is damaged."""
        if not ID.fullmatch(name):
            return None
        with suppress(DifftoolError, TypeError, KeyError):
            fields = read_json(self._path(name))
            return Job(**{**fields, "line": Line(*map(tuple, fields["line"]))})
        return None

    def remove(self, name: str) -> None:
        for path in (self._path(name), self.outcome(name), self.log(name)):
            path.unlink(missing_ok=True)

    def forget_old(self) -> None:
        """Removes the oldest jobs beyond those that are kept; their results stay."""
        for name in self.ids()[MOST_KEPT:]:
            job = self.load(name)
            if job is None or job.state not in UNFINISHED:
                self.remove(name)

    def unfinished(self) -> list[Job]:
        """The jobs to go on with, the oldest first. One that ended while nobody listened is done."""
        jobs = [job for name in reversed(self.ids()) if (job := self.load(name)) and job.state in UNFINISHED]
        left = []
        for job in jobs:
            try:
                job.finish(cast(Outcome, read_json(self.outcome(job.id))))
            except (DifftoolError, KeyError, TypeError):  # there is none, or it is damaged
                self._resume(job)
            if job.state == QUEUED:
                left.append(job)
            self.save(job)
            self.outcome(job.id).unlink(missing_ok=True)
        return left

    def _resume(self, job: Job) -> None:
        """Puts a job into the queue again, unless it was started often enough."""
        if job.tries >= MOST_TRIES:
            job.error = {"code": int(Exit.FAILED), "message": ENDED, "hint": "try it on a machine with more memory"}
            job.end(FAILED)
        else:
            job.state = QUEUED

    def outcome(self, name: str) -> Path:
        """The file in which the process of a job leaves what its command returned."""
        return self.folder / f"{name}.outcome"

    def log(self, name: str) -> Path:
        """What the command wrote to stderr."""
        return self.folder / f"{name}.log"

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"
