"""What python-calamine does not tell about an .xlsx: failed formulas, percent formats, hidden rows.

calamine 0.9.1 turns #N/A into a blank and 85 % into 0.85. openpyxl would tell, in twelve times the time, so the
sheet's XML is searched for just these, and only when the file has any.
"""

import re
import zipfile
from typing import Any
from xml.etree import ElementTree

from ..choices import N_
from .limits import chunks, column_number
from .table import ErrorCell, PercentCell, Remark, Sheet

_MAX_DIRECTORY = 8 * 2**20
_ERROR = re.compile(
    rb"""<(?:\w+:)?c\s(?=[^<>]*\bt=["']e["'])[^<>]*?\br=["']([A-Z]+)(\d+)["'][^<>]*>(?:(?!</(?:\w+:)?c>).)*?<(?:\w+:)?v>([^<]*)""",
    re.DOTALL,
)
_HIDDEN_ROW = re.compile(rb"""<(?:\w+:)?row\s(?=[^<>]*\bhidden=["'](?:1|true))[^<>]*?\br=["'](\d+)["']""")
_CELL_OF_STYLES = rb"""<(?:\w+:)?c\s(?=[^<>]*\bs=["'](?:%s)["'])[^<>]*?\br=["']([A-Z]+)(\d+)["']"""
_BUILT_IN_PERCENT = {"9", "10"}


def look_again(archive: zipfile.ZipFile, path: str, sheet: Sheet, percent_styles: list[str]) -> None:
    """Put ErrorCells and PercentCells into the rows of *sheet*, and a remark when rows are hidden."""
    percent = re.compile(_CELL_OF_STYLES % "|".join(percent_styles).encode()) if percent_styles else None
    hidden = 0
    for chunk in chunks(archive, path):
        for letters, row, code in _ERROR.findall(chunk):
            _put(sheet, int(row), column_number(letters) - 1, ErrorCell(code.decode()))
        for letters, row in percent.findall(chunk) if percent else ():
            _make_percent(sheet, int(row), column_number(letters) - 1)
        hidden += sum(int(row) <= len(sheet.rows) for row in _HIDDEN_ROW.findall(chunk))
    if hidden:
        sheet.notes.append(Remark(N_("Hidden rows are read too: %(count)s"), {"count": hidden}))


def _put(sheet: Sheet, row_no: int, column: int, cell: Any) -> None:
    while len(sheet.rows) < row_no:  # a failed formula may stand below everything calamine saw
        sheet.rows.append((len(sheet.rows) + 1, []))
    cells = sheet.rows[row_no - 1][1]
    cells += [None] * (column + 1 - len(cells))
    cells[column] = cell


def _make_percent(sheet: Sheet, row_no: int, column: int) -> None:
    cells = sheet.rows[row_no - 1][1] if row_no <= len(sheet.rows) else []
    if column < len(cells) and isinstance(cells[column], (int, float)) and not isinstance(cells[column], bool):
        cells[column] = PercentCell(cells[column])


def sheet_paths(archive: zipfile.ZipFile) -> dict[str, str]:
    """Where in the archive each sheet lies, by its name."""
    targets = {}
    for relation in _tree(archive, "xl/_rels/workbook.xml.rels"):
        target = relation.attrib.get("Target", "")
        targets[relation.attrib.get("Id", "")] = target[1:] if target.startswith("/") else "xl/" + target
    return {
        element.attrib.get("name", ""): targets.get(value, "")
        for element in _tree(archive, "xl/workbook.xml").iter()
        if element.tag.endswith("}sheet")
        for name, value in element.attrib.items()
        if name.endswith("}id")
    }


def percent_styles(archive: zipfile.ZipFile) -> list[str]:
    """The numbers of the cell styles that show a percent sign."""
    tree = _tree(archive, "xl/styles.xml")
    own = {
        element.attrib.get("numFmtId", "")
        for element in tree.iter()
        if element.tag.endswith("}numFmt") and _shows_percent(element.attrib.get("formatCode", ""))
    }
    styles = next((element for element in tree if element.tag.endswith("}cellXfs")), ())
    return [str(n) for n, xf in enumerate(styles) if xf.attrib.get("numFmtId") in own | _BUILT_IN_PERCENT]


def _shows_percent(code: str) -> bool:
    return "%" in re.sub(r'"[^"]*"|\\.', "", code)


def _tree(archive: zipfile.ZipFile, path: str) -> ElementTree.Element:
    if path not in archive.namelist() or archive.getinfo(path).file_size > _MAX_DIRECTORY:
        return ElementTree.Element("absent")
    return ElementTree.fromstring(archive.read(path))
