"""The pages for people: their links, command lines, snippets, pictures and spelling.

Every command line in a block is parsed and its values checked. Blocks of command lines are run by make test-slow, those
of a page in one folder, in their order, and print what the page says, apart from numbers. Every block of Python is run,
in an empty folder, and must print the block of text that follows it. A comment on the line above a block changes that:

    <!-- not run: needs a GPU -->         command lines that are parsed only; Python whose names are looked up only
    <!-- slow: trains for a minute -->    Python that is run by make test-slow
    <!-- run -->                          command lines that make test runs, too: the whole page in a few seconds
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
import tomllib
import types
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import ANY
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from readers_files import STORE, provide, provide_models

from difftool.cli import COMMANDS
from difftool.cli.app import load, main, root
from difftool.cli.console import Result

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MEDIA = (".png", ".gif", ".jpg", ".svg", ".webp", ".wav", ".mp3", ".ogg")
LONGEST_README = 150
SHELL = ("", "sh", "bash", "shell", "console", "cron", "crontab")
"""Languages of blocks of command lines; "" is an indented block."""
ELSEWHERE = ("CHANGELOG.md", "CONTRIBUTING.md", "cli.md")
"""Pages whose command lines are not run here: test_contributing.py runs those of CONTRIBUTING."""
MADE_BEFORE = {
    "circle.png": 'difftool txt2img "a red circle on a blue ground" -o circle.png',
    "runs/first": "difftool train --images 640 --output-dir runs/first",
    "runs/mine": "difftool train ~/pictures --images 64 --output-dir runs/mine",
    "cache ls": "difftool train ~/pictures --images 64 --output-dir another",
    "outputs/sample": "difftool sample --count 8 --steps 2",
}
"""What some pages have from another page, and the command that made it."""
FOREIGN = {"--gpus", "--torch-backend", "--user"}
"""Options of Docker and uv, which the text names without their command."""


class Block(NamedTuple):
    """A block of code of a page."""

    page: Path
    line: int
    language: str
    marker: str
    """The comment above it: "not run", "slow", "run" or nothing."""
    text: str
    printed: str | None
    """The block of text that directly follows."""

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    top = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md", "voices/README.md")
    return [*(ROOT / name for name in top), *sorted(DOCS.rglob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    lines, found, k = page.read_text().splitlines(), [], 0
    while k < len(lines):
        start, above = k, next((line for line in reversed(lines[:k]) if line.strip()), "")
        if fence := re.match(r"( *)(```+|~~~+)\s*(\w*)", lines[k]):
            k += 1
            while k < len(lines) and not lines[k].strip().startswith(fence[2]):
                k += 1
            body = [line.removeprefix(fence[1]) for line in lines[start + 1 : k]]
            language = fence[3] or ""
        elif lines[k].startswith("    ") and (k == 0 or not lines[k - 1].strip() or above.startswith("<!--")):
            while k < len(lines) and (lines[k].startswith("    ") or not lines[k].strip()):
                k += 1
            body, language = [line[4:] for line in lines[start:k]], ""
            k -= 1
        else:
            k += 1
            continue
        k += 1
        marker = re.match(r"<!-- (not run: \S|slow: \S|run\b)", above.strip())
        text, follows = (
            "\n".join(body).strip("\n"),
            not "".join(lines[found[-1][0] : start]).strip() if found else False,
        )
        if language == "text" and follows and found[-1][1].language in ("python", *SHELL):
            found[-1] = (found[-1][0], found[-1][1]._replace(printed=text))
        found.append((k, Block(page, start + 1, language, marker[1].split(":")[0] if marker else "", text, None)))
    return [block for _, block in found]


BLOCKS = [block for page in pages() for block in blocks_of(page)]


def _marked(blocks: list[Block]) -> list[Any]:
    """The parameters of a test of blocks, some of which are slow."""
    slow = [pytest.mark.slow]
    return [pytest.param(block, id=block.name, marks=slow if block.marker == "slow" else []) for block in blocks]


def prose(page: Path) -> str:
    """A page without its blocks of code and its comments."""
    text = re.sub(r"^( *)(```+|~~~+).*?^ *\2 *$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    return re.sub(r"(?<=\n\n)(?: {4}.*\n|\n)+", "\n", text)


def test_blocks_are_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Text:\n\n<!-- run -->\n\n    difftool lab check\n\n    difftool sample\n\n```text\nwell\n```\n\n"
        "<!-- not run: x -->\n```python\nimport difftool\n\n    a\n```\nand\n\n```text\nother\n```\n"
    )
    assert [(block.language, block.marker, block.text, block.printed) for block in blocks_of(page)] == [
        ("", "run", "difftool lab check\n\ndifftool sample", "well"),
        ("text", "", "well", None),
        ("python", "not run", "import difftool\n\n    a", None),
        ("text", "", "other", None),
    ]


# links


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as forges make them."""
    found: dict[str, int] = {}
    names = set()
    for title in re.findall(r"^#{1,6} +(.*?) *#* *$", prose(page), re.MULTILINE):
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
        names.add(f"{slug}-{found[slug]}" if found[slug] else slug)
    return names | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", page.read_text()))


def links(page: Path) -> Iterator[str]:
    text = re.sub(r"(`+).*?\1", "", prose(page), flags=re.DOTALL)
    yield from re.findall(r"\]\(\s*<?([^)\s>]+)", text)
    yield from re.findall(r"^ *\[[^\]]+\]:\s*(\S+)", text, re.MULTILINE)
    yield from re.findall(r"\b(?:src|href|srcset)=\"([^\"\s]+)", text)


def broken(page: Path) -> list[str]:
    wrong = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A *b*: `c`\n\n# Twice\n\n# Twice\n\n[a](#a-b-c) [b](page.md#twice-1) [c](page.md#twice-2) ![d](d.png)\n\n"
        '    [e](e.md)\n\n`[f](f.md)` [g](https://example.com/g) <img src="h.png">\n\n[i]: i.md\n'
    )
    assert broken(page) == ["page.md#twice-2", "d.png", "i.md", "h.png"]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= LONGEST_README


# command lines


def command_lines(text: str) -> Iterator[list[str]]:
    """The arguments of every call of difftool in lines for a shell or cron."""
    for line in re.sub(r"\\\n *", "", text).splitlines():
        if re.match(r" *(\w+:|#)", line) or not re.search(r"\bdifftool\b", line):
            continue  # an error, a hint, a usage, a comment
        words = shlex.shlex(re.sub(r"\$\([^)]*\)|\$\{?\w+\}?", "1", line), posix=True, punctuation_chars=True)
        words.whitespace_split = True
        call: list[str] | None = None
        skip = False
        for word in [*words, ";"]:
            if skip:  # the file of a redirection
                skip = False
            elif set(word) <= set("<>&") and set(word) & set("<>"):
                skip = True
                if call and call[-1] == "2":
                    call.pop()
            elif set(word) <= set(";&|()"):
                if call is not None and not re.match(r"\d+\.\d", " ".join(call)):  # what --version prints
                    yield call
                call = None
            elif call is not None:
                call += [] if word == "..." else [word]
            elif word.split("/")[-1] == "difftool":
                call = []


@pytest.fixture
def parse(difftool: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], int]:
    """Reads a command line as difftool does, with all its checks, but stops where the command itself would begin."""
    stubs = types.ModuleType("stubs_of_commands")
    monkeypatch.setitem(sys.modules, stubs.__name__, stubs)
    table = {}
    for name, (target, line) in COMMANDS.items():
        module, _, attribute = target.partition(":")
        function = getattr(importlib.import_module(module), attribute)
        key = name.replace(" ", "_")
        setattr(stubs, key, functools.wraps(function)(lambda *_, **__: Result({}, [], [])))
        table[name] = (f"{stubs.__name__}:{key}", line)

    def read(args: list[str]) -> int:
        if args and args[0] in ("--install-completion", "--show-completion"):  # which look for a shell
            return 0 if any(args[0] in param.opts for param in root(table).params) else 2
        return main(args, table)

    return read


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_command_lines_are_valid(
    page: Path, parse: Callable[[list[str]], int], capfd: pytest.CaptureFixture[str]
) -> None:
    made_up = page.name == "CONTRIBUTING.md"  # test_contributing.py runs its lines in a tree where they are true
    wrong = []
    for block in [] if made_up else blocks_of(page):
        for args in command_lines(block.text) if block.language in SHELL else ():
            capfd.readouterr()
            if parse(args):
                wrong.append((block.name, shlex.join(args), capfd.readouterr().err))
    assert wrong == []


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("difftool sample --count 4 > log 2>&1 && echo done", 0),
        ("0 3 * * *  cd /srv && .venv/bin/difftool train cats --minutes 9 -q >> a.log 2>&1", 0),
        ('for k in 1 2; do difftool sample --seed $k -o "$k.png"; done', 0),
        ('difftool txt2img "a cat <lora:x:0.8> | b" -n "people; text" # why', 0),
        ("difftool sample --cuont 4", 2),
        ("difftool sampel", 2),
        ("difftool sample --count four", 2),
        ("difftool sample --count 0", 2),
        ("difftool sample -o a.png --output-dir b", 2),
        ("difftool voice prep", 2),
    ],
)
def test_a_wrong_command_line_is_found(line: str, code: int, parse: Callable[[list[str]], int]) -> None:
    (args,) = command_lines(line)
    assert parse(args) == code


# command lines that are run


def commands_of(block: Block) -> list[tuple[str, str]]:
    """The commands of a block, each with what the page says that it prints."""
    if block.language == "console":
        parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
        return [(command, printed) for command, _, printed in (part.partition("\n") for part in parts)]
    if block.language == "crontab":
        return [(re.sub(r"^(\S+ +){5}", "", line), "") for line in block.text.splitlines()]
    return [(block.text, block.printed or "")]


def runnable(page: Path) -> list[Block]:
    """The blocks of command lines of a page."""
    if page.name in ELSEWHERE:
        return []
    return [
        block
        for block in BLOCKS
        if block.page == page
        and block.language in SHELL
        and block.marker != "not run"
        and any(command_lines(block.text))
    ]


def unlike(printed: str, output: str) -> list[str]:
    """The lines of a page that an output does not have, in this order. Numbers and the names of runs may differ,
    `...` stands for anything, and the page may leave lines out."""
    lines = iter(_without_numbers(output).splitlines())
    wanted = [re.escape(line).replace(r"\.\.\.", ".*") for line in _without_numbers(printed).splitlines()]
    return [line for line in wanted if not any(re.fullmatch(line, other) for other in lines)]


def _without_numbers(text: str) -> str:
    numbers = re.sub(r"[0-9]+([.,][0-9]+)*", "0", re.sub(r"Z-[0-9a-f]{6}", "Z", text))
    return "\n".join(" ".join(line.split()) for line in numbers.splitlines())


def check(block: Block, command: str, code: int, output: str, printed: str) -> None:
    """Fails unless a command ended as the page says."""
    assert (code != 0) == printed.startswith("error:"), f"{block.name}: {command}: {code}\n{output}"
    assert unlike(printed, output) == [], f"{block.name}: {command}\n{output}"


@pytest.mark.parametrize(
    "page",
    [page for page in pages() if any(block.marker == "run" for block in runnable(page))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_marked_command_lines_run(page: Path, difftool: Callable[..., Any], tmp_path: Path) -> None:
    provide(tmp_path, page.read_text())
    for block in runnable(page):
        for command, printed in commands_of(block) if block.marker == "run" else ():
            for args in command_lines(command):
                ended = difftool(*args)
                check(block, shlex.join(args), ended.code, ended.out + ended.err, printed)


@pytest.fixture
def readers_folder(tmp_path: Path, tortoise: Path, tiny_pipeline: Callable[[str], Path]) -> Path:
    """A folder with difftool in .venv/bin, as after make demo, where nothing can be downloaded."""
    provide_models(tmp_path / STORE, tortoise, {"sd15": tiny_pipeline("sd"), "sdxl": tiny_pipeline("sdxl")})
    program = tmp_path / ".venv" / "bin" / "difftool"
    program.parent.mkdir(parents=True)
    threads = os.environ.get("OMP_NUM_THREADS", "")
    program.write_text(
        f"#!/bin/sh\nexport PYTHONPATH={ROOT / 'src'} {f'OMP_NUM_THREADS={threads}' if threads else ''}\n"
        f'[ "$1 $2" = "models pull" ] || exec {sys.executable} -m difftool "$@"\n'
    )
    program.chmod(0o755)
    return tmp_path


def shell(folder: Path, command: str) -> tuple[int, str]:
    """Runs command lines as in a terminal, or as cron does, without a profile. Long trainings are cut short."""
    command = re.sub(r"--minutes \d+(?![.\d])", "--images 64", command).replace("--more 30m", "--more 64")
    path = f"{folder / '.venv/bin'}:{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-ec", command.replace("/srv/lab", str(folder))],
        cwd=folder,
        env={"HOME": str(folder / "home"), "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in pages() if runnable(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_command_lines_run_in_a_shell(page: Path, readers_folder: Path) -> None:
    text = page.read_text()
    provide(readers_folder, text)
    for name, command in MADE_BEFORE.items():
        if name in text and f"--output-dir {name}" not in text and f"-o {name}" not in text:
            assert shell(readers_folder, command) == (0, ANY), command
    for block in blocks_of(page):
        if script := re.match(r"#!.*\n# (\S+\.sh)", block.text):
            (readers_folder / script[1]).write_text(block.text)
            (readers_folder / script[1]).chmod(0o755)
    for block in runnable(page):
        for command, printed in commands_of(block):
            check(block, command, *shell(readers_folder, command), printed)


def test_options_in_the_text_exist() -> None:
    options = {
        name: {opt for param in load(name, *row).params for opt in _spellings(param)} for name, row in COMMANDS.items()
    }
    top = {opt for param in root(COMMANDS).params for opt in _spellings(param)} | {"--help"}
    everywhere = FOREIGN.union(top, *options.values())
    wrong = []
    for page in pages():
        if page.name in ("CHANGELOG.md", "CONTRIBUTING.md"):  # which name what is gone, and what a reader is to add
            continue
        for code in re.findall(r"`([^`\n]+)`", prose(page)):
            words = code.split()
            if words[0] == "difftool":
                name = next((" ".join(words[1:n]) for n in (3, 2) if " ".join(words[1:n]) in options), None)
                known = everywhere if name is None else options[name] | {"--help"}
            elif words[0].startswith("--"):
                known = everywhere
            else:
                continue
            named = [re.split(r"[=|]", word)[0].rstrip(",;") for word in words if re.match(r"--[a-z]", word)]
            wrong += [(page.name, code) for word in named if word not in known and "..." not in word]
    assert wrong == []


def _spellings(param: Any) -> list[str]:
    return [*param.opts, *param.secondary_opts]


def test_what_make_and_python_are_to_run_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wrong = []
    for page in pages():
        text = page.read_text()
        wrong += [
            (page.name, name)
            for name in re.findall(r"(?:`|^ {4})make ([a-z0-9-]+)", text, re.MULTILINE)
            if name not in targets
        ]
        wrong += [
            (page.name, name)
            for name in re.findall(r"\bpython ((?:bench|docs|tests)/\S+\.py)", text)
            if not (ROOT / name).exists()
        ]
    assert wrong == []


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "toml"], ids=lambda block: block.name)
def test_configuration_files_are_valid(block: Block, parse: Callable[[list[str]], int], tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(block.text)
    tables = tomllib.loads(block.text)
    names = [name for name in COMMANDS if _table(tables, name)]
    assert names
    for name in names:
        required = [param for param in load(name, *COMMANDS[name]).params if param.required]
        assert parse([*name.split(), "--config", str(tmp_path / "a.toml"), *("x" for _ in required)]) == 0


def _table(tables: dict[str, Any], name: str) -> Any:
    """The table of a command, which may be written [voice clone], [voice.clone] or ["voice clone"]."""
    if name in tables:
        return tables[name]
    inner = functools.reduce(lambda table, word: table.get(word, {}), name.split(), tables)
    return inner or None


# Python

PYTHON = [block for block in BLOCKS if block.language == "python" and block.page.name != "CONTRIBUTING.md"]


@pytest.mark.parametrize("block", _marked(PYTHON))
def test_python_runs(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    tree = ast.parse(block.text, block.name)
    if block.marker == "not run":
        look_up(tree)
        return
    capsys.readouterr()
    exec(compile(tree, block.name, "exec"), {"__name__": "__main__"})
    if block.printed is not None:
        assert capsys.readouterr().out.strip() == block.printed.strip()


def look_up(tree: ast.Module) -> None:
    """Fails unless the names that a snippet takes from difftool exist and take the keywords that it gives."""
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names: dict[str, Any] = {"difftool": importlib.import_module("difftool")}  # a block above may have imported it
    exec(compile(ast.Module(imports, []), "imports", "exec"), names)
    names = {name: value for name, value in names.items() if "difftool" in str(getattr(value, "__module__", value))}

    def resolved(node: ast.AST) -> Any:
        if isinstance(node, ast.Name):
            return names.get(node.id)
        if isinstance(node, ast.Attribute) and (owner := resolved(node.value)) is not None:
            return getattr(owner, node.attr)
        return None

    for node in ast.walk(tree):
        resolved(node)
        if isinstance(node, ast.Call) and (function := resolved(node.func)) is not None:
            parameters = inspect.signature(function).parameters
            given = {word.arg for word in node.keywords if word.arg}
            takes_all = any(param.kind is param.VAR_KEYWORD for param in parameters.values())
            assert takes_all or given <= {*parameters}, f"{ast.unparse(node)}: {given - {*parameters}}"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import difftool\ndifftool.sample(count=4)", None),
        ("difftool.voice.clone('a', 'me', preset='fast')", None),
        ("import difftool\ndifftool.smaple(count=4)", AttributeError),
        ("import difftool\ndifftool.pull('sd15', form='/media')", AssertionError),
        ("from difftool.core import Noisy", ImportError),
    ],
)
def test_a_snippet_that_is_not_run_is_looked_up(text: str, error: type[Exception] | None) -> None:
    if error is None:
        look_up(ast.parse(text))
    else:
        with pytest.raises(error):
            look_up(ast.parse(text))


# what is made


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """docs/make.py."""
    spec = importlib.util.spec_from_file_location("docs_make", DOCS / "make.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["cli.md", "difftool.1", "hardware.md"])
def test_generated_pages_are_up_to_date(name: str, make: types.ModuleType) -> None:
    typer = f"typer=={version('typer')}"
    if typer not in (ROOT / "constraints.txt").read_text().splitlines():
        pytest.skip(f"{typer} words the help differently")
    assert (DOCS / name).read_text() == make.PAGES[name](), "run make man"


def test_the_table_of_needs_is_made_again_where_it_stands(
    make: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = (DOCS / "hardware.md").read_text()
    (tmp_path / "hardware.md").write_text(page.replace("| train | digits | 0.6 M", "| train | digits | 9.9 M"))
    monkeypatch.setattr(make, "DOCS", tmp_path)
    assert make.hardware() == page


def test_a_picture_that_was_made_again_is_left_as_it_was(make: types.ModuleType, tmp_path: Path) -> None:
    files = []
    for k, (colour, note) in enumerate([("red", "a"), ("red", "b"), ("blue", "a")]):
        info = PngInfo()
        info.add_text("Comment", note)
        Image.new("RGB", (4, 3), colour).save(tmp_path / f"{k}.png", pnginfo=info)
        files.append((tmp_path / f"{k}.png").read_bytes())
    assert files[0] != files[1]
    assert make.same_pixels(files[0], files[1]) and not make.same_pixels(files[0], files[2])


def test_every_picture_has_the_command_that_makes_it(make: types.ModuleType) -> None:
    assert {path.name for path in DOCS.rglob("*") if path.suffix in MEDIA} == {*make.PICTURES}


def test_the_commands_of_pictures_are_valid(make: types.ModuleType, parse: Callable[[list[str]], int]) -> None:
    for line in make.PICTURES.values():
        program, *args = shlex.split(line)
        if program == "difftool":
            assert parse(args) == 0
        else:
            assert (ROOT / args[0]).exists()


def test_the_first_picture_is_what_its_command_makes(difftool: Callable[..., Any], make: types.ModuleType) -> None:
    args = shlex.split(make.PICTURES["digits.png"].replace("docs/", ""))[1:]
    assert difftool(*args).code == 0
    drawn, stored = (np.asarray(Image.open(path)).astype(int) for path in ("digits.png", DOCS / "digits.png"))
    assert drawn.shape == stored.shape
    assert np.abs(drawn - stored).max() <= 2  # the rounding of another machine


def test_the_manual_is_valid_roff() -> None:
    groff = ["groff", "-man", "-ww", "-z", str(DOCS / "difftool.1")]
    try:
        done = subprocess.run(groff, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("groff is not installed")
    assert (done.returncode, done.stderr) == (0, "")


# spelling


def test_spelling() -> None:
    pytest.importorskip("codespell_lib", reason='codespell is not installed; pip install "difftool[test]"')
    files = [*pages(), *(ROOT / name for name in ("docs/difftool.1", "docs/make.py", "bench", "src"))]
    line = [sys.executable, "-m", "codespell_lib", "--toml", str(ROOT / "pyproject.toml"), *map(str, files)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
