"""Finding records by what people type: characters, pinyin, initials, part of a number.

Each searchable value of a record is kept as tokens, and a search is a prefix match on tokens: the
same index range on SQLite and PostgreSQL. A token carries the secrecy of the field it comes from,
so that nobody finds a record through a field hidden from them.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Index, String, event
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from .base import Base, Model
from .fields import Field, field_map, fields_of, models
from .pinyin import fold, is_chinese, readings
from .policy import Level, Principal, Subject, decide, level_of

TOKEN_LENGTH = 40
_LAST = "\U0010ffff"
_OPEN_ENDED = {"phone", "id_number"}  # kinds whose mask leaves the last digits open
_SPLIT = re.compile(r"[\s,;·/|]+")


class SearchToken(Base):
    """One thing a record may be found by."""

    __table_args__ = (
        Index("ix_search_token_table_token", "table", "token", "record_id"),
        Index("ix_search_token_record", "table", "record_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    table: Mapped[str] = mapped_column(String(60))
    record_id: Mapped[int]
    token: Mapped[str] = mapped_column(
        String(TOKEN_LENGTH).with_variant(String(TOKEN_LENGTH, collation="C"), "postgresql")
    )
    weight: Mapped[int]
    secrecy: Mapped[str | None] = mapped_column(String(20))
    behind_mask: Mapped[bool]  # found only by those who may see the whole value


@dataclass(frozen=True)
class Token:
    text: str
    weight: int
    behind_mask: bool = False


# -- making tokens ------------------------------------------------------------------------------------


@cache
def searchable_fields(model: type[Model]) -> tuple[Field, ...]:
    return tuple(f for f in fields_of(model) if f.searchable)


def tokens_of(field: Field, value: str) -> Iterator[Token]:
    """The tokens of one value: see each kind."""
    text = fold(value).replace(" ", "") if field.kind != "name" else fold(value)
    if field.kind == "phone":
        digits = re.sub(r"\D", "", text)
        return _numbers(digits)
    if field.kind == "id_number":
        return _numbers(text)
    if field.kind == "code":
        return _pieces(text)
    return _name(text)


def _numbers(digits: str) -> Iterator[Token]:
    yield Token(digits, 60, behind_mask=True)
    if len(digits) > 4:
        yield Token(digits[-4:], 50)


def _pieces(code: str) -> Iterator[Token]:
    """A code, and every ending of it from three characters up: so that any part of it is a prefix."""
    yield Token(code, 80)
    for start in range(1, max(1, len(code) - 2)):
        yield Token(code[start:], 40)
    bare = re.sub(r"[^\w]", "", code)
    if bare != code:
        yield Token(bare, 60)


def _name(name: str) -> Iterator[Token]:
    joined = name.replace(" ", "")
    yield Token(joined, 100)
    if is_chinese(joined):
        for start in range(1, min(len(joined), 12)):
            yield Token(joined[start:], 70)
        for syllables in readings(joined):
            yield Token("".join(syllables), 90)
            yield Token("".join(s[:1] for s in syllables), 80)
            if len(syllables) > 1:
                yield Token(syllables[0], 85)  # "li" means 李丽华 before it means 张丽
                yield Token("".join(syllables[1:]), 60)
    for word in name.split()[1:]:
        yield Token(word, 70)


def _rows(obj: Model, names: Iterable[Field]) -> Iterator[dict[str, Any]]:
    seen: set[tuple[str, str | None]] = set()
    for field in names:
        value = obj.__dict__.get(field.attr)
        if not value:
            continue
        masked_whole = field.secrecy is not None and field.kind not in _OPEN_ENDED
        for token in tokens_of(field, str(value)):
            text = token.text[:TOKEN_LENGTH]
            if text and (text, field.secrecy) not in seen:
                seen.add((text, field.secrecy))
                yield {"table": type(obj).__tablename__, "record_id": obj.id, "token": text, "weight": token.weight,
                       "secrecy": field.secrecy, "behind_mask": token.behind_mask or masked_whole}  # fmt: skip


# -- keeping them -------------------------------------------------------------------------------------


def attach(session_class: type[Session]) -> None:
    event.listen(session_class, "after_flush", _collect)


def _collect(session: Session, _context: Any) -> None:
    fresh: list[dict[str, Any]] = []
    stale: dict[str, list[int]] = {}
    for obj in session.new:
        if isinstance(obj, Model):
            fresh += _rows(obj, searchable_fields(type(obj)))
    for obj in session.dirty:
        if isinstance(obj, Model) and _found_otherwise(obj):
            stale.setdefault(type(obj).__tablename__, []).append(obj.id)
            fresh += _rows(obj, searchable_fields(type(obj)))
    for obj in session.deleted:
        if isinstance(obj, Model):
            stale.setdefault(type(obj).__tablename__, []).append(obj.id)
    if not fresh and not stale:
        return
    connection = session.connection()
    table = SearchToken.__table__
    for name, ids in stale.items():
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            connection.execute(sa.delete(table).where(table.c.table == name, table.c.record_id.in_(some)))
    if fresh:
        connection.execute(sa.insert(table), fresh)


def _found_otherwise(obj: Model) -> bool:
    committed = sa.inspect(obj).committed_state
    if not any(f.attr in committed for f in searchable_fields(type(obj))):
        return False
    for f in searchable_fields(type(obj)):
        getattr(obj, f.attr)  # tokens are made from all of them: load what is not there
    return True


def rebuild(session: Session, model: type[Model], batch: int = 2000) -> int:
    """Make the tokens of every record of *model* anew; returns how many tokens."""
    table, count = SearchToken.__table__, 0
    connection = session.connection()
    connection.execute(sa.delete(table).where(table.c.table == model.__tablename__))
    everything = (
        sa.select(model).order_by(model.id).execution_options(unscoped="rebuilding the search", yield_per=batch)
    )
    for records in session.scalars(everything).partitions():
        rows = [row for obj in records for row in _rows(obj, searchable_fields(model))]
        count += len(rows)
        if rows:
            connection.execute(sa.insert(table), rows)
    return count


# -- searching ----------------------------------------------------------------------------------------


def terms_of(query: str) -> list[str]:
    """The folded words of a query; at most six, each no longer than a token."""
    return [t[:TOKEN_LENGTH] for t in _SPLIT.split(fold(query).strip()) if t][:6]


def hits(subject: Subject | None, model: type[Model], query: str) -> sa.Select[Any] | None:
    """A select of ``record_id, score`` of the records of *model* that *query* finds; None for an empty query.

    Every word must be found; words of a romanised name may also be one ("zhang li" is "zhangli").
    Rows are not narrowed here: join it to a select of the model, which the session narrows.
    """
    terms = terms_of(query)
    return _hits(subject, model, terms) if terms else None


def _hits(subject: Subject | None, model: type[Model], terms: list[str]) -> sa.Select[Any]:
    """What is found by a record's own values, or by those of the records that its title names."""
    parts = [_matches(subject, model, terms)]
    for name in model.__title__:
        field = field_map(model)[name]
        if field.target is not None and decide(subject, "view", field.target):
            related = _hits(subject, field.target, terms).subquery()
            # Entities, so that the session narrows both: nobody finds a record by the name of one out of their sight.
            own, other = aliased(model), aliased(field.target)
            parts.append(
                sa.select(own.id.label("record_id"), (related.c.score - 5).label("score"))
                .join(other, other.id == getattr(own, field.attr))
                .join(related, related.c.record_id == other.id)
            )
    if len(parts) == 1:
        return parts[0]
    union = sa.union_all(*parts).subquery()
    return sa.select(union.c.record_id, sa.func.max(union.c.score).label("score")).group_by(union.c.record_id)


def _matches(subject: Subject | None, model: type[Model], terms: list[str]) -> sa.Select[Any]:
    joined = "".join(terms)
    if len(terms) > 1 and not is_chinese(joined):
        one, each = _found_by(subject, model, joined), _all_of(subject, model, terms)
        union = sa.union_all(one, each).subquery()
        return sa.select(union.c.record_id, sa.func.max(union.c.score).label("score")).group_by(union.c.record_id)
    return _all_of(subject, model, terms)


def _all_of(subject: Subject | None, model: type[Model], terms: list[str]) -> sa.Select[Any]:
    found = [_found_by(subject, model, term).subquery() for term in terms]
    if len(found) == 1:
        return sa.select(found[0].c.record_id, found[0].c.score)
    score = sum((f.c.score for f in found[1:]), start=found[0].c.score)
    joined: Any = found[0]
    for other in found[1:]:
        joined = joined.join(other, other.c.record_id == found[0].c.record_id)
    return sa.select(found[0].c.record_id, score.label("score")).select_from(joined)


def _found_by(subject: Subject | None, model: type[Model], term: str) -> sa.Select[Any]:
    t = SearchToken.__table__.alias()
    exact = sa.case((t.c.token == term, 1000), else_=0)
    return (
        sa.select(t.c.record_id, sa.func.max(exact + t.c.weight).label("score"))
        .where(t.c.table == model.__tablename__, t.c.token >= term, t.c.token < term + _LAST)
        .where(_within_sight(subject, model, t))
        .group_by(t.c.record_id)
    )


def _within_sight(subject: Subject | None, model: type[Model], t: Any) -> sa.ColumnElement[bool]:
    """Tokens of fields the subject sees: whole where the value is shown or may be, its open end where it is masked."""
    if subject is None:
        return sa.false()
    if not isinstance(subject, Principal):
        return sa.true()
    allowed: list[sa.ColumnElement[bool]] = [t.c.secrecy.is_(None)]
    for secrecy, level in {f.secrecy: level_of(subject, f) for f in fields_of(model) if f.secrecy}.items():
        if level.depth >= Level.REVEAL.depth:
            allowed.append(t.c.secrecy == secrecy)
        elif level is Level.MASKED:
            allowed.append(sa.and_(t.c.secrecy == secrecy, t.c.behind_mask.is_(False)))
    return sa.or_(*allowed)


def find(session: Session, model: type[Model], query: str, limit: int = 8) -> list[Model]:
    """The best matches of *query* among the records of *model* that the session's subject may see."""
    found = hits(session.info.get("principal"), model, query)
    if found is None:
        return []
    ranked = found.subquery()
    statement = (
        sa.select(model)
        .join(ranked, ranked.c.record_id == model.id)
        .order_by(ranked.c.score.desc(), model.id.desc())
        .limit(limit)
    )
    return list(session.scalars(statement))


def everywhere(session: Session, query: str, limit: int = 5) -> list[tuple[type[Model], list[Model]]]:
    """The best matches in the whole house, model by model, for the session's subject."""
    subject = session.info.get("principal")
    searched = (m for m in models() if searchable_fields(m) and decide(subject, "view", m))
    return [(m, found) for m in searched if (found := find(session, m, query, limit))]
