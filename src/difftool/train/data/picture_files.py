"""Picture files, and what lies beside files of pictures or sounds: captions and labels."""

from __future__ import annotations

import csv
import io
import json
import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from ...errors import DifftoolError, Exit
from .decode import Contents, decode, readable, some
from .labels import captions_of, uncaptioned
from .raw import Raw, bytes_of, rows_of, together
from .splits import Places, places
from .tables import COLUMNS

Cells = Mapping[str, object]
"""A row of METADATA by column; cells without a column are under None."""

PLAIN = re.compile(r"(readme|licen[cs]e|notice|citation|copying|thumbs\.db|desktop\.ini)|.*\.(md|rst|html?)", re.I)
"""Names of files that may accompany any data set."""
BOXES = re.compile(r"\d+( -?(\d+(\.\d*)?|\.\d+)(e-?\d+)?){4,}")
"""A line for a detector: a class and the corners of a box."""
METADATA = ("metadata.csv", "metadata.jsonl")
"""Tables beside pictures: their names in a column file_name, labels and captions in others."""


def read_pictures(files: Contents, size: tuple[int, int] | None) -> Raw:
    """All pictures, cropped around the centre and scaled to one size; `splits.places` decides which are held out and
    which folders are classes. Captions are text files of the same name, or in METADATA. Files that are not intact
    pictures are left out and named."""
    names = [name for name in files if readable(PurePosixPath(name).suffix)]
    place = places(names)
    entries = {name: files[name] for name in names if name not in place.left_out}
    decoded = decode(entries, size, place.held)
    raw = Raw(decoded.pixels, skipped=decoded.skipped, notes=decoded.notes)
    return annotated(raw, decoded.names, names, files, place)


def annotated(
    raw: Raw, kept: Sequence[str], names: Collection[str], files: Contents, place: Places, noun: str = "picture"
) -> Raw:
    """`raw` with the captions and labels of its items: those of the files `kept` among the `names` of all items in
    `files`. Without those that are held out, which become its test part."""
    # 1. the text files and tables beside them
    rows, metadata, twice = _metadata(files, noun)
    texts, unused = _texts(files, names)
    (row_labels, row_texts), more = _rows_of(rows, kept, names, noun)
    notes = [*place.notes, *raw.notes, *twice, *more]
    if unused:
        notes.append(f"{some(unused, 'text')} not used: no {noun} with that name, or boxes instead of captions")
    # 2. captions: a row of the table, or else a text file
    captions = None
    if texts or row_texts is not None:
        first = [""] * len(kept) if row_texts is None else row_texts
        captions = [text or texts.get(name, "") for name, text in zip(kept, first, strict=True)]
        notes += uncaptioned(captions, noun)
    # 3. labels: a column of the table, or else folders
    labels = row_labels
    if not labels:
        labels = [place.classes.get(name, "") for name in kept] if place.classes else None
    # 4. the held-out part
    held = np.array([name in place.held for name in kept])
    whole = raw._replace(captions=captions, skipped=(), notes=())
    train = rows_of(whole, np.flatnonzero(~held))
    test = rows_of(whole, np.flatnonzero(held)) if held.any() else None
    split: tuple[list[Any] | None, list[Any] | None] = None, None
    if labels is not None:
        parts = [[labels[k] for k in np.flatnonzero(held == part)] for part in (False, True)]
        if len({*map(repr, parts[0])}) < 2:
            notes.append(f"all {noun}s have the same label or none; labels not used")
        else:
            split = parts[0], parts[1]
    train = train._replace(skipped=raw.skipped, notes=tuple(notes))
    return together(train, test, split, ", ".join(metadata) or "the folder", noun=noun)


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _texts(files: Contents, names: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """(captions by the name of the picture, text files that belong to no picture). Raises DifftoolError 4 for files
    that are damaged or not UTF-8."""
    by_stem = {_stem(name): name for name in files if name.lower().endswith(".txt")}
    text_of = {name: by_stem[_stem(name)] for name in names if _stem(name) in by_stem}
    read = {text: bytes_of(text, files) for text in dict.fromkeys(text_of.values())}
    decoded, wrong = {}, []
    for text, data in read.items():
        try:
            decoded[text] = " ".join(data.decode("utf-8-sig").split())
        except UnicodeDecodeError:
            wrong.append(text)
    if wrong:
        raise DifftoolError(Exit.FILE, f"captions that are not UTF-8: {some(wrong, 'caption')}", "save them as UTF-8")
    filled = [text for text in decoded.values() if text]
    decimal = any("." in text for text in filled)
    if decimal and all(BOXES.fullmatch(text) for text in filled):
        return {}, [*decoded]
    unread = [text for text in by_stem.values() if text not in read]
    unused = [text for text in unread if not PLAIN.match(PurePosixPath(text).name)]
    return {name: decoded[text] for name, text in text_of.items()}, unused


def _metadata(files: Contents, noun: str) -> tuple[dict[str, Cells], list[str], list[str]]:
    """(rows of METADATA by the name of the item, the tables, notes). Raises DifftoolError 4 for a file that is not
    such a table."""
    tables = [name for name in files if PurePosixPath(name).name.lower() in METADATA]
    rows: dict[str, Cells] = {}
    twice: dict[str, None] = {}
    notes = []
    for name in tables:
        try:
            table = _table(name, bytes_of(name, files).decode("utf-8-sig"))
            if not all("file_name" in row for row in table[:1]):
                notes.append(f"{name} not used: it has no column file_name")
                continue
            pictures = [str(row["file_name"]) for row in table]
        except (ValueError, KeyError, TypeError, RecursionError, csv.Error) as error:
            message = f"{name} is not a UTF-8 table with a column file_name"
            raise DifftoolError(Exit.FILE, message, f"write one line per {noun}: file_name, text or label") from error
        for picture, row in zip(pictures, table, strict=True):
            if None in row:
                message = f"{name} has more cells than columns in the row of {picture}"
                raise DifftoolError(Exit.FILE, message, "put texts with commas in quotes")
            key = posixpath.normpath(posixpath.join(posixpath.dirname(name), picture))
            if key in rows:
                twice[key] = None
            rows[key] = row
    if twice:
        notes.append(f"{some(twice, noun)} with several rows of metadata; the last one is used")
    return rows, tables, notes


def _table(name: str, text: str) -> list[Any]:
    """The rows of a CSV file, or the objects of a JSON Lines file."""
    if name.lower().endswith(".csv"):
        return [*csv.DictReader(io.StringIO(text))]
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _rows_of(
    rows: Mapping[str, Cells], kept: Sequence[str], names: Collection[str], noun: str
) -> tuple[list[list[Any] | None], list[str]]:
    """([labels of the items or None, captions or None], notes) from the rows of METADATA."""
    columns = {key: None for row in rows.values() for key in row if key != "file_name"}
    _, label, text = (next((name for name in usual if name in columns), None) for usual in COLUMNS)
    notes = []
    if strange := sorted({*rows} - {*names}):
        notes.append(f"{some(strange, 'row')} of metadata not used: no such {noun}")
    if unused := [key for key in columns if key not in (label, text)]:
        notes.append(f"{some(unused, 'column')} of metadata not used")

    def column(key: str | None) -> list[Any] | None:
        if key is None:
            return None
        cells = [rows.get(name, {}).get(key) for name in kept]
        return [None if cell == "" else cell for cell in cells]

    labels, captions = column(label), column(text)
    if captions is not None:
        captions, more = captions_of(captions, f"{text} of metadata", noun)
        notes += more
    return [labels, captions], notes
