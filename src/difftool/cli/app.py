"""What all commands share: loading, common options, errors and exit codes."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import re
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
from ..settings import MACHINE, OUTPUT, SAMPLING, SOUND, TEXT, WORDS, check_required, from_typed, key_of
from ..settings import options as settings_of
from ..signals import Terminated, sigterm_raises
from . import COMMANDS, GROUPS, LOADING, TOGETHER, help
from .config import RANKS, apply, said, settle
from .console import Console, Result, discard
from .options import KEYWORD, exclusive_of, parameters

Table = Mapping[str, tuple[str, str]]

HELP = "help"
"""`difftool help CMD` is `difftool CMD --help`."""
MESSAGES = "Global options"
BOXES = ("", None, WORDS, TEXT, SAMPLING, SOUND, OUTPUT, MACHINE)
"""Panels of the help, in order; "" is for arguments, None for options without a panel."""
ROOMY = 100
"""Minimum terminal width, in columns, for help in Rich panels."""
SHARED = {
    "json": ("--json/--no-json", "Print the result as one JSON object."),
    "quiet": ("--quiet/--no-quiet", "-q", "Print only the paths of the results."),
    "verbose": ("--verbose/--no-verbose", "-v", "Log more to stderr."),
    "debug": ("--debug/--no-debug", "Show a traceback on errors."),
}
"""Flags of every command: their names and one line of help."""


def main(argv: Sequence[str] | None = None, table: Table = COMMANDS, console: Console | None = None) -> int:
    """Runs a command line (default: `sys.argv`) and returns its exit code; `console` is where it prints."""
    args = list(sys.argv[1:] if argv is None else argv)
    if console is None:
        # for errors in the command line itself, which come before its flags are read
        console = Console(json=_asked("json", args), debug=_asked("debug", args))
    succeeded = False
    processes.part()
    try:
        with sigterm_raises() as stop:
            code = root(table).main(args, prog_name="difftool", standalone_mode=False, obj=console)
            succeeded = True
        if code == Exit.INTERRUPTED:  # while the command line was still being read
            return console.error(_stopped(stop.code or Exit.INTERRUPTED, console))
        return code if isinstance(code, int) else Exit.DONE
    except typer.TyperException as error:
        return console.error(_usage(error))
    except DifftoolError as error:
        exhausted = error.code in (Exit.FAILED, Exit.FILE) and is_out_of_memory(error)
        exhausted |= error.code == Exit.FAILED and is_disk_full(error)
        return console.error(_unexpected(error, console) if exhausted else error)
    except SystemExit as error:
        if error.code != 1:  # shell completion
            return int(error.code or 0)
        discard(sys.stdout)  # Typer's 1: the reader of the help has closed the pipe
        return Exit.DONE
    except Exception as error:
        wrapped = _unexpected(error, console)
        wrapped.__cause__ = error
        return console.error(wrapped)
    finally:
        processes.end(well=succeeded)
        console.release()


def check(argv: Sequence[str]) -> None:
    """Reads a command line without running it. Raises DifftoolError 2 as `main` would report it."""
    name = next(name for name in COMMANDS if [*argv[: len(name.split())]] == name.split())
    args = [*argv[len(name.split()) :]]
    try:
        load(name, *COMMANDS[name]).make_context(f"difftool {name}", args, obj=Console())
    except typer.TyperException as error:
        raise _usage(error) from error


def entry() -> None:
    """The console script."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
        getattr(sys, name).reconfigure(encoding="utf-8", errors="surrogateescape")  # keeps paths that are not UTF-8
    if "_DIFFTOOL_COMPLETE" in os.environ:
        discard(sys.stderr)  # a shell that completes would show it in the middle of the line
    code = main()
    if processes.count() > 1:  # gloo's threads may abort a normal interpreter shutdown
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    sys.exit(code)


class LazyGroup(typer.core.TyperGroup):
    """A group of commands from a table; only the command that runs is imported."""

    table: Table
    prefix = ""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        members = [name.removeprefix(self.prefix) for name in self.table if name.startswith(self.prefix)]
        first_words = (member.split()[0] for member in members)
        return list(dict.fromkeys([*first_words, *([] if self.prefix else [HELP])]))

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        """A stub with the name and the line of help, for the list of commands; the module is not imported."""
        name = self.prefix + cmd_name
        if name == HELP:
            return typer.core.TyperCommand(HELP, help="Print the help of a command.")
        if name not in self.table:
            return self._group(name) if cmd_name in self.list_commands(ctx) else None
        return typer.core.TyperCommand(cmd_name, help=self.table[name][1])

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        while args[:1] == [HELP] and not self.prefix:
            args = args[1:] if ctx.resilient_parsing else [*args[1:], "--help"]
        if not args and not ctx.resilient_parsing:
            args = ["--help"]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        name = _hyphens(args[0])
        if name not in self.list_commands(ctx):
            if ctx.resilient_parsing:
                return None, None, []
            message = f"no such command: {ctx.command_path} {args[0]}"
            if meant := self._meant(ctx, name):
                message += f"; did you mean {meant}?"
            raise DifftoolError(Exit.USAGE, message, f"see {ctx.command_path} --help")
        full = self.prefix + name
        ctx.obj.command = full
        if full in TOGETHER and not ctx.resilient_parsing:
            with suppress(DifftoolError):  # raised again when the command runs; --help must not fail
                processes.join()
        command = load(full, *self.table[full]) if full in self.table else self._group(full)
        return name, command, args[1:]

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        commands = [(name, self.get_command(ctx, name).help) for name in self.list_commands(ctx)]
        codes = [(str(int(code)), meaning) for code, meaning in MEANING.items()]
        sections = {**help.params_of(self, ctx), "Commands": commands, "Exit codes": codes}
        help.write(self, ctx, formatter, sections)

    def _meant(self, ctx: typer.Context, name: str) -> str | None:
        """The command that a wrong name may stand for, here or in another group."""
        elsewhere = [f"difftool {command}" for command in self.table if command.split()[1:] == [name]]
        near = nearest(name, self.list_commands(ctx))
        if elsewhere and (near is None or not self.prefix):
            return " or ".join(elsewhere)
        return near

    def _group(self, name: str) -> LazyGroup:
        group = type(self)(name=name.split()[-1], help=GROUPS.get(name, ""), rich_markup_mode=self.rich_markup_mode)
        group.prefix = f"{name} "
        return group


def load(name: str, target: str, line: str) -> Any:
    """Imports a command of the table and adds the common options and the environment variables.

    name: the command as typed; target: "module:function"; line: its line of help, if the function has no docstring.
    The function takes a `Console`, then its own options, and returns a `Result`.
    """
    module, _, attribute = target.partition(":")
    function = getattr(importlib.import_module(module), attribute)
    app = typer.Typer(add_completion=False, rich_markup_mode=_markup())
    settings = {"token_normalize_func": _hyphens, "help_option_names": ["-h", "--help"]}
    description = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.getdoc(function) or line)  # paragraphs on one line
    register = app.command(name.split()[-1], cls=help.Command, help=description, context_settings=settings)
    register(_with_shared_options(name, function))
    command = typer.main.get_command(app)
    for param in command.params:
        if param.name and isinstance(param, typer.core.TyperOption):
            spelled = [key_of(opt) for opt in param.opts]
            own = param.name if param.name in spelled else spelled[0]  # --from cannot be a parameter's name
            param.show_envvar = False  # docs/configuration.md gives the rule once
            qualified = "_".join([*name.split(), own])
            param.envvar = [f"DIFFTOOL_{qualified.upper()}", f"DIFFTOOL_{own.upper()}"]
    return command


def _with_shared_options(name: str, function: Callable[..., Result]) -> Callable[..., int]:
    """Wraps `function`: adds the shared options to its signature, prints its result, turns Ctrl-C into an exit code."""
    signature = inspect.signature(function, eval_str=True)
    declared = [_resolved(param) for param in signature.parameters.values()][1:]
    classes: dict[str, type] = {
        param.name: param.annotation for param in declared if dataclasses.is_dataclass(param.annotation)
    }  # type: ignore[assignment]
    own = _expanded(declared)
    exclusive = exclusive_of(function, classes.values())

    def read_config(ctx: typer.Context, value: str | None) -> str | None:
        annotations = {param.name: param.annotation for param in own}
        annotations |= dict.fromkeys(SHARED, bool)
        apply(ctx, name, value, annotations, exclusive)
        return value

    def run(ctx: typer.Context, **options: Any) -> int:
        console: Console = ctx.obj
        console.configure(name, **{key: options.pop(key) for key in SHARED})
        console.config = options.pop("config")
        console.options = {*options}
        if name in TOGETHER:
            processes.join()
        options = {key: expanded(value) if isinstance(value, Path) else value for key, value in options.items()}
        if name in LOADING:
            console.starting()
        if console.read:
            console.note(f"settings from {' and '.join(map(str, console.read))}")
        console.standing_folder = "output_dir" in options and said(ctx, "output_dir") in (1, 2)
        try:
            arguments = settle(ctx, options, exclusive)
            for key, settings in classes.items():
                fields = {field: arguments.pop(field) for field in settings_of(settings)}
                typed = [field for field in fields if said(ctx, field) == RANKS["COMMANDLINE"]]
                check_required(settings, fields, typed)
                arguments[key] = from_typed(settings, fields)
            result = function(console, **arguments)
        except KeyboardInterrupt as error:
            code = Exit.TERMINATED if isinstance(error, Terminated) else Exit.INTERRUPTED
            raise _stopped(code, console) from error
        console.result(result)
        return Exit.DONE

    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    own = [param.replace(kind=KEYWORD) for param in own]
    params = [context, *own, *_shared_parameters(read_config)]
    run.__signature__ = inspect.Signature(params)  # type: ignore[attr-defined]
    run.exclusive = exclusive  # type: ignore[attr-defined]
    run.__annotations__ = {param.name: param.annotation for param in params}
    return run


def _shared_parameters(read_config: Callable[..., str | None]) -> list[inspect.Parameter]:
    """The options of every command: the flags of `SHARED`, and --config with its callback."""
    params = []
    for key, (*names, line) in SHARED.items():
        flag = typer.Option(*names, help=line, show_default=False, rich_help_panel=MESSAGES)
        params.append(inspect.Parameter(key, KEYWORD, default=False, annotation=Annotated[bool, flag]))
    line = "TOML file with one table per command."
    config = typer.Option("--config", help=line, is_eager=True, callback=read_config, rich_help_panel=MESSAGES)
    params.append(inspect.Parameter("config", KEYWORD, default=None, annotation=Annotated[str | None, config]))
    return params


def _resolved(param: inspect.Parameter) -> inspect.Parameter:
    """A parameter whose annotation, if it names a function that makes a class of settings, is that class."""
    makers = [part for part in typing.get_args(param.annotation)[1:] if inspect.isfunction(part)]
    return param.replace(annotation=makers[0]()) if makers else param


def _expanded(params: Sequence[inspect.Parameter]) -> list[inspect.Parameter]:
    """The parameters of a command, each class of settings replaced by one parameter per setting; in the order of the
    help's panels."""
    own: list[inspect.Parameter] = []
    for param in params:
        annotation: Any = param.annotation
        is_settings = isinstance(annotation, type) and dataclasses.is_dataclass(annotation)
        own += parameters(annotation) if is_settings else [param]
    return sorted(own, key=lambda param: BOXES.index(_box(param)))


def _box(param: inspect.Parameter) -> str | None:
    """The help panel of a parameter; "" for arguments, which come first."""
    parts = typing.get_args(param.annotation)
    described = parts[-1] if parts else None
    if isinstance(described, typer.models.ArgumentInfo):
        return ""
    panel = getattr(described, "rich_help_panel", None)
    return panel if panel in BOXES else None


def root(table: Table) -> Any:
    """difftool itself, with the commands of a table."""
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
        """Train and run diffusion models at home: pictures and voices."""

    return typer.main.get_command(app)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"difftool {version('difftool')}")
        raise typer.Exit()


def _asked(flag: str, args: Sequence[str]) -> bool:
    """Whether a shared flag is on: by the command line, else by the environment."""
    given = [arg for arg in args if arg in (f"--{flag}", f"--no-{flag}")]
    if given:
        return given[-1] == f"--{flag}"
    value = os.environ.get(f"DIFFTOOL_{flag.upper()}", "")
    return value.lower() in ("1", "true", "t", "yes", "y", "on")


def _stopped(code: Exit, console: Console) -> DifftoolError:
    return DifftoolError(code, code.name.lower(), console.resume)


def _markup() -> Any:
    """Rich panels on a wide terminal; plain text on a narrow one and in files, pipes and cron mail."""
    is_wide = sys.stdout.isatty() and shutil.get_terminal_size().columns >= ROOMY
    return "rich" if is_wide else None


def _hyphens(token: str) -> str:
    return token.replace("_", "-")


def _usage(error: typer.TyperException) -> DifftoolError:
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "difftool"
    message = " ".join(error.format_message().split())
    return DifftoolError(Exit.USAGE, message, f"see {path} --help")


def _unexpected(error: Exception, console: Console) -> DifftoolError:
    """The error for an exception of the system or a library, with a hint where there is one to give."""
    if is_out_of_memory(error):
        if not console.debug:
            traceback.clear_frames(error.__traceback__)  # frees the memory that reporting needs
        smaller = "try a smaller --batch-size" if "batch_size" in console.options else "close other programs"
        return DifftoolError(Exit.MEMORY, "out of memory", f"{smaller}, or use a machine with more memory")
    if is_disk_full(error):
        where = getattr(error, "filename", None)
        message = "the disk is full" + (f": {where}" if where else "")
        return DifftoolError(Exit.FAILED, message, f"free some space and {console.resume}")
    if isinstance(error, OSError) and error.filename is not None:
        return DifftoolError(Exit.FILE, f"{error.filename}: {error.strerror}", "check the path and its permissions")
    first_line = (str(error).splitlines() or [""])[0]
    message = f"{type(error).__name__}: {first_line}"
    return DifftoolError(Exit.FAILED, message, "run again with --debug and report the output")
