"""Who comes to the houses: the cast of the scenarios, and as many more as fill a year."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from ..clients import ClientLine, RelationKind
from ..contracts import ContractStatus
from ..staff import Staff
from .files import rows_of
from .names import Names
from .people import Desk
from .timeline import moment

DAY = timedelta(days=1)
HOW_MANY = {"SH01": 94, "HZ02": 66, "CD03": 92}
_AGES = {ClientLine.POSTPARTUM: (23, 41), ClientLine.ELDER: (67, 94), ClientLine.AESTHETIC: (19, 52)}
_KIN = {
    ClientLine.POSTPARTUM: (RelationKind.SPOUSE, "young_men"),
    ClientLine.ELDER: (RelationKind.CHILD, "young_women"),
    ClientLine.AESTHETIC: (RelationKind.OTHER, "young_women"),
}


@dataclass
class Newcomer:
    """Somebody on the day of the first call: who, where, and how far things are to go."""

    desk: Desk
    facts: dict[str, Any]  # of the client, by column
    kin: list[dict[str, Any]]
    contact: Staff
    arrived_at: datetime
    course: str | None = None  # lead, expected, in_house, treated; None lets things run
    package: str | None = None
    due_on: date | None = None
    born_on: date | None = None
    babies: list[int] = field(default_factory=list)  # their weights in g
    assessed: int | None = None  # the total of the first assessment
    until: ContractStatus | None = None  # where the contract stays
    ends: str | None = None  # how it ends before its time: void, expire, cancel, terminate

    @property
    def runs_freely(self) -> bool:
        """Nothing was said of how things are to go."""
        return self.course is None and self.until is None and self.ends is None


class Arrivals:
    """Thinks up who comes to which house when."""

    def __init__(self, desks: dict[str, Desk], names: Names, words: dict[str, Any], rng: Random, today: date) -> None:
        self.desks, self.names, self.words, self.rng, self.today = desks, names, words["client"], rng, today

    def cast(self, folder: Path, staff: dict[str, Staff]) -> list[Newcomer]:
        """The people of the scenarios, with what the files say about them."""
        kin: dict[str, list[dict[str, Any]]] = {}
        for row in rows_of(folder / "relatives.csv"):
            kin.setdefault(row.pop("client"), []).append(_relative(row))
        return [self._of_cast(row, kin.pop(row["name"], []), staff) for row in rows_of(folder / "cast.csv")]

    def _of_cast(self, row: dict[str, Any], kin: list[dict[str, Any]], staff: dict[str, Staff]) -> Newcomer:
        desk = self.desks[row["branch"]]
        facts = {key: row[key] for key in ("name", "phone", "source", "occupation", "ethnicity", "care_note")}
        facts |= {"id_number": row["id_number"], "marketing_opt_in": row["marketing"] == "yes"}
        self.names.keep(row["id_number"])
        if facts["id_number"] is None:
            facts["id_number"] = self._identity(desk, male=False, on=self.today)
        arrived = self.today - DAY * int(row["arrived_ago"])
        return Newcomer(
            desk, facts, kin or [self._kin(desk)], staff[row["contact"]], moment(arrived, 10), course=row["course"],
            package=row["package"], due_on=self._in_days(row["due_in"]), born_on=self._in_days(row["born_ago"], -1),
            babies=[int(weight) for weight in (row["babies"] or "").split()],
            assessed=46 if row["name"] == "王建国" else None,
        )  # fmt: skip

    def _in_days(self, days: str | None, sign: int = 1) -> date | None:
        return self.today + DAY * int(days) * sign if days else None

    def ordinary(self, code: str) -> list[Newcomer]:
        """As many more as fill a house for a year, in the order of their coming."""
        days = sorted((self.rng.randrange(1, 400) for _ in range(HOW_MANY[code])), reverse=True)
        return [self.somebody(self.desks[code], ago) for ago in days]

    def somebody(self, desk: Desk, ago: int) -> Newcomer:
        """Anybody, who first calls so many days *ago*."""
        arrived = self.today - DAY * ago
        male = desk.line is ClientLine.ELDER and self.rng.random() < 0.4
        age = {"elder": "old", "postpartum": "young", "aesthetic": "young"}[desk.line.value]
        facts = {
            "name": self.names.person(f"{age}_{'men' if male else 'women'}"),
            "id_number": self._identity(desk, male=male, on=arrived), "phone": self.names.phone(),
            "source": self.rng.choice(self.words["sources"]), "ethnicity": self.rng.choice(self.words["ethnicities"]),
            "occupation": "退休" if desk.line is ClientLine.ELDER else self.rng.choice(self.words["occupations"]),
            "care_note": self.rng.choice(self.words["care_notes"]) if self.rng.random() < 0.3 else None,
            "marketing_opt_in": self.rng.random() < 0.4,
        }  # fmt: skip
        due = arrived + DAY * self.rng.randrange(40, 150) if desk.line is ClientLine.POSTPARTUM else None
        at = moment(arrived, self.rng.randrange(9, 18), self.rng.randrange(60))
        return Newcomer(desk, facts, [self._kin(desk)], self.rng.choice(desk.consultants), at, due_on=due)

    def _identity(self, desk: Desk, *, male: bool, on: date) -> str:
        ages = _AGES[desk.line]
        return self.names.identity(desk.code, self.names.birthday(on, *ages), male=male)

    def _kin(self, desk: Desk) -> dict[str, Any]:
        relation, kind = _KIN[desk.line]
        return {
            "person_name": self.names.person(kind), "relation": relation, "phone": self.names.phone(),
            "is_payer": desk.line is not ClientLine.AESTHETIC, "is_emergency_contact": True,
            "may_receive_health_info": desk.line is not ClientLine.AESTHETIC,
        }  # fmt: skip


def _relative(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the file as values of a ClientRelation."""
    flags = ("is_payer", "is_emergency_contact", "may_receive_health_info")
    return {**row, "relation": RelationKind.from_value(row["relation"]), **{name: row[name] == "yes" for name in flags}}
