"""Tables of pictures in parquet files, as data sets lie on the hub."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
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
"""Names of columns, the first that is there counting: the picture, its label, its caption."""


class Table(NamedTuple):
    """Columns of the files of one part of a data set."""

    pictures: Sequence[Any]
    labels: list[Any] | None
    texts: list[Any] | None
    names: list[str] | None
    """Of the classes."""


def read_parquet(files: Contents, size: tuple[int, int] | None) -> Raw:
    """Columns of pictures, labels and captions; files whose names say test or validation are set aside."""
    names = [*files]
    held = [name for name in names if for_test(name)]
    train = [name for name in names if name not in held]
    notes = [] if train else ["there are only parts to judge by here, and they are learned"]
    train, held = (train, held) if train else (held, [])
    opened = {name: _table(name, files) for name in names}
    columns, unused = _columns(opened[train[0]].schema_arrow, train[0])
    for name in train:
        if _columns(opened[name].schema_arrow, name)[0] != columns:
            what = f"{name} has other columns than {train[0]}"
            raise DifftoolError(Exit.FILE, what, "name files that belong together")
    tables = [_read_tables({name: opened[name] for name in part}, columns) for part in (train, held)]
    entries = {
        f"{head}row {k}": (lambda table=table, k=k: _cell(table.pictures[k].as_py()))
        for table, head in zip(tables, ("", "test "), strict=True)
        for k in range(len(table.pictures))
    }
    decoded = decode(entries, size, [name for name in entries if name.startswith("test ")])
    first = sum(not name.startswith("test ") for name in decoded.names)
    rows = [int(name.split()[-1]) for name in decoded.names]
    train_part, labels, more = _part(tables[0], rows[:first], decoded.pixels[:first])
    test_part, others, _ = _part(tables[1], rows[first:], decoded.pixels[first:])
    notes += [*decoded.notes, *more, *([f"{some(unused, 'column')} not used"] if unused else [])]
    raw = train_part._replace(skipped=decoded.skipped, notes=tuple(notes))
    test = test_part if len(test_part.pixels) else None
    return together(raw, test, (labels, others), f"the column {columns[1]}", tables[0].names)


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
        raise ValueError("there is no picture in it")
    return data


def _table(name: str, files: Contents) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(pyarrow.BufferReader(bytes_of(name, files)))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise damaged(name, error) from error


def _columns(schema: Any, name: str) -> tuple[list[str | None], list[str]]:
    """(the columns of pictures, labels and captions, those that are not used)."""
    here = schema.names
    found = [next((column for column in wanted if column in here), None) for wanted in COLUMNS]
    if found[0] is None:
        found[0] = next(
            (column.name for column in schema if "bytes" in [field.name for field in _fields(column)]), None
        )
    if found[0] is None:
        what = f"{name} has no column of pictures, but {', '.join(here)}"
        raise DifftoolError(Exit.FILE, what, f"call it {COLUMNS[0][0]}")
    if twice := [column for column in found if here.count(column) > 1]:
        raise DifftoolError(Exit.FILE, f"{name} has several columns {twice[0]}", "give each a name of its own")
    return found, [column for column in here if column not in found]


def _fields(column: Any) -> list[Any]:
    return [column.type.field(k) for k in range(column.type.num_fields)]


def _read_tables(opened: Mapping[str, ParquetFile], columns: Sequence[str | None]) -> Table:
    """The columns of pictures, labels and captions of some files; labels and captions where all of them have some."""
    import pyarrow

    image, *rest = columns
    everywhere = [column for column in rest if all(column in file.schema_arrow.names for file in opened.values())]
    wanted = [column for column in (image, *everywhere) if column is not None]
    tables = []
    for name, file in opened.items():
        if image not in file.schema_arrow.names:
            raise DifftoolError(Exit.FILE, f"{name} has no column {image}, as others have", "take files of one set")
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
    """Raises TooLarge where columns would take more than their share."""
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
    """The names of the classes as the hub writes them into a parquet file."""
    try:
        features = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return [str(name) for name in features[column]["names"]]
    except (KeyError, TypeError, ValueError):
        return None


def hub(name: str) -> Path:
    """Where a data set of the hub lies on this machine. Raises DifftoolError 4 where it does not: nothing is
    downloaded."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, repo_type="dataset", local_files_only=True))
    except HFValidationError as error:
        raise DifftoolError(Exit.USAGE, f"hf:{name} is no name on the hub", "write hf:owner/name") from error
    except (LocalEntryNotFoundError, FileNotFoundError, OSError) as error:
        hint = f"fetch it once with: hf download --repo-type dataset {name}"
        raise DifftoolError(Exit.FILE, f"the data set {name} is not on this machine", hint) from error
