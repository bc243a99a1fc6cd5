"""State transitions: declared once on the model, the only way a state moves.

A transition is a method. Its body holds the rule and the side effects; its keyword parameters
are what the person is asked for; its name is half of its permission (``complaint.close``)::

    @transition("status", {ComplaintStatus.EXECUTING}, ComplaintStatus.NOTIFIED, label=N_("Notify"))
    def notify(self, *, opinion: Note) -> None:
        self.notified_at = clock.now()
        self.opinion = opinion

The column named first is a state: no form, import or assignment writes it.
"""

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, wraps
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import sqlalchemy as sa
from sqlalchemy.orm import MappedColumn, Session, object_session

from .choices import N_, Choice, Tone
from .errors import Label, OneOf, RuleBroken

Method = TypeVar("Method", bound=Callable[..., Any])


@dataclass(frozen=True)
class Transition:
    """One declared move of one state column."""

    name: str
    field: str
    sources: frozenset[Choice]
    target: Choice
    label: str
    tone: Tone
    confirm: str | None
    by_clock: bool
    help: str

    def starts_from(self, subject: Any) -> bool:
        return getattr(subject, self.field) in self.sources


@dataclass(frozen=True)
class Parameter:
    """One thing a transition asks for; *kind*, *choices* and *target* as in fields.Field."""

    name: str
    label: str
    kind: str
    required: bool
    default: Any
    type: type
    column: sa.Column[Any]

    @property
    def key(self) -> str:
        return self.name

    @property
    def choices(self) -> Any:
        return self.type if self.kind == "choice" else None

    @property
    def secrecy(self) -> str | None:
        info = self.column.info
        told: str | None = info.get("secrecy", info.get("word", {}).get("secrecy"))
        return told

    @property
    def length(self) -> int | None:
        return getattr(self.column.type, "length", None) if isinstance(self.column.type, sa.String) else None

    @property
    def scale(self) -> int | None:
        return self.column.type.scale if isinstance(self.column.type, sa.Numeric) else None


def transition(
    field: str,
    sources: Iterable[Choice],
    target: Choice,
    *,
    label: str,
    tone: Tone = "neutral",
    confirm: str | None = None,
    by_clock: bool = False,
) -> Callable[[Method], Method]:
    """Declare a method as a move of *field* from any of *sources* to *target*.

    The body runs before the move and refuses it by raising RuleBroken. What it writes, it
    writes with the right of the transition, not with the right to edit.

    tone -- of the button
    confirm -- a question to ask first
    by_clock -- only the clock makes this move; there is no button
    """

    def declare(rule: Method) -> Method:
        help_text = (rule.__doc__ or "").strip().split("\n")[0]
        spec = Transition(rule.__name__, field, frozenset(sources), target, label, tone, confirm, by_clock, help_text)

        @wraps(rule)
        def fire(self: Any, **given: Any) -> None:
            _may_fire(self, spec)
            _refuse_if_binned(self)
            if not spec.starts_from(self):
                raise RuleBroken(
                    N_("“%(record)s” is %(state)s, so “%(act)s” is not possible: it needs %(sources)s."),
                    record=str(self), state=getattr(self, field), act=Label(spec.label), sources=OneOf(spec.sources),
                )  # fmt: skip
            _complain_of_missing(spec, rule, given)
            session = object_session(self)
            # What was typed before is flushed here, and judged by the right to edit. A rule that refuses midway
            # leaves nothing behind, neither in the database nor in the records.
            with nullcontext() if session is None else session.begin_nested(), by_rule(session):
                rule(self, **given)
                setattr(self, field, spec.target)
                for listener in _after[(type(self), spec.name)]:
                    listener(self)
                if session is not None:
                    session.flush()

        fire.transition = spec  # type: ignore[attr-defined]
        fire.rule = rule  # type: ignore[attr-defined]
        return fire  # type: ignore[return-value]

    return declare


_after: dict[tuple[type, str], list[Callable[[Any], None]]] = defaultdict(list)


def after(move: Callable[..., Any]) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Run the decorated function with the record after *move*, in the same transaction.

    ``@after(Contract.sign)``: how an earlier area causes something in a later one.
    """

    def register(listener: Callable[[Any], None]) -> Callable[[Any], None]:
        model, name = _owner_of(move), move.__name__
        _after[(model, name)].append(listener)
        return listener

    return register


def _owner_of(move: Callable[..., Any]) -> type:
    module = inspect.getmodule(move)
    owner = getattr(module, move.__qualname__.rsplit(".", 1)[0], None)
    if not isinstance(owner, type):
        raise ValueError(f"{move.__qualname__} is not a transition of a model")
    return owner


# -- who is writing: a person by the right to edit, or a rule -----------------------------------


@contextmanager
def by_rule(session: Session | None) -> Iterator[None]:
    """Inside the block, what is written is written by a rule: policy does not ask for the right to edit."""
    if session is None:
        yield
        return
    depth = session.info.get("rule_depth", 0)
    session.info["rule_depth"] = depth + 1
    try:
        yield
    finally:
        session.info["rule_depth"] = depth


def ruled(session: Session) -> bool:
    """Whether a rule is writing in this session now."""
    return bool(session.info.get("rule_depth"))


@contextmanager
def judging(session: Session) -> Iterator[None]:
    """Inside the block a rule looks at records without writing: what holds does not depend on who is looking."""
    before = session.info.get("judging", False)
    session.info["judging"] = True
    try:
        yield
    finally:
        session.info["judging"] = before


def sees_all(session: Session) -> bool:
    """Whether a rule is reading in this session now, past the sight of the person at work."""
    return ruled(session) or bool(session.info.get("judging"))


_permit: list[Callable[[Session, str, Any], None]] = []


def ask_before_firing(permit: Callable[[Session, str, Any], None]) -> None:
    """Let policy be asked before each transition of a record in a session: it raises Forbidden to refuse."""
    _permit.append(permit)


def _may_fire(subject: Any, spec: Transition) -> None:
    session = object_session(subject)
    if session is not None and not ruled(session):
        for permit in _permit:
            permit(session, spec.name, subject)


def _refuse_if_binned(subject: Any) -> None:
    if getattr(subject, "deleted_at", None) is not None:
        raise RuleBroken(N_("“%(record)s” is in the recycle bin: restore it first."), record=str(subject))


# -- reading what was declared --------------------------------------------------------------------


@cache
def transitions_of(model: type) -> tuple[Transition, ...]:
    """The transitions *model* declares, in their order in the source."""
    found = {
        name: attribute.transition
        for klass in reversed(model.__mro__)
        for name, attribute in vars(klass).items()
        if hasattr(attribute, "transition")
    }
    return tuple(found.values())


@cache
def state_columns(model: type) -> frozenset[str]:
    return frozenset(t.field for t in transitions_of(model))


def transition_named(model: type, name: str) -> Transition | None:
    return next((t for t in transitions_of(model) if t.name == name), None)


@cache
def parameters_of(model: type, name: str) -> tuple[Parameter, ...]:
    """What the transition *name* of *model* asks for, read from its signature."""
    rule = getattr(model, name).rule
    hints = get_type_hints(rule, include_extras=True)
    return tuple(
        _parameter(p, hints[p.name])
        for p in inspect.signature(rule).parameters.values()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    )


def _parameter(parameter: inspect.Parameter, hint: Any) -> Parameter:
    options = [hint] if get_origin(hint) is Annotated else [a for a in get_args(hint) if a is not NoneType] or [hint]
    kind, plain, column = _read_hint(options[0])
    required = parameter.default is inspect.Parameter.empty
    return Parameter(
        name=parameter.name,
        label=column.info.get("word", {}).get("label") or words(parameter.name),
        kind=kind,
        required=required,
        default=None if required else parameter.default,
        type=plain,
        column=column,
    )


_PLAIN_TYPES: dict[str, tuple[str, Any]] = {
    "bool": ("bool", sa.Boolean),
    "int": ("number", sa.Integer),
    "Decimal": ("number", sa.Numeric(12, 2)),
    "date": ("day", sa.Date),
    "datetime": ("instant", sa.DateTime),
}


def _read_hint(hint: Any) -> tuple[str, type, sa.Column[Any]]:
    """The kind, plain type and column of an annotation: a word of the vocabulary, a Choice, a model or a type."""
    if get_origin(hint) is Annotated:
        plain, *extras = get_args(hint)
        for extra in extras:
            if isinstance(extra, MappedColumn):
                return extra.column.info["kind"], plain, extra.column
        return _read_hint(plain)
    if isinstance(hint, type) and issubclass(hint, Choice):
        return "choice", hint, sa.Column(sa.String(40))
    if isinstance(hint, type) and hasattr(hint, "__mapper__"):
        return "relation", hint, sa.Column(sa.Integer)
    kind, column_type = _PLAIN_TYPES.get(getattr(hint, "__name__", ""), ("text", sa.Text))
    return kind, hint, sa.Column(column_type)


def words(name: str) -> str:
    """``hired_on`` -> "Hired on", ``client_id`` -> "Client": the default label of a name."""
    return name.removesuffix("_id").replace("_", " ").capitalize()


def _complain_of_missing(spec: Transition, rule: Callable[..., Any], given: dict[str, Any]) -> None:
    for parameter in inspect.signature(rule).parameters.values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY or parameter.default is not inspect.Parameter.empty:
            continue
        if given.get(parameter.name) in (None, ""):
            raise RuleBroken(
                N_("“%(act)s” needs “%(what)s”: fill it in."),
                field=parameter.name, act=Label(spec.label), what=Label(words(parameter.name)),
            )  # fmt: skip
