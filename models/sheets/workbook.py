"""Workbooks: .xlsx, .xls and .ods by python-calamine, encrypted ones by msoffcrypto."""

import contextlib
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from typing import Any

import msoffcrypto
import python_calamine as calamine
from msoffcrypto.exceptions import DecryptionError, FileFormatError, InvalidKeyError

from ..choices import N_
from ..errors import RuleBroken
from . import limits, look_again
from .table import FileRefused, Merge, PasswordNeeded, Sheet

_DAMAGED = N_("The file is damaged and cannot be read: open it in Excel or WPS and save it again.")


def read_zip(data: bytes) -> list[Sheet]:
    """The sheets of an .xlsx or .ods; FileRefused for other archives, damage and excess."""
    with _damage_refused(), zipfile.ZipFile(BytesIO(data)) as archive:
        names = set(archive.namelist())
        limits.check_zip(archive)
        if "xl/workbook.bin" in names:
            raise FileRefused(N_("This is an .xlsb workbook: save it as .xlsx."))
        if "xl/workbook.xml" in names:
            limits.check_xlsx(archive)
            return _with_details(archive, _sheets(data))
        if "content.xml" in names and b"spreadsheet" in archive.read("mimetype"):
            limits.check_ods(archive)
            return _sheets(data)
    raise FileRefused(N_("This is no spreadsheet: save the table as .xlsx or as CSV UTF-8."))


def read_ole(data: bytes, password: str | None) -> list[Sheet]:
    """The sheets of an old .xls, or of an encrypted workbook of any age.

    Raises PasswordNeeded without the right password.
    """
    with _damage_refused():
        data = _decrypted(data, password)
        if data.startswith(b"PK"):
            return read_zip(data)
        limits.check_xls(data)
        return _sheets(data)


def decrypted(data: bytes, password: str | None) -> bytes:
    """The workbook without its encryption; *data* itself when it has none.

    Raises PasswordNeeded without the right password, FileRefused for what is no workbook or damaged.
    """
    with _damage_refused():
        return _decrypted(data, password)


def _decrypted(data: bytes, password: str | None) -> bytes:
    try:
        office = msoffcrypto.OfficeFile(BytesIO(data))
    except FileFormatError:
        raise FileRefused(N_("This is no spreadsheet: save the table as .xlsx or as CSV UTF-8.")) from None
    if not office.is_encrypted():
        return data
    if not password:
        raise PasswordNeeded(N_("The file is protected by a password: enter it, or save the file without one."))
    plain = BytesIO()
    try:
        office.load_key(password=password)
        office.decrypt(plain)
    except (InvalidKeyError, DecryptionError):
        raise PasswordNeeded(N_("The password does not open the file: enter the right one.")) from None
    limits.check_bytes(plain.getvalue())
    return plain.getvalue()


def _sheets(data: bytes) -> list[Sheet]:
    book = calamine.CalamineWorkbook.from_filelike(BytesIO(data))
    tables = [m for m in book.sheets_metadata if m.typ == calamine.SheetTypeEnum.WorkSheet]
    return [_sheet(book.get_sheet_by_name(m.name), m.visible != calamine.SheetVisibleEnum.Visible) for m in tables]


def _sheet(table: calamine.CalamineSheet, hidden: bool) -> Sheet:
    height, width = (table.end[0] + 1, table.end[1] + 1) if table.end else (0, 0)
    limits.check_area(height, width)
    skipped: list[Any] = [None] * (table.start[1] if table.start else 0)
    rows = [(n, _cells(skipped, values)) for n, values in enumerate(table.iter_rows(), start=1)]
    while rows and not rows[-1][1]:
        rows.pop()
    sheet = Sheet(table.name, rows, hidden, [_merge(m) for m in table.merged_cell_ranges or ()])
    _spread_down(sheet)
    return sheet


def _cells(skipped: list[Any], values: list[Any]) -> list[Any]:
    """A row's cells without trailing blanks; blanks are None, whole numbers int, durations text."""
    cells = skipped + [_cell(value) for value in values]
    while cells and cells[-1] is None:
        cells.pop()
    return cells


def _cell(value: Any) -> Any:
    if value == "":
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    return str(value) if isinstance(value, timedelta) else value


def _merge(found: tuple[tuple[int, int], tuple[int, int]]) -> Merge:
    (top, left), (bottom, right) = found
    return top + 1, left, bottom + 1, right


def _spread_down(sheet: Sheet) -> None:
    """A cell merged over several rows speaks for each of them."""
    for top, left, bottom, _ in sheet.merges:
        first = sheet.rows[top - 1][1] if top <= len(sheet.rows) else []
        if bottom == top or left >= len(first):
            continue
        for _, cells in sheet.rows[top:bottom]:
            cells += [None] * (left + 1 - len(cells))
            cells[left] = first[left]


def _with_details(archive: zipfile.ZipFile, sheets: list[Sheet]) -> list[Sheet]:
    styles = look_again.percent_styles(archive)
    by_name = {sheet.name: sheet for sheet in sheets}
    for name, path in look_again.sheet_paths(archive).items():
        if name in by_name and path in archive.namelist():
            look_again.look_again(archive, path, by_name[name], styles)
    return sheets


@contextlib.contextmanager
def _damage_refused() -> Iterator[None]:
    """Whatever the readers raise over a broken file, their Rust panics included, becomes a refusal with words.

    Four libraries read bytes that anybody may send; what each raises over which damage is written nowhere.
    """
    try:
        yield
    except RuleBroken:
        raise
    except Exception as error:
        raise FileRefused(_DAMAGED) from error
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # pyo3 derives it from BaseException and exports no name
            raise FileRefused(_DAMAGED) from error
        raise
