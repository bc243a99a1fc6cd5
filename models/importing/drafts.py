"""One row on its way from the file to the plan, and what is decided about it once its record is known."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .. import values
from ..choices import N_
from ..errors import Label, RuleBroken
from ..fields import Field, own_fields
from ..flush import default_of
from ..sheets import Remark
from ..spelling import inert
from .look_ups import ExistingRow
from .plan import Mode, Plan, RowPlan


@dataclass(frozen=True)
class Masked:
    """A cell that shows a value only in part."""

    text: str


@dataclass(slots=True, eq=False)
class Draft:
    """One row; *values* by field key, relations as text until they are found; *failed* says at which fields."""

    row_no: int
    values: dict[str, Any] = field(default_factory=dict)
    failed: tuple[str | None, ...] = ()
    sought: bool = False
    existing: ExistingRow | None = None


class Decider:
    """Puts drafts where they belong in the plan: created, changed, unchanged, skipped or refused.

    given -- the fields that the file or a fixed value gives, by key
    parse -- how the cells of each are read
    half_seen -- keys of fields that the person at work sees only in part
    """

    def __init__(
        self,
        plan: Plan,
        mode: Mode,
        given: dict[str, Field],
        parse: dict[str, Callable[[Any], Any]],
        half_seen: Iterable[str],
    ) -> None:
        self.plan, self.mode, self.given, self.parse = plan, mode, given, parse
        self.half_seen = frozenset(half_seen)
        self.required = [f for f in own_fields(plan.model) if f.required]
        self.kept = [] if plan.trusted else [f for f in given.values() if f.state or f.derived]
        self.unwritten = {f.key for f in given.values() if f.system or f in self.kept}

    def fail(self, draft: Draft, reason: RuleBroken, key: str | None = None) -> None:
        draft.failed += (key or reason.field,)
        self.plan.refuse(self.plan.error(draft.row_no, reason, key))

    def decide(self, draft: Draft) -> RowPlan | None:
        """The row's place in the plan when something is to be written; else it is counted or refused."""
        if draft.failed and draft.sought and draft.existing is None and self.mode is not Mode.UPDATE:
            self._complain_of_missing(draft)
        if draft.failed:
            return None
        if draft.existing is None and self.mode is Mode.UPDATE:
            self.plan.skipped.append((draft.row_no, Remark(N_("No such record"))))
        elif draft.existing is not None and self.mode is Mode.ADD:
            self.plan.skipped.append((draft.row_no, Remark(N_("Exists already"))))
        elif draft.existing is None:
            return self._new(draft)
        else:
            return self._change(draft, draft.existing)
        return None

    def _new(self, draft: Draft) -> RowPlan | None:
        given = draft.values
        for key in [key for key, value in given.items() if isinstance(value, Masked)]:
            self.fail(draft, _hidden(given[key]), key)
        for f in self.kept:
            if given.get(f.key) not in (None, default_of(f.column)):
                self.fail(draft, _kept(f), f.key)
        self._complain_of_missing(draft)
        if draft.failed:
            return None
        for key in [key for key, value in given.items() if value is None or key in self.unwritten]:
            del given[key]  # the row takes the draft's own dictionary: a large file has no room for a second
        row = RowPlan(draft.row_no, None, None, given)
        self.plan.created.append(row)
        return row

    def _complain_of_missing(self, draft: Draft) -> None:
        for f in self.required:
            if draft.values.get(f.key) is None and f.key not in draft.failed:
                self.fail(draft, _missing(f), f.key)

    def _change(self, draft: Draft, present: ExistingRow) -> RowPlan | None:
        after: dict[str, Any] = {}
        for key, f in self.given.items():
            value = draft.values.get(key)
            if f.system or self._is_same(f, value, present[f.attr]):
                continue
            problem = self._change_problem(f, value)
            if problem is not None:
                self.fail(draft, problem, key)
            elif value is not None or f.column.nullable:
                after[key] = value
        if after and draft.values.get("version") not in (None, present["version"]):
            self.fail(
                draft, RuleBroken(N_("Somebody changed this record after the file was exported: export it again."))
            )
        if draft.failed:
            return None
        if not after:
            self.plan.unchanged += 1
            return None
        before = {key: self._shown(self.given[key], present[self.given[key].attr]) for key in after}
        row = RowPlan(draft.row_no, present["id"], present["version"], after, before)
        self.plan.changed.append(row)
        return row

    def _change_problem(self, f: Field, value: Any) -> RuleBroken | None:
        if isinstance(value, Masked):
            return _hidden(value)
        if f in self.kept:
            return _kept(f)
        return _missing(f) if value is None and f.required else None

    def _is_same(self, f: Field, value: Any, present: Any) -> bool:
        """Whether the cell says what stands there, as far as a file can say it."""
        if isinstance(value, Masked):
            return present is not None and value.text == values.mask(f.kind, present)
        if f.key in self.half_seen:
            return value is None and present is None  # equal or not must not be told by counting
        if value == present:
            return True
        if isinstance(value, datetime) and isinstance(present, datetime):
            return value in (present.replace(microsecond=0), present.replace(second=0, microsecond=0))
        if isinstance(present, str) and f.target is None and f.key in self.parse:
            return _reads_as(self.parse[f.key], present, value)
        return False

    def _shown(self, f: Field, value: Any) -> Any:
        return values.mask(f.kind, value) if f.key in self.half_seen and value is not None else value


def _kept(f: Field) -> RuleBroken:
    if f.state:
        return RuleBroken(
            N_("“%(what)s” moves by the buttons of the record alone: leave the cell as it was exported, or blank in a new row."),
            field=f.key, what=Label(f.label),
        )  # fmt: skip
    return RuleBroken(
        N_("“%(what)s” is worked out by the system: leave the cell as it was exported, or blank in a new row."),
        field=f.key, what=Label(f.label),
    )  # fmt: skip


def _missing(f: Field) -> RuleBroken:
    return RuleBroken(N_("“%(what)s” is missing: fill it in."), field=f.key, what=Label(f.label))


def _hidden(value: Masked) -> RuleBroken:
    return RuleBroken(N_("“%(value)s” is hidden in part: enter it in full, or leave the column out."), value=value.text)


def _reads_as(read: Callable[[Any], Any], present: str, value: Any) -> bool:
    """Whether what stands there would, exported and read again, be *value*."""
    try:
        return bool(read(inert(present)) == value)
    except RuleBroken:
        return False
