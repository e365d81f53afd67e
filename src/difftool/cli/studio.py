from __future__ import annotations

import io
import json
import os
import re
import secrets
import shlex
import socket
import time
import webbrowser
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DifftoolError, Exit
from ..files import lock
from ..progress import Step
from ..settings import OUTPUT
from .app import check, main
from .console import Console, Result

if TYPE_CHECKING:
    from ..web.shapes import News, Outcome, Progress

LEAST_TOKEN = 16
"""Characters."""
EVERY = 0.2
"""Seconds between two reports of progress."""
PRELOAD = (
    *("difftool.cli.app", "difftool.cli.sample", "difftool.cli.txt2img", "difftool.cli.voice_clone"),
    *("difftool.cli.rerun", "difftool.pixels.draw", "difftool.pixels.write", "difftool.voice.speak"),
    *("difftool.voice.prep.audition", "difftool.voice.output"),
    *("difftool.text2img.draw", "difftool.text2img.batch", "difftool.text2img.loading", "difftool.text2img.lora"),
    *("diffusers.models.unets.unet_2d_condition", "diffusers.models.autoencoders.autoencoder_kl"),
    *("transformers.models.clip.modeling_clip", "difftool.voice.engines.mini.work", "ffmpeg"),
    *("difftool.voice.engines.mini.synthesis", "difftool.voice.engines.mini.networks", "torch._dynamo"),
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
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            help="Token that every request must have; by default, with --host a new one.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    tls: Annotated[
        bool,
        typer.Option(
            "--tls/--no-tls",
            help="Serve https with a certificate made on the spot: browsers allow microphones on https and on this "
            "machine only.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    open_page: Annotated[
        bool,
        typer.Option(
            "--open/--no-open", help="Open the page in the browser.", rich_help_panel=OUTPUT, show_default=False
        ),
    ] = False,
) -> Result:
    """Open a page in the browser: record a voice, speak with it, and draw.

    Results lie in the outputs folder, as those of the commands do. Ctrl-C ends the studio; jobs that are waiting go on
    when it is started again in the same folder. The page and its API need no network.

    Examples:

    difftool studio --open

    difftool studio --host 0.0.0.0 --tls
    """
    from ..web.commands import CommandLine
    from ..web.guard import access, is_loopback
    from ..web.server import listening, serve
    from ..web.studio import FOLDER, Studio

    if token is not None and (len(token) < LEAST_TOKEN or not re.fullmatch(r"[A-Za-z0-9._~-]+", token)):
        message = f"--token must have at least {LEAST_TOKEN} letters, digits or any of . _ ~ -"
        raise DifftoolError(Exit.USAGE, message, "leave it out for a new one")
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    # libraries ask for a GPU when they are imported; CUDA itself, once asked, cannot be used after a fork
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    root = Path.cwd()
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        taken = stack.enter_context(listening(host, port))
        stack.enter_context(lock(root / FOLDER))
        files = _certificate(root / FOLDER / "tls", host) if tls else None
        hint = None if tls or is_loopback(host) else shlex.join(["difftool", "studio", "--host", host, "--tls"])
        line = CommandLine(run_line, check, device, PRELOAD)
        served = Studio(root, line, access(host, token, is_tls=tls), hint)
        open_until = stack.pop_all()
    address = address_of(host, taken.getsockname()[1], token, is_tls=tls)

    def run() -> None:
        if open_page:
            webbrowser.open(address)
        with open_until, suppress(KeyboardInterrupt):  # which is how it ends
            serve(served, taken, files)
        _end_all()
        console.note("stopped; jobs that are waiting go on when the studio is started here again")

    data = {"url": address, "host": host, "port": taken.getsockname()[1], "tls": tls}
    return Result(data, [f"the studio is open at {address}; Ctrl-C ends it"], [address], after=run)


def _end_all() -> None:
    """Ends the processes that are left, such as the one that imports for later jobs."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()


def _certificate(folder: Path, host: str) -> tuple[Path, Path]:
    from ..web.tls import certificate, names_of

    return certificate(folder, names_of(host))


def address_of(host: str, port: int, token: str | None, *, is_tls: bool) -> str:
    """The address of the page; the token is behind the #, which browsers do not send."""
    from ..web.tls import own_address

    name = own_address() or socket.gethostname() if host in ("0.0.0.0", "::") else host
    if ":" in name:
        name = f"[{name.strip('[]')}]"
    return f"{'https' if is_tls else 'http'}://{name}:{port}/{f'#token={token}' if token else ''}"


def device() -> str:
    """What commands run on by default, in words."""
    import torch

    from ..device import choose

    chosen, _ = choose()
    return "CPU" if chosen.type == "cpu" else torch.cuda.get_device_name(chosen)


def run_line(argv: Sequence[str], run_id: str, report: Callable[[News], None]) -> Outcome:
    """Runs a command line as the console script does; returns its exit code and the JSON object that it printed."""
    console = JobConsole(run_id, report)
    with redirect_stdout(io.StringIO()) as out:
        code = main(argv, console=console)
    lines = out.getvalue().splitlines()
    return {"code": int(code), "result": json.loads(lines[-1]) if lines else None}


class JobConsole(Console):
    """The console of a job, which reports progress to the page."""

    def __init__(self, run_id: str, report: Callable[[News], None]) -> None:
        super().__init__(json=True)
        self.run_id, self.report = run_id, report

    def track(self, items: Iterable[Any], total: int, what: str = "") -> Iterator[Any]:
        began = time.monotonic()
        reported = 0.0
        for done, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            if now - reported < EVERY and done < total:
                continue
            reported = now
            left = round((now - began) / done * (total - done), 1)
            progress: Progress = {"done": done, "total": total, "label": what or self.command, "seconds_left": left}
            draw = item.preview if isinstance(item, Step) else None
            self.report({"progress": progress, "preview": None if draw is None else _png(draw())})


def _png(pixels: Any) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(data, "PNG")
    return data.getvalue()
