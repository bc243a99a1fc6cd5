"""Rows -> CSV and XLSX as Chinese back offices need them: readable by Excel, inert, and read back the same.

Text that a spreadsheet would run gets a quote before it, which the import takes away again. Codes, telephone
and identity numbers are text; days, amounts and percentages are real ones.
"""

import csv
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from io import StringIO
from typing import IO, Any

import xlsxwriter

from .base import Model
from .choices import N_, Choice
from .clock import HOUSE_ZONE
from .errors import RuleBroken
from .fields import Field, field, own_fields
from .parsing.words import NO, YES
from .references import key_text, key_text_of, reference
from .spelling import PLAIN, Labels, inert

__all__ = [
    "Column", "cell_value", "columns_of", "exported_fields", "key_text", "key_text_of", "write_csv", "write_xlsx",
]  # fmt: skip

_BOM = b"\xef\xbb\xbf"
_CSV_ROWS = 500
_XLSX_ROWS = 1_048_575
_MEASURED_ROWS = 200
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")
_FIRST_DAY = date(1900, 3, 1)  # spreadsheets believe in a 29 February 1900
_FORMATS = {
    "money": "#,##0.00",
    "percent": "0.00%",
    "day": "yyyy-mm-dd",
    "instant": "yyyy-mm-dd hh:mm:ss",
}
_WIDTHS = {"day": 12, "instant": 20, "id_number": 21, "phone": 14, "money": 13, "note": 40}


@dataclass(frozen=True)
class Column:
    """One column of an export.

    kind -- as in fields.Field: money, percent, number, day, instant, bool and json are typed; the rest is text
    """

    title: str
    kind: str = "text"


def exported_fields(model: type[Model]) -> tuple[Field, ...]:
    """What an export of *model* holds so that reading it back changes nothing: the record number, then every field."""
    return (field(model, "id"), *own_fields(model))


def columns_of(fields: Iterable[Field], labels: Labels = PLAIN) -> list[Column]:
    return [Column(labels.show(f.label), f.kind) for f in fields]


def cell_value(f: Field, value: Any, labels: Labels = PLAIN) -> Any:
    """A field's value as an export's row holds it: choices by their label, relations by title and key.

    value -- what ``getattr(record, f.key)`` gives: for a relation the other record
    """
    if isinstance(value, Choice):
        return labels.show(value.label)
    return reference(value) if isinstance(value, Model) else value


def write_csv(columns: Sequence[Column], rows: Iterable[Sequence[Any]], labels: Labels = PLAIN) -> Iterator[bytes]:
    """The file in pieces: UTF-8 with a byte order mark, lines ended with CRLF, so that Excel shows Chinese.

    rows -- one sequence of plain values per row, as long as *columns*; instants aware
    """
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow([inert(_clean(column.title)) for column in columns])
    kinds, truth = [column.kind for column in columns], _truth(labels)
    yield _BOM
    for count, row in enumerate(rows, start=1):
        writer.writerow([_csv_cell(kind, value, truth) for kind, value in zip(kinds, row, strict=True)])
        if count % _CSV_ROWS == 0:
            yield _emptied(buffer)
    yield _emptied(buffer)


def _emptied(buffer: StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()


def _truth(labels: Labels) -> dict[bool, str]:
    return {True: labels.show(YES), False: labels.show(NO)}


def _csv_cell(kind: str, value: Any, truth: dict[bool, str]) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return inert(_clean(value))
    if isinstance(value, bool):
        return truth[value]
    if isinstance(value, datetime):
        return value.astimezone(HOUSE_ZONE).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (dict, list)):
        return inert(_json(value))
    text = f"{value:f}" if isinstance(value, Decimal) else str(value)
    return text + "%" if kind == "percent" else text


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _clean(text: str) -> str:
    """*text* without what cannot be printed: one such character would spoil the whole workbook."""
    return _UNPRINTABLE.sub("", text)


def write_xlsx(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Any]],
    stream: IO[bytes],
    labels: Labels = PLAIN,
    *,
    name: str = "",
) -> None:
    """Write a workbook of one sheet into *stream*, a row at a time: memory does not grow with the rows.

    rows -- as for ``write_csv``
    name -- of the sheet
    Raises RuleBroken beyond the 1,048,575 rows that fit on a sheet.
    """
    with workbook(stream) as book:
        sheet = book.add_worksheet(_sheet_name(name))
        writers = [_Writer(book, sheet, n, column, _truth(labels)) for n, column in enumerate(columns)]
        header = book.add_format({"bold": True, "bg_color": "#F2F4F7", "bottom": 1, "text_wrap": True, "valign": "top"})
        for n, column in enumerate(columns):
            sheet.write_string(0, n, inert(_clean(column.title)), header)
        count = _write_rows(sheet, writers, rows)
        sheet.freeze_panes(1, 0)
        sheet.autofilter(0, 0, count, max(len(columns) - 1, 0))
        for writer in writers:
            writer.set_width()


def workbook(stream: IO[bytes]) -> Any:
    """A workbook that keeps texts texts and holds one row in memory."""
    return xlsxwriter.Workbook(
        stream,
        {
            "constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False,
            "strings_to_numbers": False, "nan_inf_to_errors": True,
        },
    )  # fmt: skip


def _write_rows(sheet: Any, writers: list["_Writer"], rows: Iterable[Sequence[Any]]) -> int:
    count = 0
    for row in rows:
        count += 1
        if count > _XLSX_ROWS:
            raise RuleBroken(
                N_("A sheet holds at most %(limit)s rows: narrow the list, or export CSV."), limit=_XLSX_ROWS
            )
        for writer, value in zip(writers, row, strict=True):
            writer.write(count, value)
    return count


def _sheet_name(name: str) -> str:
    return re.sub(r"[\[\]:*?/\\']", " ", _clean(name)).strip()[:31] or "Sheet1"


class _Writer:
    """Writes the cells of one column and remembers how wide they are."""

    def __init__(self, book: Any, sheet: Any, at: int, column: Column, truth: dict[bool, str]) -> None:
        self.sheet, self.at, self.kind, self.truth = sheet, at, column.kind, truth
        plain = "General" if column.kind in {"number", "bool"} else "@"
        self.format = book.add_format({"num_format": _FORMATS.get(column.kind, plain)})
        if column.kind == "note":
            self.format.set_text_wrap()
            self.format.set_align("top")
        self.width = max(_width(column.title) + 3, _WIDTHS.get(column.kind, 8))

    def write(self, row: int, value: Any) -> None:
        if value is None:
            return
        if isinstance(value, datetime):
            self._write_day(row, value.astimezone(HOUSE_ZONE).replace(tzinfo=None, microsecond=0))
        elif isinstance(value, date):
            self._write_day(row, value)
        elif _is_number(value):
            self.sheet.write_number(row, self.at, value / 100 if self.kind == "percent" else value, self.format)
        else:
            self._write_text(row, self._text(value))

    def _write_day(self, row: int, value: date) -> None:
        day = value.date() if isinstance(value, datetime) else value
        if day < _FIRST_DAY:
            self._write_text(row, str(value))
        else:
            self.sheet.write_datetime(row, self.at, value, self.format)

    def _text(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return self.truth[value]
        return _json(value) if isinstance(value, (dict, list)) else f"{value:f}"

    def _write_text(self, row: int, text: str) -> None:
        safe = inert(_clean(text))
        self.sheet.write_string(row, self.at, safe, self.format)
        if row <= _MEASURED_ROWS:
            self.width = max(self.width, min(_width(safe) + 2, 48))

    def set_width(self) -> None:
        self.sheet.set_column(self.at, self.at, min(self.width, 60), self.format)


def _is_number(value: Any) -> bool:
    """Whether a spreadsheet can hold *value* as a number without losing digits."""
    if isinstance(value, bool):
        return False
    return isinstance(value, float) or (isinstance(value, (int, Decimal)) and -(10**15) < value < 10**15)


def _width(text: str) -> int:
    """Columns a text takes on the screen: Chinese characters take two; of several lines the longest counts."""
    lines = text[:400].splitlines() or [""]
    return max(sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line) for line in lines)
