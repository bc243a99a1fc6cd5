"""What an import would do, worked out before it does anything: the plan a page shows and ``apply`` carries out."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..base import Model
from ..choices import N_, Choice
from ..errors import RuleBroken
from ..fields import Field, field_map
from ..sheets import Remark
from .look_ups import NewLookUp


class Mode(Choice):
    """What to do with rows that match a record, and with those that do not."""

    BOTH = "both", N_("Add new records and update existing ones")
    ADD = "add", N_("Add new records only")
    UPDATE = "update", N_("Update existing records only")


@dataclass(frozen=True)
class RowError:
    """Why one row cannot be taken.

    column -- the title above the cell, or the field's label when the file has no such column; None for the whole row
    raw -- the cell as it was sent
    """

    row_no: int
    column: str | None
    raw: Any
    reason: RuleBroken

    def __str__(self) -> str:
        place = f"row {self.row_no}" + (f", {self.column}" if self.column else "")
        return f"{place}: {self.reason}"


class ImportRefused(RuleBroken):
    """Nothing was written, because of *errors*."""

    def __init__(self, errors: list[RowError]) -> None:
        self.errors = errors
        super().__init__(
            N_("Nothing was imported: %(count)s problems. The first is in row %(row)s: %(reason)s"),
            count=len(errors), row=errors[0].row_no, reason=errors[0].reason,
        )  # fmt: skip


@dataclass(slots=True, eq=False)
class RowPlan:
    """What one row does: ``values`` go into a new record, or into the one numbered *record_id*.

    values -- by field key; a relation's value is an id, a NewLookUp, or the RowPlan of another new row
    before -- of a changed record: what *values* replaces, masked where the person at work sees it masked
    text -- of a new row that other rows name: how they name it
    """

    row_no: int
    record_id: int | None
    version: int | None
    values: dict[str, Any]
    before: dict[str, Any] | None = None
    text: str = ""


@dataclass(frozen=True)
class Counts:
    """How many rows are what."""

    new: int
    changed: int
    unchanged: int
    skipped: int
    errors: int


@dataclass
class Plan:
    """The dry run of one file.

    titles, mapping -- the file's columns, and the fields they are mapped to
    created, changed -- what is to be written; new rows that others name stand before them
    unchanged -- how many rows say what stands already
    skipped -- (row number, why) of rows left out by the mode
    errors -- by row; any one refuses the whole
    failed_rows -- the raw cells of the rows with errors, by row number
    look_ups -- small records to be made first
    remarks -- what the reader should know
    trusted -- states and derived values are written too: only for loading a house
    """

    model: type[Model]
    titles: list[str]
    mapping: dict[int, Field]
    created: list[RowPlan] = field(default_factory=list)
    changed: list[RowPlan] = field(default_factory=list)
    unchanged: int = 0
    skipped: list[tuple[int, Remark]] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)
    failed_rows: dict[int, list[Any]] = field(default_factory=dict)
    look_ups: list[NewLookUp] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    trusted: bool = False
    raw_rows: dict[int, list[Any]] = field(default_factory=dict, repr=False)

    @property
    def counts(self) -> Counts:
        return Counts(
            len(self.created),
            len(self.changed),
            self.unchanged,
            len(self.skipped),
            len({e.row_no for e in self.errors}),
        )

    @property
    def unused(self) -> list[str]:
        """Titles of columns that are not read."""
        return [title for n, title in enumerate(self.titles) if title and n not in self.mapping]

    def refuse(self, error: RowError) -> None:
        self.errors.append(error)
        self.failed_rows[error.row_no] = self.raw_rows.get(error.row_no, [])

    def error(self, row_no: int, reason: RuleBroken, key: str | None = None) -> RowError:
        """The row error for *reason*, with the column and cell it speaks of."""
        key = key or reason.field
        at = next((n for n, f in self.mapping.items() if key in (f.key, f.attr)), None)
        cells = self.raw_rows.get(row_no, [])
        raw = cells[at] if at is not None and at < len(cells) else None
        return RowError(row_no, self.titles[at] if at is not None else self._label(key), raw, reason)

    def _label(self, key: str | None) -> str | None:
        found = field_map(self.model).get(key or "")
        return found.label if found is not None else None

    def sample(self, count: int = 50) -> Iterator[RowPlan]:
        """The first rows that do something, changes first."""
        for n, row in enumerate((*self.changed, *self.created)):
            if n == count:
                return
            yield row

    def digest(self) -> str:
        """A fingerprint of what would be written: the same again means that nothing moved since it was shown."""
        told = hashlib.sha256(self.model.__tablename__.encode())
        for row in (*self.created, *self.changed):
            said = sorted((key, _told(value)) for key, value in row.values.items())
            told.update(repr((row.row_no, row.record_id, row.version, said)).encode())
        return told.hexdigest()


def named_first(rows: list[RowPlan]) -> tuple[list[RowPlan], set[RowPlan]]:
    """The rows, each after those it names, else in their order; and those that name each other in a ring."""
    ordered: dict[RowPlan, None] = {}
    rings: set[RowPlan] = set()
    for row in rows:
        chain = {row: None}
        while chain:
            last = next(reversed(chain))
            named = [v for v in last.values.values() if isinstance(v, RowPlan) and v not in ordered]
            further = next((v for v in named if v not in chain), None)
            if further is not None:
                chain[further] = None
                continue
            if named:
                rings.update(list(chain)[list(chain).index(named[0]) :])
            del chain[last]
            ordered[last] = None
    return list(ordered), rings


def _told(value: Any) -> str:
    if isinstance(value, RowPlan):
        return f"row {value.row_no}"
    return f"new {value.text}" if isinstance(value, NewLookUp) else repr(value)
