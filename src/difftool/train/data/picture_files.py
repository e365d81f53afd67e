"""Pictures in files of their own, with captions and labels beside them."""

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
from .splits import places
from .tables import COLUMNS

Cells = Mapping[str, object]
"""A row of METADATA by its columns; under None stand cells without one."""

PLAIN = re.compile(r"(readme|licen[cs]e|notice|citation|copying|thumbs\.db|desktop\.ini)|.*\.(md|rst|html?)", re.I)
"""Names of files that lie beside any data set."""
BOXES = re.compile(r"\d+( -?(\d+(\.\d*)?|\.\d+)(e-?\d+)?){4,}")
"""What detectors are trained by: a class and the corners of something."""
METADATA = ("metadata.csv", "metadata.jsonl")
"""Beside pictures: their names in a column file_name, and labels and captions in others."""


def read_pictures(files: Contents, size: tuple[int, int] | None) -> Raw:
    """All pictures, cut to the middle and scaled to one size; `splits.places` says which are for judging and which
    folders are classes. A text file of the same name is the caption, or a row of METADATA. Files that are no intact
    pictures are left out and named."""
    names = [name for name in files if readable(PurePosixPath(name).suffix)]
    place = places(names)
    rows, metadata, twice = _metadata(files)
    decoded = decode({name: files[name] for name in names if name not in place.left_out}, size, place.held)
    kept = decoded.names
    texts, unused = _texts(files, names)
    told, more = _rows_of(rows, kept, names)
    notes = [*place.notes, *decoded.notes, *twice, *more]
    notes += [f"{some(unused, 'text')} not used: beside no picture, or boxes and no captions"] if unused else []
    captions = None
    if texts or told[1] is not None:
        captions = [
            texts.get(name, "") if told[1] is None else told[1][k] or texts.get(name, "") for k, name in enumerate(kept)
        ]
        notes += uncaptioned(captions)
    labels: list[Any] | None = (
        told[0] or [place.classes.get(name, "") for name in kept] if place.classes or told[0] else None
    )
    held = np.array([name in place.held for name in kept])
    whole = Raw(decoded.pixels, captions=captions)
    train, test = rows_of(whole, np.flatnonzero(~held)), rows_of(whole, np.flatnonzero(held))
    split = [
        None if labels is None else [label for label, own in zip(labels, held, strict=True) if own == part]
        for part in (False, True)
    ]
    if split[0] is not None and len({*map(repr, split[0])}) < 2:
        split = [None, None]
        notes += ["all pictures have the same label, or none: labels are not used"]
    raw = train._replace(skipped=decoded.skipped, notes=tuple(notes))
    return together(raw, test if held.any() else None, (split[0], split[1]), ", ".join(metadata) or "the folder")


def _texts(files: Contents, names: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """(captions by the names of their pictures, text files that belong to no picture). Raises DifftoolError 4 for those
    that are damaged or no UTF-8."""
    beside = {str(PurePosixPath(name).with_suffix("")): name for name in files if name.lower().endswith(".txt")}
    found = {name: beside[stem] for name in names if (stem := str(PurePosixPath(name).with_suffix(""))) in beside}
    read = {text: bytes_of(text, files) for text in dict.fromkeys(found.values())}
    decoded, wrong = {}, []
    for text, data in read.items():
        try:
            decoded[text] = " ".join(data.decode("utf-8-sig").split())
        except UnicodeDecodeError:
            wrong.append(text)
    if wrong:
        raise DifftoolError(Exit.FILE, f"{some(wrong, 'caption')} not in UTF-8", "save them as UTF-8")
    words = [text for text in decoded.values() if text]
    if any("." in text for text in words) and all(BOXES.fullmatch(text) for text in words):
        return {}, [*decoded]
    unused = [text for text in beside.values() if text not in read and not PLAIN.match(PurePosixPath(text).name)]
    return {name: decoded[text] for name, text in found.items()}, unused


def _metadata(files: Contents) -> tuple[dict[str, Cells], list[str], list[str]]:
    """(rows of METADATA by the names of the pictures, the files they stand in, notes). Raises DifftoolError 4 for what
    is no such table."""
    found = [name for name in files if PurePosixPath(name).name.lower() in METADATA]
    rows: dict[str, Cells] = {}
    twice: dict[str, None] = {}
    notes = []
    for name in found:
        try:
            text = bytes_of(name, files).decode("utf-8-sig")
            lines = (
                [*csv.DictReader(io.StringIO(text))]
                if name.lower().endswith(".csv")
                else [json.loads(line) for line in text.splitlines() if line.strip()]
            )
            if not all("file_name" in row for row in lines[:1]):
                notes.append(f"{name} not used: it has no column file_name")
                continue
            own = [(posixpath.join(posixpath.dirname(name), str(row["file_name"])), row) for row in lines]
        except (ValueError, KeyError, TypeError, RecursionError, csv.Error) as error:
            what = f"{name} is no table of UTF-8 with a column file_name"
            raise DifftoolError(Exit.FILE, what, "write a line a picture: file_name, text or label") from error
        for picture, row in own:
            if None in row:
                what = f"{name} has more cells than columns in the row of {row['file_name']}"
                raise DifftoolError(Exit.FILE, what, "put texts with commas in quotes")
            key = posixpath.normpath(picture)
            twice |= {key: None} if key in rows else {}
            rows[key] = row
    notes += [f"{some(twice, 'picture')} with several rows of metadata: the last counts"] if twice else []
    return rows, found, notes


def _rows_of(
    rows: Mapping[str, Cells], kept: Sequence[str], names: Collection[str]
) -> tuple[list[list[Any] | None], list[str]]:
    """([labels of the pictures or None, captions or None], notes) by the rows of METADATA."""
    columns = {key: None for row in rows.values() for key in row if key != "file_name"}
    label, text = (next((name for name in wanted if name in columns), None) for wanted in COLUMNS[1:])
    strange = sorted({*rows} - {*names})
    unused = [key for key in columns if key not in (label, text)]
    notes = [f"{some(strange, 'row')} of metadata not used: no such picture"] if strange else []
    notes += [f"{some(unused, 'column')} of metadata not used"] if unused else []
    cells = [None if key is None else [rows.get(name, {}).get(key) for name in kept] for key in (label, text)]
    found: list[list[Any] | None]
    found = [None if values is None else [None if value == "" else value for value in values] for values in cells]
    if found[1] is not None:
        found[1], more = captions_of(found[1], f"{text} of metadata")
        notes += more
    return found, notes
