"""The manners of every command: loading, options that all share, errors, exit codes. No command repeats any of it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import shutil
import sys
import traceback
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from .. import processes
from ..errors import MEANING, DifftoolError, Exit, is_disk_full, is_out_of_memory, nearest
from ..files import expanded
from ..settings import MACHINE, OUTPUT, SAMPLING, TEXT, WORDS, from_typed
from ..settings import options as settings_of
from ..signals import Terminated, sigterm_raises
from . import COMMANDS, TOGETHER
from .config import apply, said, settle
from .console import Console, Result, discard
from .options import exclusive_of, parameters

Table = Mapping[str, tuple[str, str]]

MESSAGES = "Messages"
BOXES = ("", None, WORDS, TEXT, SAMPLING, OUTPUT, MACHINE)
"""Of a help, in order; None are options that stand in none of them."""
ROOMY = 100
"""Columns from which on the boxes of a help leave room for what it says."""
SHARED = {
    "json": ("--json/--no-json", "Print one JSON object and nothing else."),
    "quiet": ("--quiet/--no-quiet", "-q", "Print the paths of the results only."),
    "verbose": ("--verbose/--no-verbose", "-v", "Say more on stderr."),
    "debug": ("--debug/--no-debug", "Show a traceback with an error."),
}
"""Flags of every command: their names, and a line of help."""


def main(argv: Sequence[str] | None = None, table: Table = COMMANDS) -> int:
    """Runs a command line (default: the process's own) and returns its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    # for errors in the command line itself, which come before its flags are read
    console = Console(json=_asked("json", args), debug=_asked("debug", args))
    well = False
    processes.part()
    try:
        with sigterm_raises() as stop:
            code = _root(table).main(args, prog_name="difftool", standalone_mode=False, obj=console)
            well = True
        if code == Exit.INTERRUPTED:  # while the command line was still being read
            return console.error(_stopped(stop.code or Exit.INTERRUPTED, console))
        return code if isinstance(code, int) else Exit.DONE
    except typer.TyperException as error:
        return console.error(_usage(error))
    except DifftoolError as error:
        ended = error.code in (Exit.FAILED, Exit.FILE) and is_out_of_memory(error)
        ended |= error.code == Exit.FAILED and is_disk_full(error)
        return console.error(_unexpected(error, console) if ended else error)
    except SystemExit as ended:
        if ended.code != 1:  # shell completion
            return int(ended.code or 0)
        discard(sys.stdout)  # Typer's 1: whoever read the help has gone
        return Exit.DONE
    except Exception as error:
        told = _unexpected(error, console)
        told.__cause__ = error
        return console.error(told)
    finally:
        processes.end(well=well)
        console.release()


def entry() -> None:
    """The console script."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever called
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
        getattr(sys, name).reconfigure(encoding="utf-8", errors="surrogateescape")  # paths come out as they went in
    code = main()
    if processes.count() > 1:  # gloo's threads may abort a process that ends in the usual way
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    sys.exit(code)


class LazyGroup(typer.core.TyperGroup):
    """Commands from a table of names, of which only the one that runs is imported."""

    table: Table
    prefix = ""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        words = (name.removeprefix(self.prefix).split()[0] for name in self.table if name.startswith(self.prefix))
        return list(dict.fromkeys(words))

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        """What the list of commands shows: the name and the line of help, without the command itself."""
        name = self.prefix + cmd_name
        if name not in self.table:
            return self._group(name) if cmd_name in self.list_commands(ctx) else None
        return typer.core.TyperCommand(cmd_name, help=self.table[name][1])

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if not args and not ctx.resilient_parsing:
            known = ", ".join(self.list_commands(ctx))
            raise DifftoolError(
                Exit.USAGE, f"{ctx.command_path} needs a command: {known}", f"see {ctx.command_path} --help"
            )
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        name = _hyphens(args[0])
        known = self.list_commands(ctx)
        if name not in known:
            near = nearest(name, known)
            what = f"no such command: {ctx.command_path} {args[0]}" + (f"; did you mean {near}?" if near else "")
            raise DifftoolError(Exit.USAGE, what, f"see {ctx.command_path} --help")
        full = self.prefix + name
        ctx.obj.command = full
        if full in TOGETHER:
            with suppress(DifftoolError):  # which is told when it runs, and not by its help
                processes.join()
        return name, load(full, *self.table[full]) if full in self.table else self._group(full), args[1:]

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        super().format_help(ctx, formatter)
        codes = [(str(int(code)), meaning) for code, meaning in MEANING.items()]
        if self.rich_markup_mode is None:
            with formatter.section("Exit codes"):
                formatter.write_dl(codes)
            return
        from rich import print
        from rich.panel import Panel
        from rich.table import Table as Columns

        table = Columns.grid(padding=(0, 2))
        for row in codes:
            table.add_row(*row)
        print(Panel(table, title="Exit codes", title_align="left", border_style="dim"))

    def _group(self, name: str) -> LazyGroup:
        members = ", ".join(other.split()[-1] for other in self.table if other.startswith(f"{name} "))
        group = type(self)(name=name.split()[-1], help=f"Commands: {members}.", rich_markup_mode=self.rich_markup_mode)
        group.prefix = f"{name} "
        return group


def load(name: str, target: str, help: str) -> Any:
    """The command of a row of the table, with the options that every command has and its environment variables.

    The function behind it is called with a `Console` first and its own options after, and returns a `Result`.
    """
    module, _, attribute = target.partition(":")
    function = getattr(importlib.import_module(module), attribute)
    app = typer.Typer(add_completion=False, rich_markup_mode=_markup())
    settings = {"token_normalize_func": _hyphens, "help_option_names": ["-h", "--help"]}
    app.command(name.split()[-1], help=inspect.getdoc(function) or help, context_settings=settings)(
        _with_manners(name, function)
    )
    command = typer.main.get_command(app)
    for param in command.params:
        if param.name and isinstance(param, typer.core.TyperOption):
            spelled = [opt.lstrip("-").replace("-", "_") for opt in param.opts]
            own = param.name if param.name in spelled else spelled[0]  # --from cannot be a parameter's name
            param.show_envvar = False  # the README gives the rule once
            param.envvar = [f"DIFFTOOL_{'_'.join([*name.split(), own]).upper()}", f"DIFFTOOL_{own.upper()}"]
    return command


def _with_manners(name: str, function: Callable[..., Result]) -> Callable[..., int]:
    """`function` with the shared options in its signature, its result printed, and Ctrl-C turned into an exit code."""
    written = [_resolved(param) for param in inspect.signature(function, eval_str=True).parameters.values()][1:]
    classes: dict[str, type] = {
        param.name: param.annotation for param in written if dataclasses.is_dataclass(param.annotation)
    }  # type: ignore[assignment]
    own = _expanded(written)
    exclusive = exclusive_of(function, classes.values())

    def read_config(ctx: typer.Context, value: str | None) -> str | None:
        annotations = {**{param.name: param.annotation for param in own}, **dict.fromkeys(SHARED, bool)}
        apply(ctx, name, value, annotations, exclusive)
        return value

    def run(ctx: typer.Context, **options: Any) -> int:
        console: Console = ctx.obj
        console.configure(name, **{key: options.pop(key) for key in SHARED})
        options.pop("config")
        console.options = {*options}
        if name in TOGETHER:
            processes.join()
        options = {key: expanded(value) if isinstance(value, Path) else value for key, value in options.items()}
        if console.read:
            console.note(f"settings from {' and '.join(map(str, console.read))}")
        console.standing_folder = "output_dir" in options and said(ctx, "output_dir") in (1, 2)
        try:
            said_options = settle(ctx, options, exclusive)
            for key, settings in classes.items():
                fields = {field: said_options.pop(field) for field in settings_of(settings)}
                said_options[key] = from_typed(settings, fields)
            result = function(console, **said_options)
        except KeyboardInterrupt as error:
            code = Exit.TERMINATED if isinstance(error, Terminated) else Exit.INTERRUPTED
            raise _stopped(code, console) from error
        console.result(result)
        return Exit.DONE

    config = typer.Option(
        "--config", help="A TOML file with a table for each command.", is_eager=True, callback=read_config
    )
    shared: dict[str, tuple[Any, Any, Any]] = {
        key: (bool, False, typer.Option(*names, help=line, show_default=False, rich_help_panel=MESSAGES))
        for key, (*names, line) in SHARED.items()
    }
    shared["config"] = (str | None, None, config)
    added = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
        for key, (kind, default, option) in shared.items()
    ]
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    own = [param.replace(kind=inspect.Parameter.KEYWORD_ONLY) for param in own]
    run.__signature__ = inspect.Signature([context, *own, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {param.name: param.annotation for param in (context, *own, *added)}
    return run


def _resolved(param: inspect.Parameter) -> inspect.Parameter:
    """A parameter, with the class of settings in the place of a function that its annotation names to make it."""
    makers = [part for part in typing.get_args(param.annotation)[1:] if inspect.isfunction(part)]
    return param.replace(annotation=makers[0]()) if makers else param


def _expanded(params: Sequence[inspect.Parameter]) -> list[inspect.Parameter]:
    """The parameters of a command, with one for each setting in the place of a class of settings; in the order of the
    boxes of the help."""
    own: list[inspect.Parameter] = []
    for param in params:
        annotation: Any = param.annotation
        own += (
            parameters(annotation) if isinstance(annotation, type) and dataclasses.is_dataclass(annotation) else [param]
        )
    return sorted(own, key=lambda param: BOXES.index(_box(param)))


def _box(param: inspect.Parameter) -> str | None:
    """The box of the help in which a parameter stands; "" for arguments, which come first."""
    described = typing.get_args(param.annotation)[-1] if typing.get_args(param.annotation) else None
    if isinstance(described, typer.models.ArgumentInfo):
        return ""
    panel = getattr(described, "rich_help_panel", None)
    return panel if panel in BOXES else None


def _root(table: Table) -> Any:
    group = type("Commands", (LazyGroup,), {"table": table})
    app = typer.Typer(
        cls=group,
        rich_markup_mode=_markup(),
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def difftool(
        version: Annotated[
            bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
        ] = False,
    ):
        """Diffusion models at home: train one on your own pictures and sample it, on one engine."""

    return typer.main.get_command(app)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"difftool {version('difftool')}")
        raise typer.Exit()


def _asked(flag: str, args: Sequence[str]) -> bool:
    """Whether a flag of every command is on, by the command line or else the environment."""
    said = [arg for arg in args if arg in (f"--{flag}", f"--no-{flag}")]
    if said:
        return said[-1] == f"--{flag}"
    return os.environ.get(f"DIFFTOOL_{flag.upper()}", "").lower() in ("1", "true", "t", "yes", "y", "on")


def _stopped(code: Exit, console: Console) -> DifftoolError:
    return DifftoolError(code, code.name.lower(), console.resume)


def _markup() -> Any:
    """Rich's boxes for a person at a terminal that has room for them, plain text for narrow ones, files, pipes and cron
    mail."""
    return "rich" if sys.stdout.isatty() and shutil.get_terminal_size().columns >= ROOMY else None


def _hyphens(token: str) -> str:
    return token.replace("_", "-")


def _usage(error: typer.TyperException) -> DifftoolError:
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "difftool"
    return DifftoolError(Exit.USAGE, " ".join(error.format_message().split()), f"see {path} --help")


def _unexpected(error: Exception, console: Console) -> DifftoolError:
    """What the system or a library raised, as far as a user can do something about it."""
    if is_out_of_memory(error):
        if not console.debug:
            traceback.clear_frames(error.__traceback__)  # so that there is some to say it with
        smaller = "try a smaller --batch-size" if "batch_size" in console.options else "close other programs"
        return DifftoolError(Exit.MEMORY, "out of memory", f"{smaller}, or take a machine with more memory")
    if is_disk_full(error):
        where = getattr(error, "filename", None)
        what = "the disk is full" + (f": {where}" if where else "")
        return DifftoolError(Exit.FAILED, what, f"make room and {console.resume}")
    if isinstance(error, OSError) and error.filename is not None:
        return DifftoolError(Exit.FILE, f"{error.filename}: {error.strerror}", "check the path and its rights")
    first = (str(error).splitlines() or [""])[0]
    return DifftoolError(
        Exit.FAILED, f"{type(error).__name__}: {first}", "run it again with --debug and report what it prints"
    )
