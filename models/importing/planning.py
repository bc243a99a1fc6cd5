"""Rows of raw cells -> a Plan: every value read and checked, every row matched, before anything is written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from .. import policy
from ..base import Model
from ..choices import N_
from ..errors import Labels as SeveralLabels
from ..errors import RuleBroken
from ..fields import Field, field
from ..parsing import is_masked, parser
from ..references import JOINT, in_portions, split_reference, tidy
from ..sheets import Remark, Row
from ..spelling import PLAIN, Labels
from .drafts import Decider, Draft, Masked
from .look_ups import Context, ExistingRow, LookUp, NewLookUp, comparable_attrs, fetch_existing
from .mapping import checked_mapping, named_field
from .plan import Mode, Plan, RowPlan, named_first


def make_plan(
    session: Session,
    model: type[Model],
    titles: Sequence[str],
    rows: Iterable[Row],
    mapping: Mapping[int, str],
    *,
    labels: Labels = PLAIN,
    fixed: Mapping[str, Any] | None = None,
    mode: Mode = Mode.BOTH,
    create_missing: bool = False,
    trusted: bool = False,
) -> Plan:
    """Work out what importing *rows* would do, in a few statements and without writing.

    rows -- (row number as the file shows it, raw cells), as ``sheets.body`` gives them
    mapping -- column index -> field key
    fixed -- field key -> text or value that stands wherever the file says nothing
    create_missing -- make the small look-ups (departments, posts) that the file names and the house lacks
    trusted -- write states and derived values as the file says: only for loading a house's past
    Raises RuleBroken when the mapping or a fixed value is wrong, Forbidden when the person may not import
    *model* or not see a mapped field. What is wrong with single rows stands in ``plan.errors``.
    """
    subject = session.info.get("principal")
    policy.require(subject, "import", model)
    fields = checked_mapping(model, titles, dict(mapping))
    for f in fields.values():
        decision = policy.decide(subject, "view", model, f.key)
        if not decision:
            raise decision.refuse(f.key)
    plan = Plan(model, list(titles), fields, trusted=trusted)
    return _Planner(session, plan, labels, _fixed_values(model, fixed or {}, labels), mode, create_missing).run(rows)


def _fixed_values(model: type[Model], fixed: Mapping[str, Any], labels: Labels) -> dict[str, Any]:
    found = {}
    for name, raw in fixed.items():
        f = named_field(model, name)
        if f.system:
            raise RuleBroken(N_("“%(key)s” cannot be set for every row."), key=name)
        found[f.key] = parser(f, labels)(raw)
    return found


class _Planner:
    """The steps of one plan, in the order of ``run``."""

    def __init__(
        self, session: Session, plan: Plan, labels: Labels, fixed: dict[str, Any], mode: Mode, create_missing: bool
    ) -> None:
        self.session, self.plan, self.model, self.fixed = session, plan, plan.model, fixed
        self.create_missing = create_missing
        self.columns = [(n, f, parser(f, labels)) for n, f in plan.mapping.items()]
        self.given: dict[str, Field] = {f.key: f for f in plan.mapping.values()}
        self.given |= {key: field(self.model, key) for key in fixed}
        self.relations = [f for f in self.given.values() if f.target is not None]
        self.look_ups = {f.key: LookUp(self.model, f) for f in self.relations}
        self.new_look_ups: dict[Any, NewLookUp] = {}
        self.new_rows: dict[tuple[Context, str], RowPlan | None] = {}
        self.key = self._key()
        subject = session.info.get("principal")
        half_seen = [k for k, f in self.given.items() if policy.level_of(subject, f) is not policy.Level.PLAIN]
        self.decider = Decider(plan, mode, self.given, {f.key: read for _, f, read in self.columns}, half_seen)

    def run(self, rows: Iterable[Row]) -> Plan:
        drafts = [self._draft(row_no, cells) for row_no, cells in rows]
        self._warn_of_numbers()
        for f in self.relations:
            self.look_ups[f.key].fetch(self.session, {v for d in drafts if isinstance(v := d.values.get(f.key), str)})
        in_key = [f for f in self.relations if f.key in self.key]
        self._resolve(drafts, in_key)
        self._match(drafts)
        rest = [f for f in self.relations if f not in in_key]
        self._resolve(drafts, sorted(rest, key=lambda f: len(self.look_ups[f.key].shared)))
        drafts.reverse()
        while drafts:  # each draft is let go when it is decided: a large file has no room for both
            draft = drafts.pop()
            row = self.decider.decide(draft)
            if row is not None and row.record_id is None:
                self._name_new_row(row)
        self._join_new_rows()
        return self.plan

    # -- reading ---------------------------------------------------------------------------------

    def _draft(self, row_no: int, cells: list[Any]) -> Draft:
        draft = Draft(row_no)
        self.plan.raw_rows[row_no] = cells
        width = len(cells)
        for n, f, read in self.columns:
            raw = cells[n] if n < width else None
            if raw is None:
                continue
            if is_masked(f, raw):
                draft.values[f.key] = Masked(str(raw))
                continue
            try:
                draft.values[f.key] = read(raw)
            except RuleBroken as broken:
                self.decider.fail(draft, broken, f.key)
        for key, value in self.fixed.items():
            if draft.values.get(key) is None:
                draft.values[key] = value
        return draft

    def _warn_of_numbers(self) -> None:
        """A code kept as a number has lost its leading zeros, if it had any."""
        for n, f, _ in self.columns:
            if f.kind in {"code", "phone", "id_number"} and any(
                isinstance(cells[n], (int, float)) for cells in self.plan.raw_rows.values() if n < len(cells)
            ):
                words = N_("Column “%(column)s” holds numbers: leading zeros, if there were any, are lost.")
                self.plan.remarks.append(Remark(words, {"column": self.plan.titles[n]}))

    # -- finding other records -----------------------------------------------------------------------

    def _resolve(self, drafts: list[Draft], relations: Sequence[Field]) -> None:
        for f in relations:
            for draft in drafts:
                text = draft.values.get(f.key)
                if not isinstance(text, str) or any(name in draft.failed for name in self.look_ups[f.key].shared):
                    continue
                try:
                    draft.values[f.key] = self._find(f, text, self._context(f, draft))
                except RuleBroken as broken:
                    self.decider.fail(draft, broken, f.key)

    def _context(self, f: Field, draft: Draft) -> Context:
        """What the row says, or its record has, of the relations that the target's key shares."""
        context = []
        for name in self.look_ups[f.key].shared:
            value = draft.values.get(name)
            if value is None and draft.existing is not None:
                value = draft.existing[field(self.model, name).attr]
            context.append(value)
        return tuple(context)

    def _find(self, f: Field, text: str, context: Context) -> Any:
        """An id, a look-up to be made, or text that may name a new row of the same file."""
        look_up = self.look_ups[f.key]
        found = look_up.find(text, context)
        if found is not None:
            return found
        if f.target is self.model:
            return _ByRow(text, context)
        known = self.new_look_ups.get((f.target, text, context))
        if known is None and self.create_missing:
            known = look_up.new(text, context)
            if known is not None:
                self.new_look_ups[f.target, text, context] = known
                self.plan.look_ups.append(known)
        if known is None:
            raise look_up.missing(text)
        return known

    # -- matching ---------------------------------------------------------------------------------------

    def _key(self) -> tuple[str, ...]:
        """The fields that identify a row: the natural key; where the file lacks part of it, all that it gives.

        So a file without numbers, read twice, adds nothing the second time.
        """
        if self.model.__key__ and set(self.model.__key__) <= self.given.keys():
            return self.model.__key__
        return tuple(k for k, f in self.given.items() if not f.system and f.kind != "json")

    def _match(self, drafts: list[Draft]) -> None:
        """Find each row's record, by number and by key, and refuse rows that speak of one record twice."""
        identifying = {*self.key, "id"}
        drafts = [d for d in drafts if not identifying.intersection(d.failed)]
        by_id, by_key = self._existing(drafts)
        seen: dict[Any, int] = {}
        for draft in drafts:
            number, key, draft.sought = draft.values.get("id"), self._key_of(draft), True
            same_key = by_key.get(key) if key is not None else None
            draft.existing = by_id.get(number) if number is not None else same_key
            record_id = draft.existing["id"] if draft.existing is not None else None
            identities = [i for i in (record_id, key) if i is not None]
            twin = next((seen[i] for i in identities if i in seen), None)
            problem = self._match_problem(draft, number, same_key, twin)
            seen.update(dict.fromkeys(identities, draft.row_no))
            if problem is not None:
                self.decider.fail(draft, problem)

    def _match_problem(
        self, draft: Draft, number: int | None, same_key: ExistingRow | None, twin: int | None
    ) -> RuleBroken | None:
        last = self.key[-1] if self.key else None
        if number is not None and draft.existing is None:
            return RuleBroken(
                N_("There is no record no. %(number)s, or you may not see it."), field="id", number=number
            )
        if draft.existing is not None and same_key is not None and same_key is not draft.existing:
            what = SeveralLabels(self.given[name].label for name in self.key)
            return RuleBroken(
                N_("Record no. %(number)s has this %(what)s already."), field=last, number=same_key["id"], what=what
            )
        if draft.existing is not None and draft.existing["deleted_at"] is not None:
            return RuleBroken(N_("This record lies in the recycle bin: restore it first."), field=last)
        if twin is not None:
            return RuleBroken(N_("Row %(row)s speaks of the same record: keep one of the two."), field=last, row=twin)
        return None

    def _key_of(self, draft: Draft) -> Any:
        parts = tuple(_to_seconds(draft.values.get(name)) for name in self.key)
        if self.key == self.model.__key__ and any(
            part is None and not self.given[name].column.nullable for name, part in zip(self.key, parts, strict=True)
        ):
            return None  # a number that will be given, or a missing part that is reported elsewhere
        return parts if any(part is not None for part in parts) else None

    def _existing(self, drafts: list[Draft]) -> tuple[dict[int, ExistingRow], dict[Any, ExistingRow]]:
        """The records that rows may speak of, by number and by key."""
        attrs = dict.fromkeys(f.attr for f in self.given.values())
        shared = [field(self.model, name).attr for look_up in self.look_ups.values() for name in look_up.shared]
        attrs |= dict.fromkeys(("id", "version", "deleted_at", *shared))
        by_id: dict[int, ExistingRow] = {}
        for condition in self._conditions(drafts):
            for row in fetch_existing(self.session, self.model, list(attrs), condition):
                by_id[row["id"]] = row
        key_attrs = [field(self.model, name).attr for name in self.key]
        live_last = sorted(by_id.values(), key=lambda row: row["deleted_at"] is None)
        return by_id, {tuple(_to_seconds(row[a]) for a in key_attrs): row for row in live_last if key_attrs}

    def _conditions(self, drafts: list[Draft]) -> Iterator[Any]:
        """What to ask for: the numbers given, and the values of the key's most telling column."""
        for numbers in in_portions({d.values["id"] for d in drafts if d.values.get("id") is not None}):
            yield self.model.id.in_(numbers)
        allowed = comparable_attrs(self.model)
        telling: set[Any] = set()
        column = None
        for name in self.key:
            found = {v for d in drafts if _is_known(v := d.values.get(name))}
            if len(found) > len(telling) and field(self.model, name).attr in allowed:
                column, telling = getattr(self.model, field(self.model, name).attr), found
        if column is not None:
            yield from (column.in_(portion) for portion in in_portions(telling))
        elif instants := [
            (name, v) for name in self.key for d in drafts if isinstance(v := d.values.get(name), datetime)
        ]:
            column = getattr(self.model, instants[0][0])
            moments = [moment for name, moment in instants if name == instants[0][0]]
            yield column.between(min(moments), max(moments) + timedelta(seconds=1))

    # -- rows that name each other ---------------------------------------------------------------------------

    def _name_new_row(self, row: RowPlan) -> None:
        """Let other rows of the file name this one, by a part of its key or by its title, where no other bears it."""
        for shared in {self.look_ups[f.key].shared for f in self.relations if f.target is self.model}:
            context = tuple(row.values.get(name) for name in shared)
            names = {row.values.get(name) for name in (*self.model.__key__, *self.model.__title__)}
            for place in {(context, tidy(name)) for name in names if isinstance(name, str)}:
                self.new_rows[place] = None if place in self.new_rows else row

    def _join_new_rows(self) -> None:
        for f in self.relations:
            if f.target is self.model:
                self.plan.created = [row for row in self.plan.created if self._join(f, row)]
                self.plan.changed = [row for row in self.plan.changed if self._join(f, row)]
                self.plan.created, rings = named_first(self.plan.created)
                for row in sorted(rings, key=lambda row: row.row_no):
                    reason = RuleBroken(N_("This row names itself, perhaps through other rows: correct one of them."))
                    self.plan.refuse(self.plan.error(row.row_no, reason, f.key))

    def _join(self, f: Field, row: RowPlan) -> bool:
        named = row.values.get(f.key)
        if not isinstance(named, _ByRow):
            return True
        found = next(filter(None, (self.new_rows.get((named.context, name)) for name in named.names())), None)
        if found is None:
            self.plan.refuse(self.plan.error(row.row_no, self.look_ups[f.key].missing(named.text), f.key))
            return False
        row.values[f.key], found.text = found, named.text
        return True


@dataclass(frozen=True)
class _ByRow:
    """Text that names no record yet: perhaps a new row of the same file."""

    text: str
    context: Context

    def names(self) -> list[str]:
        """What it may be called: as written, by the key in brackets, by the last part of that."""
        keys = [key for _, key in split_reference(tidy(self.text))]
        return [tidy(self.text), *keys, *(key.rpartition(JOINT)[2] for key in (*keys, tidy(self.text)))]


def _to_seconds(value: Any) -> Any:
    """An instant as far as a file tells it."""
    return value.replace(microsecond=0) if isinstance(value, datetime) else value


def _is_known(value: Any) -> bool:
    """Whether a database can be asked for *value*."""
    return value is not None and not isinstance(value, (Masked, NewLookUp, _ByRow))
