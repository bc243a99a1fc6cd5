"""A Plan -> records: all of it or nothing, in batches of one flush each."""

import re
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session, selectinload
from sqlalchemy.orm.exc import StaleDataError

from .. import journal, policy
from ..base import Model
from ..choices import N_
from ..errors import Label, Labels, RuleBroken, StaleRecord
from ..fields import Field, field, field_map
from ..flush import restoring
from ..references import in_portions
from ..workflow import words
from .look_ups import NewLookUp
from .plan import Counts, ImportRefused, Plan, RowPlan

BATCH = 1000
_MOST_FOUND = 50  # problems that only writing finds are looked for row by row: after these, enough is known


def apply(session: Session, plan: Plan) -> Counts:
    """Write what *plan* says and return its counts; the caller commits.

    Raises ImportRefused with the row errors when the plan has any, or when a rule, a constraint or
    somebody else's change refuses a row; then nothing is written and the session goes on.
    """
    policy.require(session.info.get("principal"), "import", plan.model)
    if plan.errors:
        raise ImportRefused(plan.errors)
    if "act" not in session.info:
        journal.begin(session, journal.Act.IMPORT, table=plan.model.__tablename__)
    with session.begin_nested():
        _Writer(session, plan).write()
        if plan.errors:
            raise ImportRefused(plan.errors)
    return plan.counts


def rehearse(session: Session, plan: Plan) -> Plan:
    """Write what *plan* says, note what only writing finds among ``plan.errors``, and take everything back.

    The records' own checks and the table's constraints speak here; the plan itself asked only for values.
    """
    if plan.errors:
        return plan
    savepoint = session.begin_nested()
    try:
        _Writer(session, plan).write()
    finally:
        savepoint.rollback()
    return plan


class _Writer:
    """Writes one plan inside a savepoint of the caller's."""

    def __init__(self, session: Session, plan: Plan) -> None:
        self.session, self.plan, self.model = session, plan, plan.model
        self.written: dict[RowPlan, int] = {}
        self.look_ups: dict[NewLookUp, int] = {}
        self.named = {
            v for row in (*plan.created, *plan.changed) for v in row.values.values() if isinstance(v, RowPlan)
        }

    def write(self) -> None:
        with restoring(self.session) if self.plan.trusted else nullcontext():
            self._make_look_ups()
            for rows in in_portions((*self.plan.created, *self.plan.changed), BATCH):
                if len(self.plan.errors) < _MOST_FOUND:
                    self._write_or_locate(rows)

    def _make_look_ups(self) -> None:
        made = [
            (n, n.model(**{field(n.model, key).attr: v for key, v in n.values.items()})) for n in self.plan.look_ups
        ]
        try:
            with self.session.begin_nested():
                self.session.add_all(record for _, record in made)
                self.session.flush()
        except (RuleBroken, IntegrityError) as problem:
            self._blame_look_ups(problem)
        else:
            self.look_ups = {new: record.id for new, record in made}

    def _blame_look_ups(self, problem: Exception) -> None:
        """A refused look-up refuses the rows that name it; the first of them says why."""
        rows = (r for r in (*self.plan.created, *self.plan.changed) if _look_ups_in(r))
        row = next(rows)
        self._refuse(row, problem, next(key for key, v in row.values.items() if isinstance(v, NewLookUp)))

    def _write_or_locate(self, rows: list[RowPlan]) -> None:
        """Write the rows in one flush; when that is refused, halve them until the guilty rows stand alone."""
        try:
            with self.session.begin_nested():
                self._write_rows(rows)
        except (RuleBroken, IntegrityError, DataError, StaleDataError) as problem:
            if len(rows) == 1:
                self._refuse(rows[0], problem)
                return
            middle = len(rows) // 2
            for half in (rows[:middle], rows[middle:]):
                if len(self.plan.errors) < _MOST_FOUND:
                    self._write_or_locate(half)

    def _refuse(self, row: RowPlan, problem: Exception, key: str | None = None) -> None:
        reason = problem if isinstance(problem, RuleBroken) else explained(self.model, problem)
        self.plan.refuse(self.plan.error(row.row_no, reason, key))

    def _write_rows(self, rows: list[RowPlan]) -> None:
        with self.session.no_autoflush:
            others = self._others(rows)
            kept = self._kept(rows)
            records: dict[RowPlan, Any] = {}
            for row in rows:
                given = {key: self._value(key, value, others, records) for key, value in row.values.items()}
                records[row] = self._record(row, given, kept)
            self.session.add_all(records.values())
        self.session.flush()
        self.written |= {row: records[row].id for row in rows if row in self.named}

    def _record(self, row: RowPlan, given: dict[str, Any], kept: dict[int, Any]) -> Any:
        if row.record_id is None:
            return self.model(**given)
        record = kept.get(row.record_id)
        if record is None or record.version != row.version:
            raise StaleRecord(N_("Somebody changed this record since the import was checked: check it again."))
        for key, value in given.items():
            setattr(record, key, value)
        return record

    def _kept(self, rows: list[RowPlan]) -> dict[int, Any]:
        ids = [row.record_id for row in rows if row.record_id is not None]
        if not ids:
            return {}
        # A savepoint that was taken back leaves records expired: they are read anew, not one by one.
        found = sa.select(self.model).where(self.model.id.in_(ids)).execution_options(populate_existing=True)
        return {record.id: record for record in self.session.scalars(found)}

    def _others(self, rows: list[RowPlan]) -> dict[tuple[type[Model], int], Any]:
        """The records that these rows name, loaded in one statement per model, so that checks find them at hand."""
        wanted: dict[type[Model], set[int]] = {}
        for row in rows:
            for key, value in row.values.items():
                f = field_map(self.model)[key]
                if f.target is not None and value is not None and (id_ := self._id(value)) is not None:
                    wanted.setdefault(f.target, set()).add(id_)
        return {
            (target, record.id): record
            for target, ids in wanted.items()
            for record in self.session.scalars(self._select(target, ids))
        }

    def _select(self, target: type[Model], ids: Iterable[int]) -> sa.Select[Any]:
        found = sa.select(target).where(target.id.in_(list(ids)))
        whole = self.model.__part_of__
        if whole is not None and field(self.model, whole).target is target:
            siblings = sa.inspect(self.model).relationships[whole].back_populates
            if siblings:  # a part's check looks at the parts beside it
                found = found.options(selectinload(getattr(target, siblings)))
        return found

    def _id(self, value: Any) -> int | None:
        """The number of a record that is written already."""
        if isinstance(value, NewLookUp):
            return self.look_ups.get(value)
        return self.written.get(value) if isinstance(value, RowPlan) else value

    def _value(
        self, key: str, value: Any, others: dict[tuple[type[Model], int], Any], records: dict[RowPlan, Any]
    ) -> Any:
        f = field_map(self.model)[key]
        if f.target is None or value is None:
            return value
        if isinstance(value, RowPlan) and value in records:
            return records[value]
        record = others.get((f.target, self._id(value) or 0))
        if record is None:
            raise self._lost(f)
        return record

    def _lost(self, f: Field) -> RuleBroken:
        return RuleBroken(
            N_("What “%(what)s” names cannot be had: its own row is refused, or somebody removed it."),
            field=f.key, what=Label(f.label),
        )  # fmt: skip


def _look_ups_in(row: RowPlan) -> list[NewLookUp]:
    return [value for value in row.values.values() if isinstance(value, NewLookUp)]


def explained(model: type[Model], problem: Exception) -> RuleBroken:
    """What the database refused, in words: a key that is taken, values that do not fit together."""
    text = str(getattr(problem, "orig", problem))
    unique = re.search(r"UNIQUE constraint failed: ([\w., ]+)|Key \(([\w, ]+)\)=", text)
    if unique and "not present" not in text and "still referenced" not in text:
        columns = [name.rpartition(".")[2].strip() for name in (unique[1] or unique[2]).split(",")]
        return RuleBroken(
            N_("Another record has the same %(what)s already: in the file, in the recycle bin, or where you may not see it."),
            field=columns[-1] if columns[-1] in field_map(model) else None, what=_labels(model, columns),
        )  # fmt: skip
    rule = re.search(rf"ck_{model.__tablename__}_(\w+)", text)
    if rule:
        return RuleBroken(N_("The values do not fit together (%(rule)s): correct the row."), rule=words(rule[1]))
    if isinstance(problem, StaleDataError):
        return StaleRecord(N_("Somebody changed this record since the import was checked: check it again."))
    return RuleBroken(N_("The database refused the row: compare it with the record’s form."))


def _labels(model: type[Model], columns: list[str]) -> Labels:
    known = {f.column.name: f.label for f in field_map(model).values()}
    return Labels(known.get(name, name) for name in columns)
