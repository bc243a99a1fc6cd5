"""Problems as people should hear of them: rules as they are, database errors as the rule they stand for."""

import logging
import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DataError, IntegrityError

from models.base import Model
from models.choices import N_
from models.errors import Label, Labels, RuleBroken
from models.fields import field_map, fields_of
from models.workflow import words

log = logging.getLogger("kanghu.refusals")


def explain(problem: Exception, model: type[Model]) -> RuleBroken:
    """The rule that *problem* broke; a refusal of the database is matched with the constraint it names."""
    if isinstance(problem, RuleBroken):
        return problem
    if isinstance(problem, IntegrityError):
        told = str(problem.orig)
        return _unique(told, model) or _check(told) or _in_use(told)
    log.warning("refused by the database", exc_info=problem)
    if isinstance(problem, DataError):
        return RuleBroken(N_("A value is too large or of the wrong kind for the database."))
    raise problem


def _unique(told: str, model: type[Model]) -> RuleBroken | None:
    """PostgreSQL names the constraint, SQLite its columns."""
    for constraint in _unique_sets(model.__table__):
        columns = [c.name for c in constraint.columns]
        listed = ", ".join(f"{model.__tablename__}.{name}" for name in columns)
        if (constraint.name and f'"{constraint.name}"' in told) or told.endswith(f"failed: {listed}"):
            fields = [field_map(model)[f.attr] for f in fields_of(model) if f.column.name in columns]
            return RuleBroken(
                N_("Another record has the same %(what)s already, perhaps one in the recycle bin or out of your sight."),
                field=fields[-1].key if fields else None, what=Labels(f.label for f in fields),
            )  # fmt: skip
    return None


def _unique_sets(table: sa.Table) -> list[Any]:
    return [c for c in table.constraints if isinstance(c, sa.UniqueConstraint)] + [i for i in table.indexes if i.unique]


def _check(told: str) -> RuleBroken | None:
    """CHECKs are named as sentences: the name is what people are told."""
    found = re.search(r"ck_\w+", told)
    if found is None:
        return None
    for table in Model.metadata.tables.values():
        for constraint in table.constraints:
            if isinstance(constraint, sa.CheckConstraint) and constraint.name == found.group():
                sentence = str(constraint.name).removeprefix(f"ck_{table.name}_")
                return RuleBroken(N_("The values do not fit each other: %(rule)s."), rule=Label(words(sentence)))
    return None


def _in_use(told: str) -> RuleBroken:
    log.warning("refused by the database: %s", told)
    return RuleBroken(N_("The database refused: another record needs this one, or one it names is gone."))
