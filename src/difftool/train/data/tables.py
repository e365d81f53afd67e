"""Parquet tables of pictures, the format of data sets on the hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import DifftoolError, Exit
from .contents import damaged, fits
from .decode import Contents, Pixels, decode, some
from .labels import captions_of, uncaptioned
from .raw import Raw, bytes_of, together
from .splits import for_test

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

COLUMNS = (("image", "img", "picture"), ("label", "labels", "fine_label", "class"), ("text", "caption", "prompt"))
"""Names of the columns of pictures, labels and captions; the first one that is present is used."""


class Table(NamedTuple):
    """Columns of the files of one part of a data set."""

    pictures: Sequence[Any]
    labels: list[Any] | None
    texts: list[Any] | None
    names: list[str] | None
    """Names of the classes."""


def read_parquet(files: Contents, size: tuple[int, int] | None) -> Raw:
    """Columns of pictures, labels and captions; files named test or validation are held out."""
    # 1. the files of both parts
    names = [*files]
    held = [name for name in names if for_test(name)]
    train = [name for name in names if name not in held]
    notes = []
    if not train:
        train, held = held, []
        notes.append("there are only test parts; they are used for training")
    # 2. their columns
    opened = {name: _table(name, files) for name in names}
    columns, unused = _columns(opened[train[0]].schema_arrow, train[0])
    for name in train:
        own, _ = _columns(opened[name].schema_arrow, name)
        if own != columns:
            message = f"{name} and {train[0]} have different columns"
            raise DifftoolError(Exit.FILE, message, "pass only files that belong together")
    trained = _read_tables({name: opened[name] for name in train}, columns)
    judged = _read_tables({name: opened[name] for name in held}, columns)
    # 3. the pictures of both, decoded together
    tests = _entries(judged, "test ")
    decoded = decode({**_entries(trained, ""), **tests}, size, tests)
    first = sum(name not in tests for name in decoded.names)
    rows = [int(name.split()[-1]) for name in decoded.names]
    train_part, labels, more = _part(trained, rows[:first], decoded.pixels[:first])
    test_part, others, _ = _part(judged, rows[first:], decoded.pixels[first:])
    notes += [*decoded.notes, *more]
    if unused:
        notes.append(f"{some(unused, 'column')} not used")
    raw = train_part._replace(skipped=decoded.skipped, notes=tuple(notes))
    test = test_part if len(test_part.pixels) else None
    return together(raw, test, (labels, others), f"the column {columns[1]}", trained.names)


def _entries(table: Table, head: str) -> dict[str, Callable[[], bytes]]:
    """Readers for the pictures of a table."""

    def read(k: int) -> bytes:
        return _cell(table.pictures[k].as_py())

    return {f"{head}row {k}": partial(read, k) for k in range(len(table.pictures))}


def _part(table: Table, rows: Sequence[int], pixels: Pixels) -> tuple[Raw, list[Any] | None, list[str]]:
    """(pictures with captions, their labels, notes) of these rows."""
    labels = None if table.labels is None else [table.labels[k] for k in rows]
    if table.texts is None:
        return Raw(pixels), labels, []
    captions, notes = captions_of([table.texts[k] for k in rows], "the column of captions")
    return Raw(pixels, captions=captions), labels, [*notes, *uncaptioned(captions)]


def _cell(value: Any) -> bytes:
    data = value.get("bytes") if isinstance(value, Mapping) else value
    if not isinstance(data, bytes):
        raise ValueError("it contains no picture")
    return data


def _table(name: str, files: Contents) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(pyarrow.BufferReader(bytes_of(name, files)))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise damaged(name, error) from error


def _columns(schema: Any, name: str) -> tuple[list[str | None], list[str]]:
    """(the columns of pictures, labels and captions, the columns that are not used)."""
    present = schema.names
    columns = [next((column for column in usual if column in present), None) for usual in COLUMNS]
    if columns[0] is None:
        columns[0] = next((column.name for column in schema if "bytes" in _fields(column)), None)
    if columns[0] is None:
        message = f"{name} has no column of pictures, only {', '.join(present)}"
        raise DifftoolError(Exit.FILE, message, f"rename the column of pictures to {COLUMNS[0][0]}")
    if twice := [column for column in columns if present.count(column) > 1]:
        raise DifftoolError(Exit.FILE, f"{name} has several columns named {twice[0]}", "rename all but one of them")
    return columns, [column for column in present if column not in columns]


def _fields(column: Any) -> list[str]:
    """The names of the fields of a column."""
    return [column.type.field(k).name for k in range(column.type.num_fields)]


def _read_tables(opened: Mapping[str, ParquetFile], columns: Sequence[str | None]) -> Table:
    """The columns of pictures, labels and captions of some files; labels and captions only if all files have them."""
    import pyarrow

    image, *rest = columns
    schemas = [file.schema_arrow.names for file in opened.values()]
    everywhere = [column for column in rest if all(column in names for names in schemas)]
    wanted = [column for column in (image, *everywhere) if column is not None]
    tables = []
    for name, file in opened.items():
        if image not in file.schema_arrow.names:
            raise DifftoolError(
                Exit.FILE, f"{name} has no column {image}, unlike the others", "pass files of a single data set"
            )
        try:
            _fits_columns(file.metadata, wanted)
            tables.append(file.read(columns=wanted))
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise damaged(name, error) from error

    def of(column: str | None) -> list[Any] | None:
        if column not in wanted:
            return None
        return [value for table in tables for value in table.column(column).to_pylist()]

    pictures = [value for table in tables for value in table.column(image)]
    names = _features(tables[0], columns[1]) if tables and columns[1] is not None else None
    return Table(pictures, of(columns[1]), of(columns[2]), names)


def _fits_columns(metadata: Any, wanted: Collection[str]) -> None:
    """Raises TooLarge for columns that unpack to too much."""
    for group in (metadata.row_group(k) for k in range(metadata.num_row_groups)):
        for column in (group.column(k) for k in range(group.num_columns)):
            if column.path_in_schema.split(".")[0] in wanted:
                fits(column.total_uncompressed_size, column.total_compressed_size)


def count_parquet(files: Contents) -> int:
    opened = {name: _table(name, files) for name in files}
    for name, file in opened.items():
        _columns(file.schema_arrow, name)
    return sum(file.metadata.num_rows for file in opened.values())


def _features(table: Any, column: str) -> list[str] | None:
    """The names of the classes, from the hub's metadata in a parquet file."""
    metadata = table.schema.metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return [str(name) for name in features[column]["names"]]
    except (KeyError, TypeError, ValueError):
        return None


def hub(name: str) -> Path:
    """The local copy of a data set of the hub. Raises DifftoolError 4 if there is none: nothing is downloaded."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, repo_type="dataset", local_files_only=True))
    except HFValidationError as error:
        raise DifftoolError(Exit.USAGE, f"hf:{name} is not a valid name on the hub", "write hf:owner/name") from error
    except (LocalEntryNotFoundError, FileNotFoundError, OSError) as error:
        hint = f"fetch it once with: hf download --repo-type dataset {name}"
        raise DifftoolError(Exit.FILE, f"the data set {name} is not on this machine", hint) from error
