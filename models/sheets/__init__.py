"""Bytes of a file -> tables of raw cells, whatever program wrote the file; refusals say what to do instead.

sheet = sheets.read(data, "员工花名册.xlsx")[0]
header = sheets.find_header(sheet, labels)
for row_no, cells in sheets.body(sheet, header): ...
"""

from ..choices import N_
from ..errors import Label
from . import limits, text, workbook
from .table import (
    ErrorCell,
    FileRefused,
    Header,
    PasswordNeeded,
    PercentCell,
    Raw,
    Remark,
    Row,
    Sheet,
    body,
    find_header,
    is_blank,
    left_out,
)  # fmt: skip

__all__ = [
    "ErrorCell", "FileRefused", "Header", "PasswordNeeded", "PercentCell", "Raw", "Remark", "Row", "Sheet", "body",
    "decrypted", "find_header", "is_blank", "left_out", "read",
]  # fmt: skip

_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_IMPOSTORS = (
    (b"%pdf", N_("a PDF document")),
    (b"{\\rtf", N_("an RTF document")),
    (b"mime-version:", N_("a web archive (MHTML)")),
    (b"<html", N_("a web page (HTML)")),
    (b"<!doctype html", N_("a web page (HTML)")),
    (b"<table", N_("a web page (HTML)")),
    (b"<meta", N_("a web page (HTML)")),
    (b"<head", N_("a web page (HTML)")),
    (b"<style", N_("a web page (HTML)")),
    (b"<div", N_("a web page (HTML)")),
    (b"\x89png", N_("a picture")),
    (b"\xff\xd8\xff", N_("a picture")),
    (b"gif8", N_("a picture")),
    (b"7z\xbc\xaf", N_("a packed archive")),
    (b"rar!", N_("a packed archive")),
    (b"\x1f\x8b", N_("a packed archive")),
)


def read(data: bytes, filename: str, *, encoding: str | None = None, password: str | None = None) -> list[Sheet]:
    """Every sheet of a file, hidden ones marked; a text table is one sheet called like the file.

    The first bytes decide what it is, not the name's ending.
    encoding -- the codec of a text table, when what is found is wrong
    password -- of an encrypted workbook
    Raises PasswordNeeded, or FileRefused for what is no table, too large, damaged or of mixed encodings.
    """
    limits.check_bytes(data)
    if not data.strip(b"\0 \r\n\t"):
        raise FileRefused(N_("The file “%(name)s” is empty."), name=filename)
    if data.startswith(_ZIP):
        return workbook.read_zip(data)
    if data.startswith(_OLE):
        return workbook.read_ole(data, password)
    _complain_of_impostor(data, filename)
    return [text.read_text(data, filename.rsplit("/", 1)[-1].rsplit(".", 1)[0] or filename, encoding)]


def decrypted(data: bytes, password: str | None) -> bytes:
    """*data* without its encryption, so that it can be kept and read again without the password.

    Raises PasswordNeeded without the right password, FileRefused for a damaged file.
    """
    return workbook.decrypted(data, password) if data.startswith(_OLE) else data


def _complain_of_impostor(data: bytes, filename: str) -> None:
    """Refuse what calls itself a table and is not one: many systems write web pages and name them .xls."""
    head = data[:2048].removeprefix(b"\xef\xbb\xbf")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.decode("utf-16", errors="ignore").encode()
    head = head.lstrip().lower()
    kind = next((kind for start, kind in _IMPOSTORS if head.startswith(start)), None)
    if head.startswith(b"<?xml"):
        kind = N_("an XML spreadsheet of 2003") if b"spreadsheet" in head or b"excel" in head else N_("an XML document")
        kind = N_("a web page (HTML)") if b"<html" in head else kind
    if kind:
        raise FileRefused(
            N_("“%(name)s” is in truth %(kind)s: open it in Excel or WPS and save it as .xlsx."),
            name=filename, kind=Label(kind),
        )  # fmt: skip
