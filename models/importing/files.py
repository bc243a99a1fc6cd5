"""Files that an import hands out: the refused rows to correct and send again, and an empty table to fill in."""

from datetime import date, datetime, time
from io import BytesIO
from typing import Any

from xlsxwriter.utility import xl_range_abs

from ..base import Model
from ..choices import N_
from ..errors import Labels as SeveralLabels
from ..errors import RuleBroken
from ..exporting import workbook
from ..fields import Field, own_fields
from ..parsing.words import NO, YES
from ..sheets import PercentCell
from ..spelling import PLAIN, Labels, inert
from .mapping import REASON_TITLE, ROW_TITLE
from .plan import Plan

_FILLED_IN = 2000  # rows of a template that offer the choices
_HINTS = N_("How to fill in")


def error_file(plan: Plan, labels: Labels = PLAIN) -> bytes:
    """An .xlsx of the rows with errors, exactly as they were sent, each with its row number and what is wrong.

    Corrected, it can be imported as it is: the two added columns are passed over.
    """
    stream = BytesIO()
    with workbook(stream) as book:
        sheet = book.add_worksheet()
        formats = _Formats(book)
        titles = [*plan.titles, labels.show(ROW_TITLE), labels.show(REASON_TITLE)]
        for n, title in enumerate(titles):
            sheet.write_string(0, n, inert(title), formats.header)
        for at, (row_no, cells) in enumerate(sorted(plan.failed_rows.items()), start=1):
            for n, raw in enumerate(cells):
                formats.write(sheet, at, n, raw)
            sheet.write_number(at, len(plan.titles), row_no)
            sheet.write_string(at, len(plan.titles) + 1, inert(_reasons(plan, row_no, labels)), formats.reason)
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, len(plan.titles), 16)
        sheet.set_column(len(plan.titles) + 1, len(plan.titles) + 1, 70)
    return stream.getvalue()


def _reasons(plan: Plan, row_no: int, labels: Labels) -> str:
    found = [(e.column, shown(e.reason, labels)) for e in plan.errors if e.row_no == row_no]
    return "\n".join(f"{labels.show(column)}: {reason}" if column else reason for column, reason in found)


def shown(reason: RuleBroken, labels: Labels) -> str:
    """A refusal in the reader's language."""
    params = {name: _param(value, labels) for name, value in reason.params.items()}
    return labels.show(reason.text) % params if params else labels.show(reason.text)


def _param(value: Any, labels: Labels) -> str:
    if isinstance(value, SeveralLabels):
        return ", ".join(labels.show(label) for label in value.labels)
    if isinstance(value, RuleBroken):
        return shown(value, labels)
    label: str | None = getattr(value, "label", None)
    return labels.show(label) if label is not None else str(value)


class _Formats:
    """Writes raw cells as what they were: text as text, days as days, numbers as numbers."""

    def __init__(self, book: Any) -> None:
        self.header = book.add_format({"bold": True, "bg_color": "#F2F4F7", "bottom": 1})
        self.reason = book.add_format({"font_color": "#B42318", "text_wrap": True})
        self.text = book.add_format({"num_format": "@"})
        self.day = book.add_format({"num_format": "yyyy-mm-dd"})
        self.instant = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        self.hour = book.add_format({"num_format": "hh:mm:ss"})
        self.percent = book.add_format({"num_format": "0.00%"})

    def write(self, sheet: Any, row: int, column: int, raw: Any) -> None:
        if raw is None:
            return
        if isinstance(raw, bool):
            sheet.write_boolean(row, column, raw)
        elif isinstance(raw, (int, float)):
            sheet.write_number(row, column, raw, self.percent if isinstance(raw, PercentCell) else None)
        elif isinstance(raw, (date, time)):
            kind = self.instant if isinstance(raw, datetime) else self.hour if isinstance(raw, time) else self.day
            sheet.write_datetime(row, column, raw, kind)
        else:
            sheet.write_string(row, column, inert(str(raw)), self.text)


def template(model: type[Model], labels: Labels = PLAIN) -> bytes:
    """An .xlsx to fill in: the titles of every field people may write, the choices offered in the cells.

    A second sheet says of each field whether it is needed and what it takes.
    """
    stream = BytesIO()
    fields = [f for f in own_fields(model) if f.writable]
    with workbook(stream) as book:
        sheet, hints = book.add_worksheet(), book.add_worksheet(labels.show(_HINTS)[:31])
        text = book.add_format({"num_format": "@"})
        bold = book.add_format({"bold": True, "bg_color": "#F2F4F7", "bottom": 1})
        for n, f in enumerate(fields):
            sheet.write_string(0, n, _title(f, labels), bold)
            sheet.set_column(n, n, max(12, 2 * len(labels.show(f.label)) + 4), text if f.kind in _AS_TEXT else None)
            hints.write_row(n, 0, [_title(f, labels), labels.show(_expected(f)), labels.show(f.help) if f.help else ""])
            options = _options(f, labels)
            hints.write_row(n, 3, options)
            if options:
                _offer(sheet, hints, n, len(options))
        sheet.freeze_panes(1, 0)
        hints.set_column(0, 0, 24)
        hints.set_column(1, 2, 48)
    return stream.getvalue()


_AS_TEXT = {"code", "phone", "id_number"}
_EXPECTED = {
    "day": N_("A day like 2024-03-05"),
    "instant": N_("A day and time like 2024-03-05 14:05"),
    "money": N_("An amount in yuan, figures alone"),
    "percent": N_("A percentage with its sign, like 85%"),
    "number": N_("A number, figures alone"),
    "bool": N_("是 or 否"),
    "relation": N_("The other record’s code, or its name where only one bears it"),
    "phone": N_("One telephone number"),
    "choice": N_("One of the words to the right"),
}


def _title(f: Field, labels: Labels) -> str:
    return labels.show(f.label) + ("*" if f.required else "")


def _expected(f: Field) -> str:
    return _EXPECTED.get("choice" if f.choices is not None else f.kind, N_("Text"))


def _options(f: Field, labels: Labels) -> list[str]:
    if f.choices is not None:
        return [labels.show(member.label) for member in f.choices]
    return [labels.show(YES), labels.show(NO)] if f.kind == "bool" else []


def _offer(sheet: Any, hints: Any, n: int, count: int) -> None:
    """A drop-down in column *n* with the words in row *n* of the hints; a list in the rule itself ends at 255 characters."""
    name = hints.get_name().replace("'", "''")
    sheet.data_validation(
        1, n, _FILLED_IN, n,
        {"validate": "list", "source": f"='{name}'!{xl_range_abs(n, 3, n, 2 + count)}", "error_type": "warning"},
    )  # fmt: skip
