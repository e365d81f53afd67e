"""What every command does alike: help, speed, errors, configuration, streams."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from terminals import on_terminal

from difftool.cli import COMMANDS, GROUPS
from difftool.cli.app import LazyGroup, load, main
from difftool.core import SAMPLERS
from difftool.errors import MEANING, DifftoolError, Exit

HEAVY = {"torch", "torchaudio", "diffusers", "transformers", "matplotlib", "numpy", "PIL", "sklearn", "scipy", "jinja2"}


def run(*args: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "difftool", *args], capture_output=True, text=True, **settings)  # type: ignore[call-overload]


def imports(*args: str, table: str = "COMMANDS") -> tuple[int, set[str]]:
    """(exit code, heavy modules imported) of a command line in a fresh process."""
    code = f"""
        import sys
        from difftool.cli.app import main
        from difftool.cli import COMMANDS
        code = main({list(args)!r}, {table})
        print(code, *({HEAVY!r} & set(sys.modules)), file=sys.stderr)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    last = done.stderr.splitlines()[-1].split()
    return int(last[0]), set(last[1:])


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        *[[*name.split(), "--help"] for name in COMMANDS],
        ["sample", "--list-samplers"],
        ["lab", "check"],
        ["lab", "check", "flux", "--json"],
        ["lab", "plan"],
        ["trian"],
        ["sample", "--stpes", "3"],
        ["sample", "--steps", "three"],
        ["sample", "--sampler", "ddmi"],
        ["sample", "--schedule", "karas"],
        ["sample", "--device", "tpu"],
        ["sample", "--half", "--dtype", "bf16"],
        ["sample", "-o", "a.jpg"],
        ["train", "--steps", "5", "--minutes", "2"],
        ["train", "--minutes", "nan"],
        ["train", "--size", "64"],
        ["train", "--dtype", "fp16"],
        ["train", "--preset", "pictures"],
        ["train", "--preset", "digit"],
        ["train", "--images", "many"],
        ["rerun"],
        [],
    ],
    ids=" ".join,
)
def test_what_needs_no_model_imports_nothing_heavy(args: list[str]) -> None:
    assert imports(*args)[1] == set()


class TestManyCommands:
    """The group with 20 commands of 30 options, as the package may once have."""

    TABLE = (
        "{f'c{i}': ('many:command', f'{i}') for i in range(16)} | {f'g d{i}': ('many:command', '') for i in range(4)}"
    )

    @pytest.fixture(autouse=True)
    def package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        options = ", ".join(f"o{i}: Annotated[int | None, typer.Option(help='Option {i}.')] = None" for i in range(30))
        (tmp_path / "many.py").write_text(
            "from typing import Annotated\nimport typer\nfrom difftool.cli.console import Result\n"
            f"def command(console, {options}):\n    return Result({{'o3': o3}}, ['done'], [])\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    def test_light(self) -> None:
        for args in (
            ["--help"],
            ["c3", "--help"],
            ["g", "--help"],
            ["g", "d1", "--help"],
            ["c3", "--o31"],
            ["g"],
            ["c3", "--o3", "x"],
        ):
            code, heavy = imports(*args, table=self.TABLE)
            assert heavy == set()
            assert code == (0 if "--help" in args or args == ["g"] else 2)
        assert imports("c3", "--o3", "4", table=self.TABLE) == (0, set())
        assert imports("g", "d2", table=self.TABLE) == (0, set())


def test_each_group_has_a_line_of_help() -> None:
    assert {name.split()[0] for name in COMMANDS if " " in name} == set(GROUPS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_in_sentences_without_line_breaks(name: str) -> None:
    command = load(name, *COMMANDS[name])
    paragraphs = command.help.split("\n\n")
    assert not any("\n" in paragraph for paragraph in paragraphs)
    for param in command.params:
        line = param.help
        assert line[0].isupper() and line.endswith("."), (param.name, line)


def test_help_lists_commands_and_exit_codes() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in COMMANDS:
        first, *rest = name.split()
        assert f"\n  {first} " in done.stdout
        for word in rest:
            assert f"\n  {word} " in run(first, "--help").stdout
    for code, meaning in MEANING.items():
        assert f"\n  {int(code)} " in done.stdout
        assert meaning.split(",")[0].split(";")[0] in " ".join(done.stdout.split())


def test_the_first_words_are_the_names() -> None:
    group = type("G", (LazyGroup,), {"table": {"a": ("", ""), "voice prep": ("", ""), "voice clone": ("", "")}})()
    assert group.list_commands(None) == ["a", "voice", "help"]  # type: ignore[arg-type]


@pytest.mark.parametrize("words", [[], ["sample"], ["voice"], ["voice", "clone"]], ids=" ".join)
def test_help_of_a_command(difftool: Callable, words: list[str]) -> None:
    asked = difftool(*words, "--help")
    assert asked.code == 0
    assert asked.out.startswith("Usage: ")
    assert difftool("help", *words).out == asked.out
    assert difftool("help", "help", *words).out == asked.out
    if words in ([], ["voice"]):
        bare = difftool(*words)
        assert (bare.code, bare.out, bare.err) == (0, asked.out, "")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["smaple"], "did you mean sample"),
        (["clone"], "no such command: difftool clone; did you mean difftool voice clone?"),
        (["prep", "a.wav"], "did you mean difftool voice prep?"),
        (["check"], "did you mean difftool lab check?"),
        (["pull", "sd15"], "did you mean difftool models pull?"),
        (["rm"], "difftool voice rm or difftool models rm or difftool runs rm"),
        (["models", "clone"], "did you mean difftool voice clone?"),
        (["models", "list"], "did you mean ls?"),
        (["help", "smaple"], "did you mean sample"),
        (["--bogus"], "--bogus"),
        (["sample", "--stpes", "3"], "--steps"),
        (["sample", "--steps"], "--steps"),
        (["sample", "--steps", "x"], "--steps"),
        (["sample", "--steps", "0"], "--steps"),
        (["sample", "--steps", "-1"], "--steps"),
        (["sample", "a", "b"], "b"),
        (["sample", "--sampler", "dpm"], "did you mean"),
        (["sample", "--count", "1.5"], "--count"),
        (["meta"], "FILE"),
        (["train", "--images", "5x"], "5x"),
        (["train", "--images", "1.5"], "1.5"),
    ],
)
def test_usage_errors(refused: Callable, args: list[str], says: str) -> None:
    refused(2, *args, says=says)
    if args and args != ["--bogus"]:
        refused(2, *args, "--json", says=says)


def test_hyphens_and_underscores_are_one(difftool: Callable) -> None:
    for args in (
        ["--output_dir", "a"],
        ["--output-dir", "b", "--sampler", "Euler-A"],
        ["--output-dir", "c", "--sampler", "euler_a"],
    ):
        assert difftool("sample", "--count", 1, "--steps", 1, *args).code == 0


def test_quiet_prints_the_names_that_were_asked_for(difftool: Callable) -> None:
    listed = difftool("sample", "--list-samplers", "-q").out.split()
    assert listed == [*SAMPLERS]


def test_a_path_that_begins_with_a_tilde(difftool: Callable, refused: Callable, tmp_path: Path) -> None:
    assert difftool("sample", "--count", 1, "--steps", 1, "-o", "~nobody-at-all.png").code == 0
    assert (tmp_path / "~nobody-at-all.png").exists()
    refused(4, "sample", "~nobody-at-all", says="~nobody-at-all")


def test_quiet_prints_paths_and_nothing_else(difftool: Callable, tmp_path: Path) -> None:
    ended = difftool("sample", "--count", 2, "--steps", 1, "-q", "-o", "a.png")
    assert ended.err == ""
    assert ended.out.splitlines() == ["a-00000-0.png", "a-00001-1.png", "a.png"]
    assert all((tmp_path / name).exists() for name in ended.out.splitlines())


def test_json_is_one_object(difftool: Callable) -> None:
    ended = difftool("sample", "--count", 2, "--steps", 1, "--json", "-o", "a.png")
    told = ended.json
    assert len(ended.out.splitlines()) == 1
    assert {key: told[key] for key in ("schema", "ok", "command", "warnings", "error")} == {
        "schema": "difftool/result/1",
        "ok": True,
        "command": "sample",
        "warnings": [],
        "error": None,
    }
    assert set(told) == {"schema", "ok", "command", "version", "run_id", "data", "warnings", "error"}
    assert [output["seed"] for output in told["data"]["outputs"]] == [0, 1]
    assert told["data"]["timing"]["total"] > 0


def test_lines_off_a_terminal_bear_the_time(difftool: Callable) -> None:
    ended = difftool("sample", "--count", 1, "--steps", 1, "-o", "a.png")
    lines = ended.err.splitlines()
    assert [line.split(" ", 1)[1].split(" in ")[0] for line in lines] == ["sample: 0 of 1", "sample: done"]
    assert all(time.strptime(line.split()[0], "%Y-%m-%dT%H:%M:%SZ") for line in lines)
    assert "\x1b" not in ended.err + ended.out


@pytest.mark.parametrize("colour", [True, False])
def test_on_a_terminal(tmp_path: Path, colour: bool) -> None:
    """A bar that goes away, colours unless NO_COLOR says otherwise, and boxes around the help."""
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **({} if colour else {"NO_COLOR": "1"})}
    seen = on_terminal("sample", "--count", "2", "--steps", "40", "-o", "a.png", cwd=tmp_path, env=env)
    assert "it/s" in seen
    assert "a.png" in seen.splitlines()[-2]
    assert ("\x1b[38;5" in seen or "\x1b[3" in seen) == colour
    assert "Traceback" not in seen
    assert "╭" in on_terminal("sample", "--help", cwd=tmp_path, env=env)


class TestConfiguration:
    def test_keys_are_those_that_are_typed(self, refused: Callable, tmp_path: Path) -> None:
        (tmp_path / "difftool.toml").write_text('[txt2img]\nloras = ["x"]\n')
        refused(2, "txt2img", "a", says="no key 'loras'; did you mean 'lora'")

    """Command line > environment > --config > ./difftool.toml > the user's > built-in."""

    def steps(self, difftool: Callable, *args: object) -> int:
        ended = difftool("sample", "--dry-run", "--json", *args)
        assert ended.code == 0, ended.err
        return ended.json["data"]["settings"]["steps"]

    def test_precedence(self, difftool: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.steps(difftool) == 25
        user = tmp_path / "home" / ".config" / "difftool" / "config.toml"
        user.parent.mkdir(parents=True)
        user.write_text("[sample]\nsteps = 6\ncount = 3\n")
        assert self.steps(difftool) == 6
        (tmp_path / "difftool.toml").write_text("[sample]\nsteps = 5\n[train]\nminutes = 1\n")
        assert self.steps(difftool) == 5
        (tmp_path / "mine.toml").write_text("[sample]\nsteps = 4\n")
        assert self.steps(difftool, "--config", "mine.toml") == 4
        monkeypatch.setenv("DIFFTOOL_STEPS", "3")
        assert self.steps(difftool, "--config", "mine.toml") == 3
        monkeypatch.setenv("DIFFTOOL_SAMPLE_STEPS", "2")
        assert self.steps(difftool, "--config", "mine.toml") == 2
        assert self.steps(difftool, "--config", "mine.toml", "--steps", 1) == 1
        # what a nearer file does not name still holds
        ended = difftool("sample", "--dry-run", "--json")
        assert ended.json["data"]["settings"]["count"] == 3

    def test_falsy_values_count(self, difftool: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "difftool.toml").write_text("[sample]\nguidance = 0\nseed = 7\neta = 0.0\nsampler = 'ddpm'\n")
        told = difftool("sample", "--dry-run", "--json", "--seed", 0).json["data"]["settings"]
        assert (told["guidance"], told["seed"], told["eta"]) == (0, 0, 0.0)
        monkeypatch.setenv("DIFFTOOL_GUIDANCE", "0")
        (tmp_path / "difftool.toml").write_text("[sample]\nguidance = 3\n")
        assert difftool("sample", "--dry-run", "--json").json["data"]["settings"]["guidance"] == 0

    def test_overwrite_is_for_the_user_to_say(self, difftool: Callable, refused: Callable, tmp_path: Path) -> None:
        """A file that lies in the folder may come from anybody."""
        (tmp_path / "a.png").write_text("")
        (tmp_path / "mine.toml").write_text("[sample]\noverwrite = true\ncount = 1\n")
        assert difftool("sample", "--dry-run", "-o", "a.png", "--config", "mine.toml").code == 0
        refused(4, "sample", "--dry-run", "-o", "a.png", "--config", "mine.toml", "--no-overwrite")
        (tmp_path / "mine.toml").rename(tmp_path / "difftool.toml")
        ended = refused(4, "sample", "--dry-run", "-o", "a.png")
        assert "overwrite is ignored in this file" in ended.err

    def test_so_are_originals(self, difftool: Callable, refused: Callable, tmp_path: Path) -> None:
        (tmp_path / "voices" / "me").mkdir(parents=True)
        (tmp_path / "voices" / "me" / "1.wav").write_bytes(b"the only copy")
        (tmp_path / "difftool.toml").write_text("[voice.rm]\noriginals = true\n")
        assert "originals is ignored in this file" in refused(4, "voice", "rm", "me").err
        assert (tmp_path / "voices" / "me" / "1.wav").exists()

    def test_files_that_counted_are_named_once(self, difftool: Callable, tmp_path: Path) -> None:
        (tmp_path / "difftool.toml").write_text("[sample]\nsteps = 2\n")
        (tmp_path / "mine.toml").write_text("[sample]\ncount = 2\n")
        said = difftool("sample", "--dry-run", "--config", "mine.toml").err
        assert said.count("settings from difftool.toml and mine.toml") == 1
        assert difftool("sample", "--dry-run", "-q").err == ""
        assert "settings from" not in difftool("train", "--dry-run").err

    @pytest.mark.parametrize("where", ["file", "environment"])
    def test_a_folder_for_every_run(
        self, difftool: Callable, refused: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
    ) -> None:
        """What the page on configuration suggests can be run twice: the second run has a folder of its own."""
        if where == "file":
            (tmp_path / "difftool.toml").write_text('[sample]\noutput-dir = "pictures"\n')
        else:
            monkeypatch.setenv("DIFFTOOL_OUTPUT_DIR", "pictures")
        given = ("sample", "--count", 1, "--steps", 1)
        assert difftool(*given, "-q").out == "pictures/00000-0.png\n"
        before = (tmp_path / "pictures" / "00000-0.png").read_bytes()
        (again,) = difftool(*given, "--json").json["data"]["outputs"]
        assert Path(again["path"]).parent.parent == Path("pictures")
        assert (tmp_path / "pictures" / "00000-0.png").read_bytes() == before
        refused(4, *given, "--output-dir", "pictures", says="exists already")

    def length(self, difftool: Callable, *args: object) -> dict[str, float]:
        ended = difftool("train", "--dry-run", "--json", *args)
        assert ended.code == 0, ended.err
        return ended.json["data"]["config"]["train"]["length"]

    def test_what_excludes_each_other_is_settled_by_rank(
        self, difftool: Callable, refused: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.length(difftool) == {"minutes": 2}
        user = tmp_path / "home" / ".config" / "difftool" / "config.toml"
        user.parent.mkdir(parents=True)
        user.write_text("[train]\nepochs = 3\n")
        assert self.length(difftool) == {"epochs": 3}
        (tmp_path / "difftool.toml").write_text("[train]\nimages = '5k'\n")
        assert self.length(difftool) == {"images": 5000}
        monkeypatch.setenv("DIFFTOOL_MINUTES", "7")
        assert self.length(difftool) == {"minutes": 7}
        assert self.length(difftool, "--steps", 9) == {"steps": 9}
        monkeypatch.setenv("DIFFTOOL_TRAIN_EPOCHS", "7")
        refused(2, "train", "--dry-run", says="cannot be used together")
        monkeypatch.delenv("DIFFTOOL_TRAIN_EPOCHS")
        monkeypatch.delenv("DIFFTOOL_MINUTES")
        (tmp_path / "difftool.toml").write_text("[train]\nimages = 5000\nsteps = 4\n")
        refused(2, "train", "--dry-run", says="cannot be used together")

    def test_flags_of_every_command(self, difftool: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "difftool.toml").write_text("[sample]\njson = true\n")
        assert difftool("sample", "--dry-run").json["ok"]
        assert "would generate" in difftool("sample", "--dry-run", "--no-json").out
        (tmp_path / "difftool.toml").unlink()
        monkeypatch.setenv("DIFFTOOL_JSON", "1")
        assert difftool("sample", "--dry-run").json["ok"]
        told = difftool("sample", "--stpes", 3).json  # before the flags are read
        assert (told["ok"], told["command"], told["error"]["code"]) == (False, "sample", 2)
        assert difftool("sample", "--stpes", 3, "--no-json").out == ""

    def test_home_is_found(self, difftool: Callable, tmp_path: Path) -> None:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "mine.toml").write_text("[sample]\nsteps = 2\noutput-dir = '~/drawn'\ncount = 1\n")
        assert difftool("sample", "--config", "~/mine.toml").code == 0
        assert (tmp_path / "home" / "drawn" / "00000-0.png").exists()

    def test_aliases_hyphens_and_arguments(self, difftool: Callable, tmp_path: Path) -> None:
        (tmp_path / "difftool.toml").write_text("[sample]\ncfg = 2\nbatch-size = 3\nmodel = 'digits'\nlabel = 3\n")
        told = difftool("sample", "--dry-run", "--json").json["data"]["settings"]
        assert (told["guidance"], told["batch_size"], told["label"]) == (2, 3, "3")

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("[sample]\nstep = 3\n", "did you mean 'steps'"),
            ("[sampel]\nsteps = 3\n", "did you mean [sample]"),
            ("steps = 3\n", "no command is named 'steps'"),
            ("[sample]\nsteps = 'many'\n", "steps must be a whole number"),
            ("[sample]\nsteps = 2.5\n", "steps must be a whole number"),
            ("[sample]\nsteps = true\n", "steps must be a whole number"),
            ("[sample]\nsteps = [3]\n", "steps must be a whole number"),
            ("[sample]\nguidance = '2'\n", "guidance must be a number"),
            ("[sample]\noverwrite = 1\n", "overwrite must be true or false"),
            ("[sample]\nsampler = true\n", "sampler must be text"),
            ("[sample]\nsampler = 'dimm'\n", "did you mean 'ddim'"),
            ("[sample]\nsteps = 0\n", "--steps"),
            ("[sample\nsteps = 0\n", "is not valid TOML"),
            ("a = " + "[" * 5000, "is not valid TOML"),
            ('[sample]\noutput = "a\\u0000b.png"\n', "output must be text"),
            ("sample = 3\n", "no command is named"),
            ("[sample]\nconfig = 'x'\n", "no key 'config'"),
        ],
    )
    def test_wrong_files(self, refused: Callable, tmp_path: Path, text: str, says: str) -> None:
        (tmp_path / "difftool.toml").write_text(text)
        refused(2, "sample", "--dry-run", says=says)
        (tmp_path / "difftool.toml").rename(tmp_path / "other.toml")
        refused(2, "sample", "--dry-run", "--config", "other.toml", says=says)

    def test_what_is_overruled_overrules_nothing(
        self, difftool: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """--trajectory beats the comparison in the environment, which then does not beat the sampler in the file."""
        (tmp_path / "difftool.toml").write_text("[sample]\nsampler = 'heun'\n")
        monkeypatch.setenv("DIFFTOOL_SAMPLE_COMPARE", "ddim,ddpm")
        told = difftool("sample", "--trajectory", "--dry-run", "--json").json["data"]
        assert told["settings"]["sampler"] == "heun"

    def test_no_is_no_rival(self, difftool: Callable, tmp_path: Path) -> None:
        (tmp_path / "mine.toml").write_text("[sample]\nhalf = false\n")
        (tmp_path / "difftool.toml").write_text("[sample]\ndtype = 'bf16'\n")
        told = difftool("sample", "--config", "mine.toml", "--dry-run", "--json").json["data"]
        assert told["settings"]["dtype"] == "bf16"

    def test_a_device_is_no_file_of_settings(self, refused: Callable) -> None:
        refused(4, "sample", "--dry-run", "--config", "/dev/full", says="is not a configuration file")

    def test_a_home_that_belongs_to_somebody_else(
        self, difftool: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inner = Path.stat

        def stat(path: Path, **options: Any) -> os.stat_result:
            if path.name == "config.toml":
                raise PermissionError(13, "Permission denied", str(path))
            return inner(path, **options)

        monkeypatch.setattr(Path, "stat", stat)
        told = difftool("sample", "--dry-run", "--json")
        assert told.code == 0
        assert "config.toml: permission denied" in told.json["warnings"][0]

    def test_a_file_that_is_not_there(self, refused: Callable, tmp_path: Path) -> None:
        refused(4, "sample", "--config", "none.toml", says="none.toml")
        refused(4, "sample", "--config", str(tmp_path), says=str(tmp_path))

    def test_a_wrong_environment(self, refused: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DIFFTOOL_STEPS", "x")
        refused(2, "sample", says="--steps")


@pytest.mark.parametrize(
    "environment",
    [
        {"WORLD_SIZE": "abc"},
        {"WORLD_SIZE": "-1"},
        {"WORLD_SIZE": "0"},
        {"WORLD_SIZE": "2.5"},
        {"WORLD_SIZE": "9" * 30},
        {"WORLD_SIZE": "2"},
        {"WORLD_SIZE": "2", "RANK": "1"},
        {"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
        {"WORLD_SIZE": "2", "RANK": "one", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
        {"WORLD_SIZE": "2", "RANK": "-1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
    ],
    ids=lambda environment: " ".join(f"{key}={value[:9]}" for key, value in environment.items()),
)
def test_processes_that_cannot_be(
    difftool: Callable, refused: Callable, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    """One error of the commands that several processes share, nothing for all others."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert difftool("--version").out.startswith("difftool ")
    assert difftool("models", "ls").out
    assert difftool("sample", "--help").out
    refused(2, "models", "lss", says="did you mean ls")
    for command in (["sample"], ["train"], ["eval"], ["txt2img", "a circle"], ["voice", "clone", "Hello."]):
        refused(2, *command, "--dry-run", says="the number of processes")


def test_one_process_is_one(difftool: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in ("1", " ", ""):
        monkeypatch.setenv("WORLD_SIZE", size)
        monkeypatch.setenv("RANK", "7")
        assert difftool("sample", "--dry-run").out


@pytest.mark.parametrize("address", ["hf-mirror.com", "ftp://hub", "https://", "https://a@b"])
def test_an_address_of_the_hub_matters_to_who_asks_it(
    difftool: Callable, refused: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    for command in (["models", "ls"], ["models", "verify"], ["lab", "check"], ["sample", "--dry-run"]):
        assert difftool(*command).code == 0
    refused(2, "models", "pull", "tortoise", says="HF_ENDPOINT")
    refused(4, "models", "pull", "tortoise", "--from", tmp_path, says="autoregressive.pth")
    refused(4, "txt2img", "a cat", "--model", "sdxl", says="difftool models pull sdxl")


class TestTextOfSettings:
    def test_lists(self, difftool: Callable, refused: Callable, tmp_path: Path) -> None:
        for value in ('["a.safetensors", "b.safetensors:0.5"]', '"a.safetensors"'):
            (tmp_path / "c.toml").write_text(f"[txt2img]\nlora = {value}\n")
            refused(4, "txt2img", "a red circle", "--config", "c.toml", says="a.safetensors does not exist")
        (tmp_path / "c.toml").write_text('["voice.prep"]\n[voice.prep]\ntranscript = ["a.srt", "b.srt"]\n')
        (tmp_path / "c.toml").write_text('[voice.prep]\ntranscript = ["a.srt", "b.srt"]\n')
        (tmp_path / "a.wav").touch()
        given = ("a.wav", "--voice", "me", "--consent", "self", "--voices-dir", "v")
        refused(2, "voice", "prep", *given, "--config", "c.toml", says="transcript")
        for wrong in ("[3]", "true", "[true]", "[[]]", '["a\\u0000"]'):
            (tmp_path / "c.toml").write_text(f"[voice.prep]\ntranscript = {wrong}\n")
            refused(2, "voice", "prep", *given, "--config", "c.toml", says="transcript must be text")

    def test_encodings(self, difftool: Callable, refused: Callable, tmp_path: Path) -> None:
        text = "[sample]\nsteps = 3 # f\u00fcnf\n"
        (tmp_path / "c.toml").write_text(text, encoding="utf-8-sig")
        told = difftool("sample", "--dry-run", "--json", "--config", "c.toml").json
        assert told["data"]["settings"]["steps"] == 3
        for encoding in ("utf-16", "cp1252"):
            (tmp_path / "c.toml").write_text(text, encoding=encoding)
            refused(2, "sample", "--dry-run", "--config", "c.toml", says="c.toml is not UTF-8 text")


def test_a_narrow_terminal_has_room_for_what_options_do(tmp_path: Path) -> None:
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    seen = on_terminal("txt2img", "--help", cwd=tmp_path, env=env).splitlines()
    assert len(seen) <= len(run("txt2img", "--help").stdout.splitlines()) + 25
    assert all(len(line) <= 80 for line in seen)


class TestCompletion:
    """What the shell offers after a word that is typed in part."""

    def completed(self, *words: str) -> list[str]:
        env = {"COMP_WORDS": " ".join(["difftool", *words]), "COMP_CWORD": str(len(words))}
        code = f"""
            import sys
            from difftool.cli.app import entry
            sys.argv = ["difftool"]
            try:
                entry()
            finally:
                print(*({HEAVY - {"numpy"}!r} & set(sys.modules)))
        """
        command = [sys.executable, "-c", textwrap.dedent(code)]
        env |= {"_DIFFTOOL_COMPLETE": "complete_bash"}
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})
        *names, heavy = done.stdout.splitlines()
        assert (heavy, done.stderr) == ("", "")
        return names

    @pytest.mark.parametrize(
        ("words", "names"),
        [
            ("vo", ["voice"]),
            ("voice cl", ["clone"]),
            ("help lab pl", ["plan"]),
            ("sample --sampl", ["--sampler"]),
            ("sample --sampler dpmpp_3", ["dpmpp_3m", "dpmpp_3m_sde"]),
            ("sample --sampler euler-", ["euler-a", "euler-ge", "euler-cfg-pp", "euler-a-cfg-pp", "euler-ge-cfg-pp"]),
            ("sample --schedule k", ["karras", "kl_optimal"]),
            ("sample --compare ddpm,dd", ["ddpm,ddpm", "ddpm,ddim"]),
            ("train --preset cifar", ["cifar10", "cifar100"]),
            ("voice clone --preset u", ["ultra_fast"]),
            ("voice clone --engine t", ["tortoise"]),
            ("voice consent me l", ["license:"]),
            ("txt2img --model sdxl-", ["sdxl-turbo"]),
            ("models pull clip", ["clip-tokenizer"]),
            ("models ls clip", ["clip-tokenizer"]),
            ("lab check shap", ["shapes"]),
            ("lab check faces", ["faces64"]),
            ("config sh", ["show"]),
            ("config show voice cl", ["clone"]),
            ("cache clear p", ["pictures", "places"]),
            ("nothing a", []),
        ],
    )
    def test_names(self, words: str, names: list[str]) -> None:
        assert [name for name in self.completed(*words.split()) if name] == names

    def test_voices(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("mine/max", "mine/mia", "voices/moe"):
            (tmp_path / name).mkdir(parents=True)
        monkeypatch.chdir(tmp_path)
        assert self.completed("voice", "show", "m") == ["moe"]
        assert self.completed("voice", "clone", "--voices-dir", "mine", "--voice", "m") == ["max", "mia"]
        (tmp_path / "difftool.toml").write_text('[voice.clone]\noverwrite = true\nvoices-dir = "mine"\n')
        assert self.completed("voice", "clone", "--voice", "ma") == ["max"]


def test_80_columns_are_mostly_text(difftool: Callable) -> None:
    lines = difftool("voice", "clone", "--help").out.splitlines()
    assert len(lines) <= 100
    assert max(map(len, lines)) < 80
    (options,) = (line for line in lines if line.startswith("  --samples"))
    assert options.index("Samples") <= 30
    assert not any("<" in line for line in lines)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("voice clone", "--threads Number of CPU threads (1 to 1,024)."),
        ("voice clone", "--eta Amount of noise added at each step (0 to 1): 0 is none, 1 is full."),
        (
            "train",
            "--save-every N Save a checkpoint every N training pictures or windows (at least 1); "
            "default: one per minute.",
        ),
        ("train", "--minutes Duration of the whole command in minutes (above 0)."),
        ("voice clone", "-q, --[no-]quiet Print only the paths of the results."),
        ("voice clone", "--save-stages FILE.npz Also write"),
    ],
)
def test_ranges_stand_in_the_text(difftool: Callable, command: str, line: str) -> None:
    assert line in " ".join(difftool(*command.split(), "--help").out.split())


def test_a_range_is_checked_before_anything_is_read(refused: Callable) -> None:
    refused(2, "train", "nothing", "--minutes", "0", says="--minutes must be above 0 and at most")
    refused(2, "sample", "nothing", "--steps", "0", says="--steps must be from 1 to 1,000,000, not 0")
    refused(2, "voice", "clone", "Hi.", "--threads", "2000", says="--threads must be from 1 to 1,024, not 2000")


@pytest.mark.parametrize(
    "args",
    [
        ["voice", "clone", "--redo", "9-3", "Hello."],
        ["voice", "clone", "--redo", "1-" + "9" * 15 + "x", "Hello."],
        ["voice", "clone", "--max-minutes", "0", "Hello."],
        ["voice", "clone", "--max-minutes", "-1", "Hello."],
        ["voice", "clone", "--voice", "nobody", "--engine", "stock", "--dtype", "bf16", "Hello."],
        ["voice", "clone", "--engine", "mini", "--dtype", "int8", "Hello."],
        ["voice", "clone", "--engine", "stock", "--dtype", "int8", "Hello."],
        ["voice", "clone", "--engine", "tortoise", "--dtype", "int8", "--half", "Hello."],
        ["voice", "clone", "--dtype", "int8", "--sway", "0", "Hello."],
        ["sample", "--dtype", "int8"],
        ["voice", "export", "nobody", "--format", "joined", "-o", "a.txt"],
        ["voice", "export", "nobody", "--format", "xtts"],
        ["voice", "consent", "nobody", "maybe"],
        ["voice", "prep", "nothing.wav", "--voice", "a/b", "--consent", "written:nothing.pdf"],
        ["voice", "prep", "nothing.wav", "--voice", "me", "--consent", "self", "--whisper", "bse"],
        ["voice", "prep", "nothing.wav", "--voice", "me", "--consent", "self", "--language", "klingon"],
        ["txt2img", "a [b] c", "--model", "sdxl"],
        ["txt2img", " ", "--model", "sdxl"],
        ["txt2img", "a cat", "--model", "sdxl", "--strength", "0.5"],
        ["txt2img", "a cat", "--model", "sdxl", "-o", "a.jpg"],
        ["sample", "nothing", "-o", "a.jpg"],
        ["models", "pull", "tortise", "--from", "nothing"],
    ],
    ids=" ".join,
)
def test_a_usage_error_comes_before_what_is_missing(
    refused: Callable, args: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    refused(2, *args)


def test_names_that_are_no_text(difftool: Callable, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    for command in (["sample"], ["txt2img", "a red circle on a blue ground"]):
        given = (*command, "--count", 2, "--steps", 1)
        assert difftool(*given, "--json", "--output-dir", name, "--overwrite").json["ok"]
        assert difftool(*given, "-o", f"{name}.png", "--overwrite").code == 0
        assert difftool("rerun", f"{name}.png", "--json").json["data"]["identical"] is True
        assert difftool("meta", f"{name}.png").code == 0
    assert difftool("sample", name).code == 4


def test_a_traceback_only_with_debug(difftool: Callable) -> None:
    assert "Traceback" not in difftool("meta", "nothing.png").err
    assert "Traceback" in difftool("meta", "nothing.png", "--debug").err


def test_what_nobody_foresaw_is_two_lines(refused: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    from difftool.pictures import png

    for error, code in (
        (RuntimeError("odd\nmore"), 1),
        (OSError(28, "No space left on device", "x.png"), 1),
        (PermissionError(13, "Permission denied", "x.png"), 4),
        (MemoryError(), 6),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 TB"), 6),
    ):

        def broken(path: Path, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(png, "read_png", broken)
        refused(code, "meta", "a.png")


def test_a_reader_that_goes_away_is_no_error() -> None:
    for args in ("--help", "sample --list-samplers"):
        command = f"{sys.executable} -m difftool {args} | true; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert done.returncode == 0
        assert done.stderr == ""


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("2>&1 >/dev/null | true; exit ${PIPESTATUS[0]}", 4),  # whoever read the errors has gone; the code stays
        ("2>/dev/null | true; exit ${PIPESTATUS[0]}", 4),
        (">&- 2>&-", 4),
        ("--json >/dev/full", 4),
        ("--json >/dev/full 2>/dev/full", 4),
    ],
)
def test_streams_that_take_nothing(tmp_path: Path, ending: str, code: int) -> None:
    command = f"{sys.executable} -m difftool meta nothing.png {ending}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_a_run_survives_whoever_watched_it(tmp_path: Path) -> None:
    command = f"{sys.executable} -m difftool sample --count 2 --steps 2 -o a.png 2>&1 >/dev/null | true"
    done = subprocess.run(["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"], cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "a.png").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """In the middle of a long run: two lines, the code, no file and no folder left."""
    command = [sys.executable, "-m", "difftool", "sample", "--sampler", "ddpm", "--count", "400", "--output-dir", "out"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "sample: 0 of" in process.stderr.readline()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == ""
    assert [line.split(":")[0] for line in err.splitlines()[-2:]] == ["error", "hint"]
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_cron_has_no_home_and_no_terminal(tmp_path: Path) -> None:
    env = {"PATH": "/usr/bin:/bin", "NO_COLOR": "1"}
    done = run(
        "sample",
        "--count",
        "1",
        "--steps",
        "1",
        "-o",
        str(tmp_path / "a.png"),
        env=env,
        stdin=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").exists()


def test_main_can_be_called(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "--list-samplers", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["data"]["samplers"]) >= {"ddpm", "ddim", "euler", "euler_a"}
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def fail(console: object, code: int) -> None:
    """A command that ends as it is told to."""
    raise DifftoolError(Exit(code), "it was told to", "tell it otherwise")


def breaks(console: object) -> None:
    """A command with a fault."""
    raise ZeroDivisionError("by nought")


def test_a_fault_shows_where_it_is_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    table = {"breaks": ("test_manners:breaks", "")}
    assert main(["breaks"], table) == 1
    lines = capsys.readouterr().err.splitlines()
    assert (len(lines), lines[0]) == (2, "error: ZeroDivisionError: by nought")
    assert main(["breaks", "--debug"], table) == 1
    assert 'raise ZeroDivisionError("by nought")' in capsys.readouterr().err


@pytest.mark.parametrize("code", [code for code in Exit if code])
def test_every_code_ends_a_command(capsys: pytest.CaptureFixture[str], code: Exit) -> None:
    assert main(["fail", str(int(code))], {"fail": ("test_manners:fail", "")}) == code
    assert capsys.readouterr().err == "error: it was told to\nhint: tell it otherwise\n"


def test_a_result_that_cannot_be_told_is_a_failure() -> None:
    command = f"{sys.executable} -m difftool sample --list-samplers > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("error: the disk is full")
