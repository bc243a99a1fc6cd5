"""A sheet as rows of raw cells, where its header stands, and which of its rows are records."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time
from itertools import islice
from typing import Any

from ..choices import N_
from ..errors import RuleBroken
from ..spelling import fold, live, without_brackets

Merge = tuple[int, int, int, int]
"""First row number, first column index, last row number, last column index."""


class FileRefused(RuleBroken):
    """The file, or all of a sheet, cannot be taken."""


class PasswordNeeded(FileRefused):
    """The file is encrypted and no password, or a wrong one, was given."""


@dataclass(frozen=True)
class Remark:
    """Something the reader of a file should know: *text* is a msgid with named %-placeholders."""

    text: str
    params: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text % self.params if self.params else self.text


@dataclass(frozen=True)
class ErrorCell:
    """A cell whose formula failed; *code* is what it shows, such as #N/A."""

    code: str

    def __str__(self) -> str:
        return self.code


class PercentCell(float):
    """A number shown with a percent sign: 0.85 stands for 85 %."""

    def __str__(self) -> str:
        return f"{float(self) * 100:.10g}%"


Raw = str | int | float | bool | date | datetime | time | ErrorCell | None
Row = tuple[int, list[Any]]
"""A row's number as Excel shows it, and its raw cells (Raw)."""


@dataclass
class Sheet:
    """One sheet of a file.

    rows -- (row number as Excel shows it, raw cells); trailing blank rows absent, blank rows between present
    merges -- merged ranges, in row numbers and column indexes
    notes -- what the reader should know: hidden rows, the encoding that was found
    """

    name: str
    rows: list[Row]
    hidden: bool = False
    merges: list[Merge] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)


@dataclass(frozen=True)
class Header:
    """Where the header stands and what it says; two-row headers are joined with a slash."""

    first_row_no: int
    last_row_no: int
    titles: list[str]


_SEARCHED_ROWS = 40
_TOTALS = re.compile(r"(?:本页|本月|全部)?(?:合计|小计|总计|累计|共计)(?:[:(].*)?|(?:grand|sub)?total:?", re.IGNORECASE)
_UNDER_TABLE = re.compile(
    r"(?:填表|制表|打印|导出|审核)?(?:注|备注|说明|人|日期|时间|单位)\s*\d*\s*[:.]|notes?\s*:", re.IGNORECASE
)


def is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def find_header(sheet: Sheet, labels: Iterable[str]) -> Header:
    """The header of *sheet*: the row with most titles among *labels*, and the row it is merged with.

    labels -- every known title, in any spelling
    Without any known title it is the first row that fills most of the sheet's width.
    Raises FileRefused for a sheet without rows and for a header that lost its characters.
    """
    if not sheet.rows:
        raise FileRefused(N_("The sheet “%(sheet)s” is empty: choose another sheet or file."), sheet=sheet.name)
    at = _header_index(sheet, {fold(label) for label in labels} - {""})
    first, last = _extent(sheet, at)
    header = Header(sheet.rows[first][0], sheet.rows[last][0], _titles(sheet, first, last))
    _complain_of_lost_characters(header.titles)
    return header


def body(sheet: Sheet, header: Header) -> Iterator[Row]:
    """The records under *header*: (row number, cells, at least as many as the header has). Blank rows, totals
    and notes are left out."""
    width = len(header.titles)
    for row_no, cells in islice(sheet.rows, header.last_row_no, None):
        if _verdict(cells) is None:
            cells += [None] * (width - len(cells))  # in place: a large file has no room for a second copy
            yield row_no, cells


def left_out(sheet: Sheet, header: Header) -> list[tuple[int, Remark]]:
    """The rows under *header* that ``body`` leaves out and why; blank ones are not worth a word."""
    found = ((row_no, _verdict(cells)) for row_no, cells in sheet.rows[header.last_row_no :])
    return [(row_no, verdict) for row_no, verdict in found if verdict is not None and verdict is not _BLANK]


_BLANK = Remark(N_("Blank row"))
_TOTALS_ROW = Remark(N_("Totals row"))
_NOTE_ROW = Remark(N_("Note under the table"))


def _verdict(cells: list[Any]) -> Remark | None:
    """Why a row is no record; None when it is one."""
    first = next((cell for cell in cells if not is_blank(cell)), None)
    if first is None:
        return _BLANK
    if not isinstance(first, str):
        return None
    text = first.replace(" ", "").replace("\u3000", "").translate(_ASCII)
    if _TOTALS.fullmatch(text):
        return _TOTALS_ROW
    if _UNDER_TABLE.match(text):
        return _NOTE_ROW
    return None


_ASCII = {ord("："): ":", ord("（"): "(", ord("）"): ")", ord("．"): "."}


def _header_index(sheet: Sheet, known: set[str]) -> int:
    rows = sheet.rows[:_SEARCHED_ROWS]
    score, at = max((_known_titles(cells, known), -index) for index, (_, cells) in enumerate(rows))
    if score:
        return -at
    width = max(len(cells) for _, cells in rows)
    filled = [sum(isinstance(cell, str) and not is_blank(cell) for cell in cells) for _, cells in rows]
    wide = [index for index, count in enumerate(filled) if count * 2 > width]
    return wide[0] if wide else filled.index(max(filled))


def _known_titles(cells: list[Any], known: set[str]) -> int:
    return len({fold(t) for c in cells if isinstance(c, str) for t in (c, without_brackets(c)) if fold(t) in known})


def _extent(sheet: Sheet, at: int) -> tuple[int, int]:
    """First and last index of the header's rows: the row found, and its neighbour when cells are merged across both."""
    row_no = sheet.rows[at][0]
    for top, _, bottom, _ in sheet.merges:
        if top == row_no and bottom == row_no + 1:
            return at, at + 1
        if bottom == row_no and top == row_no - 1:
            return at - 1, at
    if at and _is_parent(sheet, row_no - 1):
        return at - 1, at
    return (at, at + 1) if _is_parent(sheet, row_no) and at + 1 < len(sheet.rows) else (at, at)


def _is_parent(sheet: Sheet, row_no: int) -> bool:
    """Whether the row groups columns: it has a range merged across some of them, or several such ranges.

    A title above the table is merged across all of them.
    """
    spans = [(left, right) for top, left, bottom, right in sheet.merges if top == bottom == row_no and right > left]
    width = max(len(cells) for _, cells in sheet.rows[:_SEARCHED_ROWS])
    return bool(spans) and not (len(spans) == 1 and spans[0][1] - spans[0][0] + 2 > width)


def _titles(sheet: Sheet, first: int, last: int) -> list[str]:
    rows = [list(cells) for _, cells in sheet.rows[first : last + 1]]
    width = max(map(len, rows))
    grid = [cells + [None] * (width - len(cells)) for cells in rows]
    base = sheet.rows[first][0]
    for top, left, bottom, right in sheet.merges:
        for row_no in range(max(top, base), min(bottom, base + last - first) + 1):
            for column in range(left, min(right + 1, width)):
                if base <= top:
                    grid[row_no - base][column] = grid[top - base][left]
    return [_joined([row[column] for row in grid]) for column in range(width)]


def _joined(parts: list[Any]) -> str:
    texts = [" ".join(live(str(part)).split()) for part in parts if not is_blank(part)]
    return "/".join(dict.fromkeys(texts))


def _complain_of_lost_characters(titles: list[str]) -> None:
    given = [title for title in titles if title]
    lost = [title for title in given if set(title) <= set("?\ufffd /")]
    if given and len(lost) * 2 > len(given):
        raise FileRefused(
            N_("The titles read “%(titles)s”: the Chinese characters were lost when the file was saved. Export it again as .xlsx or as CSV UTF-8."),
            titles="”, “".join(lost[:4]),
        )  # fmt: skip
