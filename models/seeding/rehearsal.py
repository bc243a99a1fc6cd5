"""A house of any size, for benchmarks and rehearsals: clients by the hundred thousand, with what belongs to them.

Rows go in past the rules, so they are made to satisfy them: numbers come from the same series, identity
numbers are sound and unique, search finds everything. They are not journaled row by row: one operation says
how many were made. Assessments come without their single answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from .. import clock, journal
from ..assessments import Assessment, AssessmentPurpose, AssessmentStatus
from ..clients import Client, ClientLine, IdType, LifecycleStage
from ..contracts import COOLING_OFF_DAYS, Contract, ContractStatus
from ..courses import TrainingCourse, TrainingMode
from ..feedback import Feedback, FeedbackChannel, FeedbackKind, FeedbackStatus
from ..instruments import Instrument
from ..organisation import Branch
from ..payments import Payment, PaymentKind, PaymentMethod, PaymentStatus
from ..scoring import band_of
from ..services import Package
from ..staff import Sex, Staff, StaffCategory, StaffStatus
from ..training import TrainingRecord, TrainingRecordStatus, TrainingSession, TrainingSessionStatus, add_months
from ..values import with_check_digit
from .bulk import Records, roomy_cache
from .deals import KINDS
from .names import Names

NAMES = Path(__file__).resolve().parents[2] / "seed" / "demo" / "names.toml"
BATCH = 10_000
SEED = 8302
CLIENTS_PER_STAFF = 100
YEARS = 4
LEAD_DAYS, STAY_DAYS = 20, 28
S = ContractStatus
BORN = {
    ClientLine.POSTPARTUM: (date(1984, 1, 1), 7300),
    ClientLine.ELDER: (date(1930, 1, 1), 10_500),
    ClientLine.AESTHETIC: (date(1972, 1, 1), 12_000),
}
"""Earliest birth date, and over how many days births spread."""

DAY = timedelta(days=1)
SAID = (
    "服务周到，护士很有耐心。",
    "饭菜可以再清淡一点。",
    "预约电话经常占线。",
    "环境安静，住得舒服。",
    "希望增加周末的活动。",
)
ANSWERED = "感谢您的反馈，已转告相关部门。"


def make_clients(session: Session, count: int) -> None:
    """Add *count* believable clients of all branches, with contracts, assessments, feedback and training; commits.

    Needs the reference data; says in the journal that it was done, not what.
    """
    filler = _Filler(session, count)
    journal.note(session, journal.Act.SEED, label="rehearsal", detail={"clients": count})
    filler.employ(max(count // CLIENTS_PER_STAFF, len(filler.houses) * 3))
    session.commit()
    with roomy_cache(session):
        for start in range(0, count, BATCH):
            filler.fill(min(BATCH, count - start))
            session.commit()


@dataclass
class House:
    """A branch as the filler sees it."""

    id: int
    code: str
    line: ClientLine
    areas: list[str]
    staff: Sequence[int] = ()


class _Filler:
    """Makes rows batch by batch, the same for the same start and count."""

    def __init__(self, session: Session, count: int) -> None:
        self.session, self.count = session, count
        self.now = clock.now().replace(second=0, microsecond=0)
        self.today = clock.today()
        self.rng = Random(f"{SEED}/{session.scalar(select(func.max(Client.id)))}")
        self.names = Names(NAMES, self.rng)
        self.words = self.names.words["rehearsal"]
        self.houses = [
            House(b.id, b.code, ClientLine.from_value(b.line.value), self.words[b.code])
            for b in session.scalars(select(Branch).where(Branch.code.in_(self.words)).order_by(Branch.id))
        ]
        self.packages = {
            line: session.scalars(select(Package).where(Package.line == line).order_by(Package.id)).all()
            for line in ClientLine
        }
        self.instruments = {i.code: i for i in session.scalars(select(Instrument))}

    # -- people who work there, and what they learn --

    def employ(self, count: int) -> None:
        """Enough staff for the clients, and sessions that all of them attend."""
        table = Records(
            self.session, Staff, ("branch_id", "no", "name", "sex", "category", "status", "phone", "hired_on")
        )
        numbers = table.numbers("no", table.serials("no", count), self.today.year)
        hired = [self.today - DAY * self.rng.randrange(100, 3000) for _ in numbers]
        rows = [
            (
                self._house(n).id, number, self.names.person("young_women"), Sex.FEMALE, StaffCategory.CAREGIVER,
                StaffStatus.ACTIVE, self.names.phone(), hired[n],
            )
            for n, number in enumerate(numbers)
        ]  # fmt: skip
        ids = table.add(rows, map(_morning, hired))
        for n, house in enumerate(self.houses):
            house.staff = ids[n :: len(self.houses)]
            self._teach(house)

    def _house(self, n: int) -> House:
        return self.houses[n % len(self.houses)]

    def _teach(self, house: House) -> None:
        """Sessions of the mandatory courses: about one record for each client."""
        courses = self.session.scalars(select(TrainingCourse).where(TrainingCourse.is_mandatory)).all()
        taught = max(self.count // len(self.houses) // len(house.staff), len(courses))
        sessions = Records(
            self.session, TrainingSession,
            ("branch_id", "course_id", "mode", "lecturer", "starts_at", "ends_at", "minutes", "status", "evaluation"),
        )  # fmt: skip
        starts = self._free_mornings(house, taught)
        rows = [
            (
                house.id, courses[n % len(courses)].id, TrainingMode.LECTURE, "孙莉", at, at + timedelta(hours=3), 150,
                TrainingSessionStatus.EVALUATED, "考试平均分85分以上。",
            )
            for n, at in enumerate(starts)
        ]  # fmt: skip
        for id_, row in zip(sessions.add(rows, starts), rows, strict=True):
            self._attend(house, id_, row[1], row[4])

    def _free_mornings(self, house: House, count: int) -> list[datetime]:
        """Starts spread over the years, none of them taken by a session of the house."""
        taken = set(
            self.session.scalars(select(TrainingSession.starts_at).where(TrainingSession.branch_id == house.id))
        )
        starts = []
        for n in range(count):
            at = _morning(self.today - DAY * (7 + n * YEARS * 365 // count))
            while at in taken:
                at += timedelta(minutes=5)
            taken.add(at)
            starts.append(at)
        return starts

    def _attend(self, house: House, session_id: int, course_id: int, at: datetime) -> None:
        course = self.session.get_one(TrainingCourse, course_id)
        day, months = clock.local_day(at), course.validity_months
        until = add_months(day, months) if months is not None else None
        table = Records(
            self.session, TrainingRecord,
            (
                "branch_id", "staff_id", "session_id", "course_id", "attended_minutes", "exam_score", "status", "passed_on",
                "hours", "credit", "valid_until",
            ),
        )  # fmt: skip
        rows = [
            (
                house.id, staff_id, session_id, course_id, 150, Decimal(self.rng.randrange(80, 100)),
                TrainingRecordStatus.PASSED, day, course.hours, course.credit, until,
            )
            for staff_id in house.staff
        ]  # fmt: skip
        table.add(rows, [at] * len(rows))

    # -- clients --

    def fill(self, count: int) -> None:
        """One batch of clients and what belongs to each."""
        table = Records(self.session, Client, _CLIENT)
        serials = table.serials("file_no", count)
        people = [self._person(n) for n in serials]
        numbers = table.numbers("file_no", serials, self.today.year)
        rows = [self._client(who, number) for who, number in zip(people, numbers, strict=True)]
        ids = table.add(rows, [who.came_at for who in people])
        clients = list(zip(ids, people, strict=True))
        self._contract(clients)
        self._assess([(id_, who) for id_, who in clients if who.house.line is not ClientLine.AESTHETIC])
        self._hear(clients[::2])

    def _person(self, serial: int) -> "_Person":
        house, rng = self._house(serial), self.rng
        male = house.line is ClientLine.ELDER and rng.random() < 0.4
        came_on = self.today - DAY * rng.randrange(1, YEARS * 365)
        contact = house.staff[serial // len(self.houses) % len(house.staff)]
        kind = "old" if house.line is ClientLine.ELDER else "young"
        name = self.names.person(f"{kind}_{'men' if male else 'women'}")
        return _Person(house, serial // len(self.houses), name, male, _morning(came_on), contact, self._state(came_on))

    def _state(self, came_on: date) -> ContractStatus:
        """Contracts of the last weeks are still going on."""
        ago = (self.today - came_on).days
        return S.EFFECTIVE if ago <= LEAD_DAYS else S.IN_PERFORMANCE if ago <= LEAD_DAYS + STAY_DAYS else S.COMPLETED

    def _client(self, who: "_Person", number: str) -> tuple[Any, ...]:
        rng, born = self.rng, who.born
        return (
            who.house.id, number, who.house.line, who.name, Sex.MALE if who.male else Sex.FEMALE, born, IdType.RESIDENT_ID, who.identity(born),
            f"1{rng.randrange(30, 100)}{rng.randrange(10**8):08d}", STAGES[who.contract], who.contact, "朋友介绍", "汉族",
            rng.random() < 0.4, False,
        )  # fmt: skip

    def _contract(self, clients: list[tuple[int, "_Person"]]) -> None:
        """A contract for each, paid in full."""
        table, payments = Records(self.session, Contract, _CONTRACT), Records(self.session, Payment, _PAYMENT)
        numbers = table.numbers("no", table.serials("no", len(clients)), self.today.year)
        rows = [self._terms(id_, who, number) for (id_, who), number in zip(clients, numbers, strict=True)]
        stamps = [who.came_at for _, who in clients]
        ids = table.add(rows, stamps)
        receipts = payments.numbers("receipt_no", payments.serials("receipt_no", len(rows)), self.today.year)
        agreed = _CONTRACT.index("agreed_amount")
        paid = [
            (
                receipt, contract_id, PaymentKind.BALANCE, row[agreed], PaymentMethod.TRANSFER, who.came_at,
                PaymentStatus.CONFIRMED, who.contact, who.house.staff[-1] if who.contact != who.house.staff[-1] else None,
            )
            for receipt, contract_id, row, (_, who) in zip(receipts, ids, rows, clients, strict=True)
        ]  # fmt: skip
        payments.add(paid, stamps)

    def _terms(self, client_id: int, who: "_Person", number: str) -> tuple[Any, ...]:
        package = self.rng.choice(self.packages[who.house.line])
        agreed = max(package.floor_price, package.list_price * self.rng.choice(DISCOUNTS))
        came_on, at = clock.local_day(who.came_at), who.came_at
        start = came_on + DAY * LEAD_DAYS
        return (
            who.house.id, number, client_id, package.id, KINDS[who.house.line], start, start + DAY * STAY_DAYS,
            package.list_price, agreed, False, who.name, who.contract, at, at, came_on + DAY * COOLING_OFF_DAYS,
        )  # fmt: skip

    def _assess(self, clients: list[tuple[int, "_Person"]]) -> None:
        """A confirmed assessment of everybody who was cared for in a house."""
        table = Records(self.session, Assessment, _ASSESSMENT)
        numbers = table.numbers("no", table.serials("no", len(clients)), self.today.year)
        rows = [self._assessment(id_, who, number) for (id_, who), number in zip(clients, numbers, strict=True)]
        table.add(rows, [who.came_at for _, who in clients])

    def _assessment(self, client_id: int, who: "_Person", number: str) -> tuple[Any, ...]:
        instrument = self.instruments["gbt42195" if who.house.line is ClientLine.ELDER else "postpartum_mother"]
        total = self.rng.randrange(12, 91) if instrument.is_scored else None
        level = band_of(total, instrument.levels) if total is not None else None
        second = who.house.staff[client_id % len(who.house.staff)]
        days, at = instrument.reassess_after_days, who.came_at
        return (
            who.house.id, number, client_id, instrument.id, AssessmentPurpose.ADMISSION, at, who.contact,
            second if second != who.contact else None, AssessmentStatus.CONFIRMED, False, False, 0, total,
            level.id if level is not None else None, level.id if level is not None else None, False, False,
            clock.local_day(at) + DAY * days if days is not None else None, at, at, at,
        )  # fmt: skip

    def _hear(self, clients: list[tuple[int, "_Person"]]) -> None:
        """What every other client said."""
        table, rng = Records(self.session, Feedback, _FEEDBACK), self.rng
        numbers = table.numbers("no", table.serials("no", len(clients)), self.today.year)
        rows = [
            (
                who.house.id, number, who.came_at, rng.choice(CHANNELS), FeedbackStatus.CLOSED, rng.choice(SAID_KINDS), client_id,
                False, rng.choice(SAID), who.contact, ANSWERED, clock.local_day(who.came_at),
            )
            for (client_id, who), number in zip(clients, numbers, strict=True)
        ]  # fmt: skip
        table.add(rows, [who.came_at for _, who in clients])


@dataclass(slots=True)
class _Person:
    """What the rows of one client share; *place* is theirs among the clients of the house."""

    house: House
    place: int
    name: str
    male: bool
    came_at: datetime
    contact: int
    contract: ContractStatus

    @property
    def born(self) -> date:
        first, days = BORN[self.house.line]
        return first + DAY * (self.place // len(self.house.areas) * 7919 % days)

    def identity(self, born: date) -> str:
        """A number of their own: area, birth date and the sequence number follow from the place, each in turn."""
        areas, days = self.house.areas, BORN[self.house.line][1]
        sequence = 2 * (self.place // len(areas) // days + 1) + self.male
        return with_check_digit(f"{areas[self.place % len(areas)]}{born:%Y%m%d}{sequence:03d}")


def _morning(day: date) -> datetime:
    return datetime.combine(day, time(10), clock.HOUSE_ZONE)


CHANNELS = (FeedbackChannel.INTERVIEW, FeedbackChannel.QUESTIONNAIRE, FeedbackChannel.HOTLINE, FeedbackChannel.ONLINE)
SAID_KINDS = (FeedbackKind.PRAISE, FeedbackKind.SUGGESTION, FeedbackKind.QUESTION)
DISCOUNTS = tuple(Decimal(share) / 100 for share in (100, 95, 92, 90))
STAGES = {
    S.EFFECTIVE: LifecycleStage.RESERVED, S.IN_PERFORMANCE: LifecycleStage.IN_HOUSE, S.COMPLETED: LifecycleStage.LEFT
}  # fmt: skip
_CONTRACT = (
    "branch_id", "no", "client_id", "package_id", "kind", "start_on", "end_on", "list_amount", "agreed_amount",
    "capacity_conditional", "signer", "status", "sent_at", "signed_at", "cooling_off_until",
)  # fmt: skip
_PAYMENT = (
    "receipt_no", "contract_id", "kind", "amount", "method", "paid_at", "status", "received_by_id", "confirmed_by_id"
)  # fmt: skip
_CLIENT = (
    "branch_id", "file_no", "line", "name", "sex", "birth_date", "id_type", "id_number", "phone", "stage",
    "primary_contact_id", "source", "ethnicity", "marketing_opt_in", "is_deceased",
)  # fmt: skip
_ASSESSMENT = (
    "branch_id", "no", "client_id", "instrument_id", "purpose", "performed_at", "assessor_id", "second_assessor_id", "status",
    "has_dementia", "has_mental_disorder", "recent_risk_events", "total", "initial_level_id", "final_level_id",
    "self_harm_alert", "needs_care", "next_due_on", "submitted_at", "reviewed_at", "confirmed_at",
)  # fmt: skip
_FEEDBACK = (
    "branch_id", "no", "received_at", "channel", "status", "kind", "client_id", "is_anonymous", "content", "owner_id",
    "response", "responded_on",
)  # fmt: skip
