"""Three houses with their people and a year of their life, up to the present."""

import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from .. import clock, journal
from ..clients import Client
from ..complaints import ComplaintStatus as S
from ..contracts import ContractStatus
from ..organisation import Branch
from ..policy import System
from ..staff import Staff
from .appraising import Appraising
from .arrivals import DAY, Arrivals
from .care import Care
from .deals import ENDS_EARLY, Deals
from .learning import School
from .loose_ends import LooseEnds
from .names import Names
from .people import Desk, credential_lives, load_people
from .stays import Stays
from .timeline import At, Life, Timeline, moment
from .voices import OPEN_ENDS, Voices

SEED = 20260302
OPEN_CONTRACTS = (
    ContractStatus.DRAFT, ContractStatus.PENDING_APPROVAL, ContractStatus.APPROVED, ContractStatus.SENT,
    ContractStatus.SIGNED, ContractStatus.EFFECTIVE,
)  # fmt: skip
Told = tuple[datetime, Callable[[Client, datetime], Life]]
COMPLAINTS_A_YEAR = 14  # of each branch
COURSES: tuple[tuple[str, ...], ...] = ((), (), (), (), ("late",), ("returned",), ("extended",), ("reopened",))


def load_demo_houses(session: Session, folder: Path, now: datetime) -> None:
    """Everything in *folder*, lived through to *now*; commits as it goes."""
    with _for_seeding(session):
        with clock.at(now - DAY * 800):
            staff = load_people(session, folder)
            journal.begin(session, journal.Act.SEED, label="people")
            session.commit()
        Demo(session, folder, now, staff).run()


@contextmanager
def _for_seeding(session: Session) -> Iterator[None]:
    """Inside the block records stay loaded over commits; at the end the session is as it was."""
    principal, expires = session.info.get("principal"), session.expire_on_commit
    session.info["principal"], session.expire_on_commit = System("seed"), False
    try:
        yield
    finally:
        session.info["principal"], session.expire_on_commit = principal, expires
        session.expire_all()


class Demo:
    """Puts the lives of the houses together."""

    def __init__(self, session: Session, folder: Path, now: datetime, staff: dict[str, Staff]) -> None:
        self.session, self.folder, self.now, self.staff = session, folder, now, staff
        self.rng = Random(SEED)
        self.timeline = Timeline(session, now)
        self.desks = {b.code: Desk(b, staff) for b in session.scalars(select(Branch).order_by(Branch.id))}
        self.names = Names(folder / "names.toml", self.rng)
        self.words: dict[str, Any] = tomllib.loads((folder / "words.toml").read_text(encoding="utf-8"))
        self.voices = Voices(session, self.timeline, self.words, self.rng)

    def run(self) -> None:
        for life in (*self._staff_lives(), *self._client_lives()):
            self.timeline.start(life)
        self.timeline.run()

    def _staff_lives(self) -> list[Life]:
        today = self.timeline.today
        return [
            *credential_lives(self.session, self.staff, today, self.rng),
            *School(self.session, self.staff, self.now, self.rng).lives(today),
            *Appraising(self.session, self.timeline, self.staff, self.rng).lives(),
        ]

    def _client_lives(self) -> list[Life]:
        arrivals = Arrivals(self.desks, self.names, self.words, self.rng, self.timeline.today)
        care = Care(self.session, self.rng)
        deals = Deals(self.session, self.timeline, self.staff["王立群"], self.folder, self.rng)
        stays = Stays(self.session, self.timeline, self.names, self.words, care, self.voices, deals, self.rng)
        loose = LooseEnds(self.session, self.timeline, self.staff, self.desks, care, deals, self.rng).lives()
        people = arrivals.cast(self.folder, self.staff)
        for code, desk in self.desks.items():
            people += arrivals.ordinary(code)
            people += [replace(arrivals.somebody(desk, 9), until=state) for state in OPEN_CONTRACTS]
            people += [replace(arrivals.somebody(desk, 110), ends=end) for end in (*ENDS_EARLY, "terminate")]
        return [*loose, *map(stays.life, people), *(self._complaints(desk) for desk in self.desks.values())]

    def _complaints(self, desk: Desk) -> Life:
        """A branch's complaints over the year; the latest are still open, one in each state."""
        complain = self.voices.complaint
        told: list[Told] = []
        for _ in range(COMPLAINTS_A_YEAR):
            ago, hour, minute = self.rng.randrange(5, 300), self.rng.randrange(9, 12), self.rng.randrange(60)
            at = moment(self.timeline.today - DAY * ago, hour, minute)
            told.append((at, partial(complain, desk, course=self.rng.choice(COURSES))))
        for state, since in OPEN_ENDS[list(self.desks).index(desk.code) :: len(self.desks)]:
            told.append((self.now - since, partial(complain, desk, until=state, course={"ordinary"})))
        if desk.code == "SH01":
            told += self._rare_complaints(desk)
        for at, life in sorted(told, key=lambda one: one[0]):
            yield At(at - timedelta(minutes=5), desk.manager)
            self.timeline.start(life(self._somebody(desk), at))

    def _rare_complaints(self, desk: Desk) -> list[Told]:
        """What happens once in a while: withdrawn, told twice, put off, reopened, even after the seal."""
        now, complain = self.now, self.voices.complaint
        return [
            (now - DAY * 26, partial(self.voices.withdrawn, desk)),
            (now - DAY * 33, partial(self.voices.merged, desk)),
            (now - timedelta(hours=4), partial(complain, desk, until=S.INVESTIGATING, course={"ordinary", "extended"})),
            (now - DAY * 6, partial(complain, desk, course={"reopened", "stays_reopened"})),
            (now - DAY * 64, partial(complain, desk, course={"sealed_reopened"})),
        ]

    def _somebody(self, desk: Desk) -> Client:
        found = select(Client).where(Client.branch_id == desk.branch.id).order_by(Client.id)
        return self.rng.choice(self.session.scalars(found).all())
