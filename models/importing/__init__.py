"""Files of rows -> records: one engine for the page, the command line and the seed.

    table = importing.open_table(sheets.read(data, filename), Staff, labels)
    plan = importing.make_plan(session, Staff, table.header.titles, table.rows, table.mapping, labels=labels)
    importing.rehearse(session, plan)   # what only writing finds; takes everything back
    importing.apply(session, plan)      # all or nothing; the caller commits

Nothing is guessed and nothing is written half: a row that cannot be taken refuses the file, with the row
number the spreadsheet shows, the column, the cell and the reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..base import Model
from ..choices import N_
from ..sheets import FileRefused, Header, Remark, Row, Sheet, body, find_header, left_out
from ..spelling import PLAIN, Labels, PlainLabels, fold
from .files import error_file, shown, template
from .look_ups import NewLookUp
from .mapping import (
    REASON_TITLE,
    ROW_TITLE,
    guess_mapping,
    importable_fields,
    known_titles,
    merged_mapping,
    named_mapping,
)  # fmt: skip
from .plan import Counts, ImportRefused, Mode, Plan, RowError, RowPlan
from .planning import make_plan
from .writing import apply, rehearse

__all__ = [
    "REASON_TITLE",
    "ROW_TITLE",
    "Counts",
    "FileRefused",
    "ImportRefused",
    "Labels",
    "Mode",
    "NewLookUp",
    "PlainLabels",
    "Plan",
    "RowError",
    "RowPlan",
    "Table",
    "apply",
    "error_file",
    "guess_mapping",
    "importable_fields",
    "known_titles",
    "make_plan",
    "merged_mapping",
    "named_mapping",
    "open_table",
    "rehearse",
    "shown",
    "template",
]  # fmt: skip


@dataclass(frozen=True)
class Table:
    """The sheet that is to be imported, its header, and which field each column is taken for."""

    sheet: Sheet
    header: Header
    mapping: dict[int, str]

    @cached_property
    def rows(self) -> list[Row]:
        return list(body(self.sheet, self.header))

    @property
    def left_out(self) -> list[tuple[int, Remark]]:
        """Rows under the header that are no records: totals, notes."""
        return left_out(self.sheet, self.header)


def open_table(
    sheets: Sequence[Sheet],
    model: type[Model],
    labels: Labels = PLAIN,
    *,
    name: str | None = None,
    named: Mapping[str, str] | None = None,
) -> Table:
    """The sheet called *name*, else the visible one whose titles are known best; its header and mapping.

    named -- {title as the file writes it: field key}, overruling what is guessed
    Raises FileRefused for a sheet that is not there or lost its titles, RuleBroken for a title or field unknown.
    """
    known = known_titles(model, labels)
    sheet = _named_sheet(sheets, name) if name is not None else _best_sheet(sheets, set(known))
    header = find_header(sheet, known)
    chosen = named_mapping(model, header.titles, dict(named or {}))
    return Table(sheet, header, merged_mapping(guess_mapping(model, header.titles, labels), chosen.items()))


def _named_sheet(sheets: Sequence[Sheet], name: str) -> Sheet:
    for sheet in sheets:
        if sheet.name == name:
            return sheet
    raise FileRefused(
        N_("The file has no sheet “%(name)s”: it has %(sheets)s."), name=name, sheets=", ".join(s.name for s in sheets)
    )


def _best_sheet(sheets: Sequence[Sheet], known: set[str]) -> Sheet:
    visible = [s for s in sheets if not s.hidden and s.rows] or [s for s in sheets if not s.hidden] or list(sheets)
    if not visible:
        raise FileRefused(N_("The file has no sheet with rows."))
    return max(visible, key=lambda s: sum(fold(t) in known for t in find_header(s, known).titles) if s.rows else -1)
