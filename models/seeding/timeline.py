"""A year of a house, lived in order: each life goes on when its moment comes, until the present day.

A life is a generator. It yields when it goes on and who is at work then; the timeline resumes it with the
clock stopped at that instant and that person acting, so that what it does is judged and dated as if people
had done it. Lives whose next moment lies ahead of the present simply stay where they are::

    def life():
        yield At(monday, zhoumin)
        feedback = Feedback(...)
        session.add(feedback)
        yield At(monday + timedelta(hours=1), zhoumin)
        feedback.route(kind=FeedbackKind.PRAISE)
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import count

from sqlalchemy.orm import Session

from .. import clock, journal
from ..policy import System
from ..staff import Staff

BETWEEN_COMMITS = timedelta(days=7)


@dataclass(frozen=True)
class At:
    """When a life goes on, and who is at work then; nobody for the clock."""

    instant: datetime
    who: Staff | None = None


Life = Iterator[At]


class Timeline:
    """Runs lives side by side in the order of their moments, committing every few days of them."""

    def __init__(self, session: Session, now: datetime) -> None:
        self.session, self.now = session, now
        self._waiting: list[tuple[datetime, int, At, Life]] = []
        self._order = count()

    @property
    def today(self) -> date:
        return clock.local_day(self.now)

    def start(self, life: Life) -> None:
        """Let *life* come to its first moment."""
        step = next(life, None)
        if step is not None and step.instant <= self.now:
            heapq.heappush(self._waiting, (step.instant, next(self._order), step, life))

    def run(self) -> None:
        """Live everything up to the present, and commit it."""
        commit_at = self._waiting[0][0] + BETWEEN_COMMITS if self._waiting else self.now
        while self._waiting:
            instant, _, step, life = heapq.heappop(self._waiting)
            if instant >= commit_at:
                self._pause(commit_at)
                commit_at = instant + BETWEEN_COMMITS
            with clock.at(instant):
                self.session.info["principal"] = System("seed", step.who.id if step.who is not None else None)
                self.start(life)
        self._pause(self.now)

    def _pause(self, instant: datetime) -> None:
        """Do what is due by *instant* because time passed, and commit."""
        with clock.at(min(instant, self.now)):
            self.session.info["principal"] = System("seed")
            clock.tick(self.session)
            journal.begin(self.session, journal.Act.SEED, label=str(clock.today()))
            self.session.commit()


def moment(day: date, hour: int, minute: int = 0) -> datetime:
    """The instant it is *hour*:*minute* on *day* in the house."""
    return datetime.combine(day, time(hour, minute), clock.HOUSE_ZONE)
