from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from ..files import lock
from ..settings import OUTPUT
from .app import check, main
from .console import Console, Result
from .options import Open

EVERY = 0.1
"""Seconds between two reports of progress."""
PRELOAD = (
    *("difftool.cli.app", "difftool.cli.sample", "difftool.cli.txt2img", "difftool.cli.voice_clone"),
    *("difftool.cli.rerun", "difftool.pixels.draw", "difftool.pixels.write", "difftool.voice.speak"),
    *("difftool.voice.output", "difftool.voice.engines.mini.synthesis", "difftool.voice.engines.mini.networks"),
)
"""Modules that most jobs import, which are imported once for all."""


def studio(
    console: Console,
    port: Annotated[
        int, typer.Option("--port", help="Port; 0 is any free one.", min=0, max=65535, rich_help_panel=OUTPUT)
    ] = 7860,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 is the whole network.", rich_help_panel=OUTPUT)
    ] = "127.0.0.1",
    open_page: Open = False,
) -> Result:
    """Open a page in the browser: record a voice, speak with it, and draw.

    Results lie in the outputs folder, as those of the commands do. Ctrl-C ends the studio; jobs that are waiting go on
    when it is started again in the same folder.
    """
    from ..web.app import Studio
    from ..web.commands import CommandLine
    from ..web.server import listening, serve

    root = Path.cwd()
    taken = listening(host, port)
    address = f"http://{host}:{taken.getsockname()[1]}/"

    state = root / "outputs" / ".studio"
    state.mkdir(parents=True, exist_ok=True)
    locked = ExitStack()
    locked.enter_context(lock(state))
    served = Studio(root, CommandLine(run_line, check, PRELOAD))

    def run() -> None:
        with locked, suppress(KeyboardInterrupt):  # which is how it ends
            serve(served, taken)
        console.note("stopped; jobs that are waiting go on when the studio is started again here")

    data = {"url": address}
    return Result(data, [address], [address], after=run)


def run_line(argv: Sequence[str], run_id: str, report: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    """Runs a command line as the console script does; returns its exit code and the JSON object that it printed."""
    console = JobConsole(run_id, report)
    with redirect_stdout(io.StringIO()) as out:
        code = main(argv, console=console)
    lines = out.getvalue().splitlines()
    return {"code": int(code), "result": json.loads(lines[-1]) if lines else None}


class JobConsole(Console):
    """The console of a job, which reports progress to the page."""

    def __init__(self, run_id: str, report: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__(json=True)
        self.run_id, self.report = run_id, report

    def track(self, items: Iterable[Any], total: int, what: str = "") -> Iterator[Any]:
        began = time.monotonic()
        told = 0.0
        for done, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            if now - told >= EVERY or done == total:
                told = now
                left = (now - began) / done * (total - done)
                self.report(
                    {"done": done, "total": total, "label": what or self.command, "seconds_left": round(left, 1)}
                )
