"""Time: one source, the house's zone, working days by the table and the published calendar, idempotent ticks."""

from datetime import UTC, date, datetime, timedelta

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import given

from models import clock, clock_source
from models.base import UTCDateTime
from models.clock import CalendarDay, DayKind, add_working_days, is_workday, working_days_between
from models.recycling import recycle
from models.staff import Staff
from tests.models.conftest import House


def at(text):
    return datetime.fromisoformat(text)


# -- now and today -----------------------------------------------------------------------------------------


def test_a_stopped_clock_stands_and_goes_on_afterwards():
    with clock.at(at("2026-03-02T09:00+08:00")):
        assert clock.now() == clock.now() == at("2026-03-02T01:00+00:00")
        with clock.at(at("2020-01-01T00:00+00:00")):
            assert clock.now().year == 2020
        assert clock.now().year == 2026

    assert abs(clock.now() - datetime.now(UTC)) < timedelta(days=1) or clock_source._offset


def test_the_clock_is_always_in_utc():
    with clock.at(at("2026-03-02T00:30+08:00")):
        assert clock.now().utcoffset() == timedelta(0)


def test_a_naive_instant_stops_no_clock():
    with pytest.raises(ValueError, match="naive"), clock.at(datetime(2026, 3, 2)):
        pass


@pytest.mark.parametrize(
    ("instant", "day"),
    [("2026-03-01T15:59:59+00:00", "2026-03-01"), ("2026-03-01T16:00:00+00:00", "2026-03-02")],
)
def test_the_day_begins_at_midnight_in_the_house(instant, day):
    with clock.at(at(instant)):
        assert clock.today() == clock.local_day(at(instant)) == date.fromisoformat(day)


def test_a_day_ends_with_its_last_instant_in_the_house():
    end = clock.end_of(date(2026, 3, 1))

    assert clock.local_day(end) == date(2026, 3, 1)
    assert clock.local_day(end + timedelta(microseconds=1)) == date(2026, 3, 2)


def test_a_rehearsal_runs_on_from_its_instant(monkeypatch):
    monkeypatch.setattr(clock_source, "_offset", clock_source._offset)
    clock.start_from(at("2026-03-02T09:00+08:00"))

    first = clock.now()
    assert timedelta(0) <= first - at("2026-03-02T09:00+08:00") < timedelta(minutes=1)
    assert clock.now() >= first


# -- instants in the database ------------------------------------------------------------------------------


def test_an_instant_comes_back_as_it_went_in_whatever_its_zone(house_of_both: House):
    given_ = at("2026-03-02T09:00:00.123456+08:00")
    with clock.at(given_), house_of_both.session() as session:
        person = session.get(Staff, house_of_both.he_jing)
        person.note = "x"
        session.commit()
        session.expire_all()

        assert person.updated_at == given_
        assert person.updated_at.utcoffset() == timedelta(0)


@pytest.mark.postgres
def test_an_instant_is_in_utc_wherever_the_server_stands(postgres_engine):
    with postgres_engine.connect() as connection:
        connection.exec_driver_sql("SET timezone TO 'Asia/Shanghai'")
        found = connection.execute(
            sa.select(sa.type_coerce(sa.text("TIMESTAMPTZ '2026-03-02 09:00+08'"), UTCDateTime))
        ).scalar_one()

    assert found.isoformat() == "2026-03-02T01:00:00+00:00"


def test_a_naive_instant_is_not_stored():
    with pytest.raises(ValueError, match="naive"):
        UTCDateTime().process_bind_param(datetime(2026, 3, 2), None)


# -- working days ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "works"),
    [
        ("2026-01-01", False),  # New Year, a Thursday
        ("2026-01-04", True),  # a Sunday worked for the long New Year weekend
        ("2026-02-13", True),
        ("2026-02-14", True),  # a Saturday worked for the Spring Festival
        ("2026-02-15", False),  # its first day
        ("2026-02-16", False),  # New Year's Eve, a Monday
        ("2026-02-20", False),
        ("2026-02-23", False),  # its last day, a Monday
        ("2026-02-24", True),
        ("2026-02-28", True),  # the other Saturday worked for it
        ("2026-03-01", False),
        ("2026-03-02", True),
    ],
)
def test_spring_festival_2026_as_published(session, day, works):
    assert is_workday(session, date.fromisoformat(day)) is works


def test_working_days_jump_over_the_festival_and_count_its_saturdays(session):
    # 13 Feb (Fri), then 14 Feb (Sat, worked), then the festival to 23 Feb, then 24 to 27 Feb, then 28 Feb (Sat, worked)
    assert add_working_days(session, date(2026, 2, 13), 1) == date(2026, 2, 14)
    assert add_working_days(session, date(2026, 2, 13), 2) == date(2026, 2, 24)
    assert add_working_days(session, date(2026, 2, 13), 6) == date(2026, 2, 28)
    assert add_working_days(session, date(2026, 2, 13), 7) == date(2026, 3, 2)
    assert working_days_between(session, date(2026, 2, 13), date(2026, 2, 28)) == 6
    assert working_days_between(session, date(2026, 2, 14), date(2026, 2, 23)) == 0


@pytest.mark.parametrize(
    ("kind", "works"),
    [(DayKind.HOLIDAY, False), (DayKind.WEEKEND, False), (DayKind.WORKDAY, True), (DayKind.MAKEUP, True)],
)
def test_the_table_overrules_what_is_published(session, kind, works):
    for day in (date(2026, 2, 14), date(2026, 2, 17), date(2027, 2, 6)):
        session.add(CalendarDay(day=day, kind=kind))
    session.commit()

    assert [is_workday(session, d) for d in (date(2026, 2, 14), date(2026, 2, 17), date(2027, 2, 6))] == [works] * 3


def test_a_working_day_is_one_for_everybody_whoever_may_look_at_the_table(house: House):
    with house.session() as session:
        session.add(CalendarDay(day=date(2026, 3, 3), kind=DayKind.HOLIDAY))
        session.commit()
    with house.at_work() as session:
        assert session.scalars(sa.select(CalendarDay.day)).all() == []
        assert not is_workday(session, date(2026, 3, 3))
        assert add_working_days(session, date(2026, 3, 2), 1) == date(2026, 3, 4)


def test_a_day_taken_out_of_the_table_counts_as_published_again(session):
    day = CalendarDay(day=date(2026, 3, 2), kind=DayKind.HOLIDAY)
    session.add(day)
    session.commit()
    recycle(day)
    session.commit()

    assert is_workday(session, date(2026, 3, 2))


@pytest.mark.parametrize(
    ("day", "works"),
    [("2029-01-01", True), ("2029-01-05", True), ("2029-01-06", False), ("2029-01-07", False), ("1999-05-03", True)],
)
def test_years_not_published_work_from_monday_to_friday(session, day, works):
    assert is_workday(session, date.fromisoformat(day)) is works


def test_the_day_itself_is_not_counted(session):
    monday = date(2026, 3, 2)

    assert add_working_days(session, monday, 0) == monday
    assert working_days_between(session, monday, monday) == 0
    assert working_days_between(session, monday, monday - timedelta(days=9)) == 0


@given(start=st.dates(date(2024, 1, 1), date(2030, 12, 31)), count=st.integers(1, 40))
def test_counting_there_and_back_agrees(start, count):
    session = _Nothing()
    end = add_working_days(session, start, count)

    assert is_workday(session, end)
    assert working_days_between(session, start, end) == count


class _Nothing:
    """A house whose calendar table is empty."""

    def execute(self, _statement, execution_options):
        return []


# -- ticks -------------------------------------------------------------------------------------------------


def test_a_tick_runs_every_duty_and_says_how_much_each_moved(session, monkeypatch):
    monkeypatch.setattr(clock, "DUTIES", [])
    clock.duty("one")(lambda _session: 3)
    clock.duty("two")(lambda _session: 0)

    assert clock.tick(session) == {"one": 3, "two": 0}


def test_a_second_tick_changes_nothing(house: House):
    with clock.at(at("2026-03-02T09:00+08:00")), house.session() as session:
        clock.tick(session)
        session.commit()

        assert set(clock.tick(session).values()) == {0}
        assert not session.dirty
        assert not session.new
