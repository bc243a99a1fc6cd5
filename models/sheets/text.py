"""CSV and other text tables: which encoding, which delimiter, which rows."""

import codecs
import csv
import re
from collections import Counter
from io import BytesIO, StringIO, TextIOWrapper
from typing import Any, TextIO

from ..choices import N_
from .limits import check_area
from .table import FileRefused, Remark, Row, Sheet

_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SNIFFED_ROWS = 20
_SNIFFED_CHARACTERS = 2**16
_SHARED = 5000

csv.field_size_limit(2**24)  # a note may be long; the module's own limit is 131,072


def read_text(data: bytes, name: str, encoding: str | None) -> Sheet:
    """The one sheet of a text table.

    encoding -- a Python codec name, to overrule what is found
    Raises FileRefused naming the line of the first bad byte, or the row of a stray quotation mark.
    """
    used = find_encoding(data, encoding)
    notes = [] if used.startswith("utf") else [Remark(N_("Read as %(encoding)s"), {"encoding": used.upper()})]
    return Sheet(name, _rows(TextIOWrapper(BytesIO(data), used, newline="")), notes=notes)


def find_encoding(data: bytes, encoding: str | None = None) -> str:
    """The codec that reads all of *data*: the given one, that of the byte order mark, UTF-8, else GB18030.

    Each is strict: a replaced character would be a changed name. Guessers of encodings fail on mostly-ASCII
    files with one Chinese name, so none is asked.
    """
    marked = next((codec for mark, codec in _BOMS if data.startswith(mark)), None)
    if encoding or marked:
        return _strictly(data, encoding or marked or "")
    try:
        return _whole(data, "utf-8")
    except UnicodeDecodeError as error:
        if _mostly_utf8(data):
            raise _mixed(data, "UTF-8", error.start) from None
        utf8_until = error.start
    try:
        return _whole(data, "gb18030")
    except UnicodeDecodeError as error:
        codec, at = max(("UTF-8", utf8_until), ("GB18030", error.start), key=lambda found: found[1])
        raise _mixed(data, codec, at) from None


def _whole(data: bytes, encoding: str) -> str:
    if "\0" in data.decode(encoding):
        raise FileRefused(N_("This is no table: save it as .xlsx or as CSV UTF-8."))
    return encoding


def _strictly(data: bytes, encoding: str) -> str:
    try:
        return _whole(data, "utf-8-sig" if encoding.lower() in {"utf-8", "utf8"} else encoding.lower())
    except LookupError:
        raise FileRefused(N_("There is no encoding called “%(encoding)s”."), encoding=encoding) from None
    except UnicodeError as error:
        raise _mixed(data, encoding.upper(), getattr(error, "start", 0)) from None


def _mostly_utf8(data: bytes) -> bool:
    """Whether Chinese characters written as UTF-8 outnumber the bytes that are not UTF-8.

    GB18030 takes many runs of UTF-8 for other characters, so a file of both kinds could pass for GB18030.
    """
    text = data.decode("utf-8", errors="surrogateescape")
    return len(re.findall("[\u4e00-\u9fff]", text)) > len(re.findall("[\udc80-\udcff]", text))


def _mixed(data: bytes, encoding: str, at: int) -> FileRefused:
    return FileRefused(
        N_("Line %(line)s is not written in %(encoding)s like the lines before it: the file mixes encodings or is damaged. Open it in Excel, mend that line and save it as CSV UTF-8."),
        line=data.count(b"\n", 0, at) + 1, encoding=encoding,
    )  # fmt: skip


def _rows(lines: TextIO) -> list[Row]:
    head = lines.read(_SNIFFED_CHARACTERS)
    lines.seek(0)
    said = re.match(r"sep=(.)\r?\n", head)  # a line for Excel, which does not count it
    if said:
        lines.readline()
    reader = csv.reader(lines, delimiter=said[1] if said else _delimiter(head), strict=True)
    rows: list[Row] = []
    known: dict[str, str] = {}
    try:
        for row in reader:
            cells: list[Any] = [_shared(cell, known) if cell else None for cell in row]
            while cells and cells[-1] is None:
                cells.pop()
            rows.append((len(rows) + 1, cells))
            if len(rows) % 1000 == 1:
                check_area(len(rows), len(row))
    except csv.Error:
        raise FileRefused(
            N_("Row %(row)s has a quotation mark that is not closed or stands inside a text: open the file in Excel or WPS and save it again."),
            row=len(rows) + 1,
        ) from None  # fmt: skip
    while rows and not rows[-1][1]:
        rows.pop()
    check_area(len(rows), max((len(cells) for _, cells in rows), default=0))
    return rows


def _shared(cell: str, known: dict[str, str]) -> str:
    """One string for cells that say the same: 离职 stands in thousands of rows."""
    return known.setdefault(cell, cell) if len(known) < _SHARED else known.get(cell, cell)


def _delimiter(head: str) -> str:
    """The one of comma, tab and semicolon that cuts most of the first rows alike, then into most columns."""
    return max(",\t;", key=lambda delimiter: _evenness(head, delimiter))


def _evenness(head: str, delimiter: str) -> tuple[int, int]:
    """How many of the first rows have the most common number of columns above one, and which number that is."""
    counts: list[int] = []
    try:
        for row in csv.reader(StringIO(head, newline=""), delimiter=delimiter):
            if any(row):
                counts.append(len(row))
            if len(counts) == _SNIFFED_ROWS:
                break
    except csv.Error:
        return 0, 0
    return max(((times, columns) for columns, times in Counter(counts).items() if columns > 1), default=(0, 0))
