"""The queue of jobs: one runs at a time, in the order in which they came, also after the server was killed."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DifftoolError, Exit
from ..files import write_json
from .commands import CommandLine, Line, Run
from .events import Events
from .jobs import CANCELLED, FAILED, QUEUED, RUNNING, Job, Records, now, outputs_of
from .processes import GRACE, Child, Nursery
from .shapes import Failure, News, Outcome, Settings, ShownJob

log = logging.getLogger(__name__)

MOST_WAITING = 200


class Preview(NamedTuple):
    """What a job draws, as a PNG."""

    id: str
    data: bytes


class Queue:
    """Jobs that wait, and the one that runs."""

    def __init__(self, root: Path, records: Records, commands: CommandLine, nursery: Nursery, events: Events) -> None:
        self.root, self.records, self.events = root, records, events
        self._commands, self._nursery = commands, nursery
        self._jobs = {job.id: job for job in records.unfinished()}
        self._unsaved: dict[str, Job] = {}
        self._wake, self._ended = asyncio.Event(), asyncio.Event()
        self._running: Child | None = None
        self.preview: Preview | None = None

    def submit(self, kind: str, settings: Settings, line: Line, **more: Any) -> Job:
        """Adds a job. Raises DifftoolError 2 for a command line that cannot be read, 75 if too many wait."""
        if len(self._jobs) >= MOST_WAITING:
            raise DifftoolError(Exit.LATER, f"{MOST_WAITING} jobs are waiting", "wait until some are done")
        self._commands.check(line.words())
        job = Job(self.records.new_id(), kind, dict(settings), line, now(), **more)
        self.records.save(job)
        self._jobs[job.id] = job
        self._changed(job)
        self._wake.set()
        return job

    def find(self, name: str) -> Job | None:
        return self._jobs.get(name) or self._unsaved.get(name) or self.records.load(name)

    def shown(self, job: Job) -> ShownJob:
        """A job for the API, with its place in the queue."""
        return job.shown(self._waiting().index(job) + 1 if job.state == QUEUED and job.id in self._jobs else None)

    def newest(self, limit: int) -> list[Job]:
        return [job for name in self.records.ids()[:limit] if (job := self.find(name))]

    def unfinished(self) -> list[Job]:
        return [*self._jobs.values()]

    def needs(self, recording: str) -> bool:
        """Whether a voice is to be made of a recording."""
        named = (job.settings.get(place) or [] for job in self._jobs.values() for place in ("takes", "uploads"))
        return any(recording in names for names in named if isinstance(names, list))

    def cancel(self, job: Job) -> None:
        """Cancels a job that has not ended, and forgets one that has; its files stay."""
        if job.id not in self._jobs:
            self._unsaved.pop(job.id, None)
            self.records.remove(job.id)
        elif job.state == RUNNING and self._running is not None:
            child, job.state = self._running, CANCELLED
            self._changed(job)
            child.stop(signal.SIGINT)
            asyncio.get_running_loop().call_later(GRACE, child.stop, signal.SIGKILL)
        elif job.state == QUEUED:
            self._end(job, CANCELLED)
            self._moved()

    async def ended(self, job: Job) -> Job:
        """The job, when it has ended."""
        while job.id in self._jobs:
            await self._ended.wait()
        return job

    async def work(self) -> None:
        """Carries out the jobs, until it is cancelled."""
        while True:
            if not (waiting := self._waiting()):
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._carry_out(waiting[0])

    async def _carry_out(self, job: Job) -> None:
        job.state, job.started, job.tries = RUNNING, now(), job.tries + 1
        self._changed(job)
        self._moved()

        def heard(news: News) -> None:
            if job.state == RUNNING:
                job.progress = news["progress"]
                if news["preview"] is not None:
                    self.preview = Preview(job.id, news["preview"])
                    job.preview = f"/api/jobs/{job.id}/preview?step={news['progress']['done']}"
                self.events.publish(self.shown(job))

        try:
            self._running = self._nursery.child(perform, self._commands.run, job.argv, job.id, self.root, self.records)
            outcome = await self._running.result(heard)
        except DifftoolError as error:
            outcome = failed(error)
        except Exception as error:  # such as too many open files; the queue goes on
            log.error("the job %s could not be started: %s", job.id, error, exc_info=error)
            outcome = failed(DifftoolError(Exit.FAILED, "the job could not be started", "try it again"))
        finally:
            self._running = self.preview = None
        if job.state == RUNNING:  # not cancelled
            job.finish(outcome)
        self._end(job, job.state)

    def _end(self, job: Job, state: str) -> None:
        if job.ended is None:
            job.end(state)
        self._keep(job)
        with suppress(OSError):  # the folder may be read-only by now
            self.records.outcome(job.id).unlink(missing_ok=True)
            if state != FAILED:
                self.records.log(job.id).unlink(missing_ok=True)
            self.records.forget_old()
        del self._jobs[job.id]
        self.events.publish(self.shown(job))
        self._ended.set()
        self._ended = asyncio.Event()

    def _changed(self, job: Job) -> None:
        self._keep(job)
        self.events.publish(self.shown(job))

    def _moved(self) -> None:
        """Tells of the new places of jobs that wait."""
        for job in self._waiting():
            self.events.publish(self.shown(job))

    def _keep(self, job: Job) -> None:
        """Writes a job to disk, and those for which there was no room before; the queue goes on where that is full."""
        self._unsaved[job.id] = job
        try:
            for name, unsaved in [*self._unsaved.items()]:
                self.records.save(unsaved)
                del self._unsaved[name]
        except OSError as error:
            log.error("the job %s cannot be saved: %s", job.id, error.strerror)

    def _waiting(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.state == QUEUED]

    def close(self) -> None:
        """Stops the job that runs; it is run again when the studio starts again, however often."""
        for job in self._jobs.values():
            if job.state == RUNNING:
                job.tries = max(1, job.tries - 1)
                self._keep(job)
        if self._running is not None:
            self._running.stop(signal.SIGKILL)


def failed(error: DifftoolError) -> Outcome:
    """The outcome of a command that could not report its end."""
    described: Failure = {"code": int(error.code), "message": error.message, "hint": error.hint}
    return {"code": int(error.code), "result": {"data": None, "warnings": [], "error": described}}


def perform(
    report: Callable[[Any], None], run: Run, argv: Sequence[str], name: str, root: Path, records: Records
) -> Outcome:
    """Runs a job in this process, which is its own, and stores the outcome before anybody hears of it. After the server
    was killed, the process of the job before may live for a moment: this one waits for it."""
    os.chdir(root)
    with (records.folder / "worker.lock").open("w") as lock, records.log(name).open("w") as log:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)
        outcome = run(argv, name, report)
        if outcome["result"] and argv[:2] != ["voice", "prep"]:
            outcome["outputs"] = [*outputs_of(outcome["result"]["data"] or {}, name)]
        if outcome["code"] not in (Exit.INTERRUPTED, Exit.TERMINATED):
            write_json(records.outcome(name), outcome)
        return outcome
