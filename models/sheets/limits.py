"""What a spreadsheet file may hold, found out before anything unpacks it.

python-calamine 0.9.1 lays a sheet out as a full rectangle: five kilobytes with one cell at XFD1048576 ask
for half a terabyte and end the process, which no except clause survives. So every file is measured first.
"""

import re
import struct
import xml.parsers.expat
import zipfile
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import olefile  # type: ignore[import-untyped]

from ..choices import N_
from .table import FileRefused

MAX_BYTES = 64 * 2**20
MAX_UNCOMPRESSED = 320 * 2**20
MAX_ROWS = 200_000
MAX_COLUMNS = 1_000
MAX_CELLS = 12_000_000
"""Cells of the rectangle that a sheet spans, empty ones included."""

_CHUNK = 2**20
_LONGEST_TAG = 4096
_FILLED = re.compile(rb"""<(?:\w+:)?c\s[^<>]*?\br=["']([A-Z]{1,4})(\d{1,8})["'][^<>]*>\s*<(?:\w+:)?(?:v|f|is)\b""")
_ROW_OF_UNNUMBERED = re.compile(rb"""<(?:\w+:)?row\s[^<>]*?\br=["'](\d{1,8})["'][^<>]*>\s*<(?:\w+:)?c(?![^<>]*\br=)""")


def check_bytes(data: bytes) -> None:
    if len(data) > MAX_BYTES:
        raise FileRefused(
            N_("The file has %(size)s MB; at most %(limit)s MB can be taken: split it."),
            size=len(data) // 2**20, limit=MAX_BYTES // 2**20,
        )  # fmt: skip


def check_area(rows: int, columns: int) -> None:
    """Raise FileRefused when a sheet of so many rows and columns is too large."""
    if rows > MAX_ROWS:
        raise FileRefused(
            N_("The sheet reaches down to row %(rows)s; at most %(limit)s rows can be taken: split the file."),
            rows=rows, limit=MAX_ROWS,
        )  # fmt: skip
    if columns > MAX_COLUMNS:
        raise FileRefused(
            N_("The sheet is %(columns)s columns wide; at most %(limit)s can be taken: delete what is not needed."),
            columns=columns, limit=MAX_COLUMNS,
        )  # fmt: skip
    if rows * columns > MAX_CELLS:
        raise FileRefused(
            N_("The sheet spans %(rows)s rows by %(columns)s columns, too much to take at once: split the file."),
            rows=rows, columns=columns,
        )  # fmt: skip


def check_zip(archive: zipfile.ZipFile) -> None:
    """Raise FileRefused when unpacking would fill the memory; what the directory says is checked as it is read."""
    if sum(entry.file_size for entry in archive.infolist()) > MAX_UNCOMPRESSED:
        raise FileRefused(
            N_("Unpacked, the file would have more than %(limit)s MB: split it."), limit=MAX_UNCOMPRESSED // 2**20
        )


def check_xlsx(archive: zipfile.ZipFile) -> None:
    """Raise FileRefused when a sheet is too large. Every member is read: a sheet may lie under any name."""
    for entry in archive.infolist():
        rows, columns = 0, set()
        for chunk in chunks(archive, entry.filename):
            for found, row in _FILLED.findall(chunk):
                columns.add(found)
                rows = max(rows, int(row))
            rows = max([rows, *map(int, _ROW_OF_UNNUMBERED.findall(chunk))])
        check_area(rows, max(map(column_number, columns), default=0))


def chunks(archive: zipfile.ZipFile, path: str) -> Iterator[bytes]:
    """The member *path* in pieces that end after a row or a cell, so that a pattern for one cell finds each once."""
    rest = b""
    with archive.open(path) as member:
        while piece := member.read(_CHUNK):
            rest += piece
            cut = max(rest.rfind(b"row>"), rest.rfind(b"c>"))
            if cut > 0:
                yield rest[:cut]
                rest = rest[cut:]
            elif len(rest) > 16 * _CHUNK:  # no sheet has rows like this: a picture, or long texts
                yield rest[:-_LONGEST_TAG]
                rest = rest[-_LONGEST_TAG:]
    yield rest


def column_number(letters: bytes) -> int:
    """A -> 1, Z -> 26, AA -> 27."""
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def check_ods(archive: zipfile.ZipFile) -> None:
    """Raise FileRefused when a table, its repeated rows and cells laid out, is too large."""
    measure = _OdsMeasure()
    with archive.open("content.xml") as member:
        measure.parser.ParseFile(member)


class _OdsMeasure:
    """Walks an OpenDocument table: a cell or row may stand for thousands by a number."""

    def __init__(self) -> None:
        self.parser = xml.parsers.expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.EntityDeclHandler = self._refuse
        self.row = self.column = self.columns = self.repeat = 0
        self.filled = False

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "table:table":
            self.row = self.columns = 0
        elif tag == "table:table-row":
            self.repeat = int(attributes.get("table:number-rows-repeated", 1))
            self.column, self.filled = 0, False
        elif tag in {"table:table-cell", "table:covered-table-cell"}:
            self.column += int(attributes.get("table:number-columns-repeated", 1))
            if any(name.startswith("office:") for name in attributes):
                self._fill()
        elif tag == "text:p":
            self._fill()

    def _fill(self) -> None:
        self.filled = True
        self.columns = max(self.columns, self.column)

    def _end(self, tag: str) -> None:
        if tag == "table:table-row":
            self.row += self.repeat
            if self.filled:
                check_area(self.row, self.columns)

    def _refuse(self, *_: Any) -> None:
        raise FileRefused(N_("The file is not built like a spreadsheet: open it in Excel or WPS and save it again."))


_BIFF_CELLS = {0x0FD, 0x203, 0x204, 0x205, 0x27E, 0x006, 0x0BD, 0x0D6}
_BIFF_END = 0x0A


def check_xls(data: bytes) -> None:
    """Raise FileRefused when the sheets of an old .xls together span too much: calamine lays out all at once."""
    stream = _biff(data)
    at, rows, columns, total = 0, 0, 0, 0
    while at + 8 <= len(stream):
        kind, length = struct.unpack_from("<HH", stream, at)
        if kind in _BIFF_CELLS:
            row, column = struct.unpack_from("<HH", stream, at + 4)
            rows, columns = max(rows, row + 1), max(columns, column + 1)
        elif kind == _BIFF_END:
            total, rows, columns = total + rows * columns, 0, 0
        at += 4 + length
    if total > MAX_CELLS:
        raise FileRefused(
            N_("The sheets of this .xls together span too much to take at once: save the one needed as .xlsx.")
        )


def _biff(data: bytes) -> bytes:
    with olefile.OleFileIO(BytesIO(data)) as ole:
        for name in ("Workbook", "Book"):
            if ole.exists(name):
                return bytes(ole.openstream(name).read())
    return b""
