from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..errors import DifftoolError, Exit
from ..files import expanded, read_text, unused, writable
from ..settings import OUTPUT, TEXT
from ..voice.judging.settings import Settings
from .console import Console, Line, Result
from .options import Open, Overwrite, one_of_each
from .viewer import open_page


@one_of_each(("text", "textfile"))
def judge(
    console: Console,
    settings: Settings,
    sources: Annotated[list[str], typer.Argument(metavar="FILE...", help="Audio or video files, or folders of them.")],
    textfile: Annotated[
        str | None,
        typer.Option("--textfile", metavar="FILE", help="File with the text; - for stdin.", rich_help_panel=TEXT),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="FILE.html", help="Also write a page that plays the recordings.", rich_help_panel=OUTPUT
        ),
    ] = None,
    overwrite: Overwrite = False,
    open_report: Open = False,
) -> Result:
    """Judge speech: which words are heard, whose voice it is, and how it sounds.

    Speech made by difftool is compared with the text and the voice in its manifest, unless others are given.

    Words are those that Whisper hears, if it is installed. A voice is compared by a speaker encoder: 1 is the same, the
    voice's own clips and the other voices in the library are the scale.

    Examples:

    difftool voice judge speech.wav --voice me --text "It is late, and nobody is at home."

    difftool voice judge outputs/ --report judged.html
    """
    if open_report and report is None:
        raise DifftoolError(Exit.USAGE, "--open needs a page", "add --report FILE.html")
    page = _page(report, overwrite=overwrite)
    if textfile is not None:
        text = read_text(None if textfile == "-" else expanded(textfile))
        if not text.strip():
            source = "the text from stdin" if textfile == "-" else textfile
            raise DifftoolError(Exit.USAGE, f"{source} is empty", "leave it out, or pass what is spoken")
        settings = replace(settings, text=text)
    from ..voice.judging import report as reports
    from ..voice.judging.judge import perform, plan_judging

    plan = plan_judging(sources, settings)
    with writable(*[page.parent] if page else [], option="--report"):
        judged = perform(plan, console.track)
        if page:
            reports.write(page, judged)
    lines: list[Line] = []
    for judgement in judged.judgements:
        for warning in judgement.warnings:
            console.warn(f"{judgement.path}: {warning}")
        lines += [reports.heading(judgement), *(f"  {label:10} {value}" for label, value in reports.rows_of(judgement))]
    data: dict[str, object] = {
        "files": [reports.as_json(judgement) for judgement in judged.judgements],
        "failed": {str(path): error.message for path, error in judged.failed.items()},
    }
    paths = [judgement.path for judgement in judged.judgements]
    if page:
        data["report"] = str(page)
        lines.append(str(page))
        paths = [page]
    error = None
    if judged.failed:
        error = DifftoolError(Exit.PARTIAL, reports.partial(judged), "pass intact recordings of speech")
    result = Result(data, lines, paths, error)
    return result._replace(after=partial(open_page, console, page)) if open_report and page else result


def _page(report: Path | None, *, overwrite: bool) -> Path | None:
    """The file of the page. Raises DifftoolError 2 for another suffix, 4 where it exists already."""
    if report is None:
        return None
    page = expanded(report)
    if page.suffix.lower() not in (".html", ".htm"):
        raise DifftoolError(Exit.USAGE, f"--report writes HTML, not {page.name}", "use a name that ends in .html")
    unused([page], overwrite=overwrite)
    return page
