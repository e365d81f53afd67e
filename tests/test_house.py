"""What holds for all code: functions that fit on a screen, and shapes that have a name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

SRC = Path(__file__).parents[1] / "src" / "difftool"
LONGEST = 60
"""Lines of the body of a function, without its signature and docstring."""
UNNAMED = 40
"""Lines with an annotation that says no more than that something is a mapping of anything."""

MODULES = {path.relative_to(SRC): ast.parse(path.read_text()) for path in sorted(SRC.rglob("*.py"))}


def body_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function, without its signature and docstring."""
    statements = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    if not statements:
        return 0
    return (function.end_lineno or 0) - statements[0].lineno + 1


def test_functions_fit_on_a_screen() -> None:
    functions = [
        (f"{path}:{node.lineno} {node.name}", body_of(node))
        for path, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    assert [(name, lines) for name, lines in functions if lines > LONGEST] == []


def annotations(tree: ast.AST) -> Iterator[ast.expr]:
    """All annotations of a module."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            named = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg)
            yield from (argument.annotation for argument in named if argument and argument.annotation)
            if node.returns:
                yield node.returns
        elif isinstance(node, ast.AnnAssign):
            yield node.annotation


def unnamed(annotation: ast.AST, aliases: set[str]) -> Iterator[int]:
    """The lines on which an annotation says dict, dict[str, Any], Mapping[str, Any], or an alias of one."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        with suppress(SyntaxError):  # a text, and no type
            line = annotation.lineno
            annotation = ast.increment_lineno(ast.parse(annotation.value, mode="eval"), line - 1).body
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name):
        if annotation.value.id in ("dict", "Mapping") and ast.unparse(annotation.slice) in ("str, Any", "(str, Any)"):
            yield annotation.lineno
        yield from unnamed(annotation.slice, aliases)
    elif isinstance(annotation, ast.Name):
        if annotation.id in {"dict", *aliases}:
            yield annotation.lineno
    else:
        for child in ast.iter_child_nodes(annotation):
            yield from unnamed(child, aliases)


def aliases_of(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """The names that a module gives to types, and what they stand for."""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias" and node.value:
            yield ast.unparse(node.target), node.value
        elif isinstance(node, ast.Assign) and isinstance(node.value, (ast.Subscript, ast.BinOp)):
            yield ast.unparse(node.targets[0]), node.value


def unnamed_lines() -> list[str]:
    """FILE:LINE of all such annotations, with the lines that give them another name."""
    aliases: set[str] = set()
    found = set()
    for _ in range(3):  # an alias of an alias
        for path, tree in MODULES.items():
            for name, value in aliases_of(tree):
                if lines := [*unnamed(value, aliases)]:
                    aliases.add(name)
                    found |= {f"{path}:{line}" for line in lines}
    for path, tree in MODULES.items():
        for annotation in annotations(tree):
            found |= {f"{path}:{line}" for line in unnamed(annotation, aliases)}
    return sorted(found)


def test_aliases_are_seen_through() -> None:
    tree = ast.parse(
        'A = dict[str, Any]\nB: TypeAlias = list["A"] | None\ndef f(x: B, *y: dict, **z: dict[str, int]) -> A: ...'
    )
    names = dict(aliases_of(tree))
    assert [*unnamed(names["A"], set())] == [1] and [*unnamed(names["B"], {"A"})]
    assert [line for part in annotations(tree) for line in unnamed(part, {"A", "B"})] == [3, 3, 3]


def test_shapes_have_names() -> None:
    lines = unnamed_lines()
    assert len(lines) <= UNNAMED, f"{len(lines)} lines: {' '.join(lines)}"
