"""The chain over the journal: whatever is altered, added or taken away afterwards is found and named."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from models import clock, journal
from models.database import HouseSession, open_session
from models.journal import Act, Change, Operation, Seal
from models.organisation import Post
from models.policy import System
from models.sealing import GENESIS, seal, verify

MONDAY = datetime(2026, 3, 2, 9, 0, 0, 123456, tzinfo=UTC)
TABLES = (Operation, Change, Seal)
COLUMNS = [(kept.__tablename__, column.name) for kept in TABLES for column in kept.__table__.columns]


def fill(engine: sa.Engine) -> sa.Engine:
    """Three operations with two changes each, sealed; every column of the second has something in it."""
    with open_session(engine, System("tests")) as session, clock.at(MONDAY):
        for number in range(3):
            session.info["request"] = {"source": "/admin/post/", "address": "10.0.0.7"}
            journal.begin(
                session, Act.IMPORT, label="Posts", table="post", record_id=7, reason="年初", detail=[number],
                undoes_id=1 if number else None,
            )  # fmt: skip
            session.add_all([Post(code=f"{number}{letter}", name="护士", level=number) for letter in "AB"])
            session.commit()
        seal(session)
        session.commit()
    return engine


@pytest.fixture
def sealed(engine) -> sa.Engine:
    return fill(engine)


@pytest.fixture(scope="module")
def long_sealed(module_engine) -> sa.Engine:
    """The same for all tests of this module that take back what they did."""
    return fill(module_engine)


@contextmanager
def tampered(engine: sa.Engine, *statements: str) -> Iterator[HouseSession]:
    """What somebody with the database's own tools did, held back by no constraint, until the block ends."""
    lite = engine.dialect.name == "sqlite"
    with engine.connect() as connection:
        if lite:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
            connection.exec_driver_sql("BEGIN")
        else:
            connection.exec_driver_sql("SET session_replication_role = replica")
            connection.exec_driver_sql("ALTER TABLE operation DROP CONSTRAINT ck_operation_kind_is_known")
        for statement in statements:
            assert connection.exec_driver_sql(statement).rowcount > 0
        with HouseSession(connection, info={"principal": System("tests")}) as session:
            yield session
        connection.exec_driver_sql("ROLLBACK")
        if lite:
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")
            connection.exec_driver_sql("BEGIN")


def examined(engine, noted=None):
    with open_session(engine, System("tests")) as session:
        return verify(session, noted)


def test_an_untouched_journal_is_sound(sealed):
    verdict = examined(sealed)

    assert (verdict.problems, verdict.sealed, verdict.unsealed) == ((), 3, ())
    assert verdict.sound
    assert verdict.head != GENESIS


def test_an_empty_journal_is_sound(engine):
    assert examined(engine).head == GENESIS


@pytest.mark.postgres
def test_the_journal_is_sound_wherever_the_server_says_it_stands(postgres_engine):
    fill(postgres_engine)
    with postgres_engine.begin() as connection:
        name = connection.exec_driver_sql("SELECT current_database()").scalar()
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET timezone TO 'Asia/Shanghai'")
    postgres_engine.dispose()

    assert examined(postgres_engine).sound


def test_sealing_twice_seals_nothing_more(sealed):
    with open_session(sealed, System("tests")) as session:
        assert seal(session) == 0


def test_what_is_not_sealed_yet_is_named_and_no_problem(sealed):
    with open_session(sealed, System("tests")) as session:
        session.add(Post(code="NEW", name="新"))
        session.commit()

    verdict = examined(sealed)

    assert (verdict.sound, verdict.sealed, verdict.unsealed) == (True, 3, (4,))


def test_a_long_journal_is_sealed_and_read_piece_by_piece(engine):
    with open_session(engine, System("tests")) as session:
        for number in range(310):
            journal.note(session, Act.LOGIN, detail=number)
        session.commit()
        assert (seal(session, limit=300), seal(session, limit=300)) == (300, 10)
        session.commit()

    verdict = examined(engine)

    assert (verdict.sound, verdict.sealed, verdict.unsealed) == (True, 310, ())


# -- altered -----------------------------------------------------------------------------------------------


def one_byte_off(text):
    """*text* with one byte changed, still of its type and in nobody's way; {} has no byte to spare, so both change."""
    for at, character in enumerate(text):
        if character.isdigit():
            return f"{text[:at]}{(int(character) + 5) % 10}{text[at + 1 :]}"
    for at, character in enumerate(text):
        if character.isascii() and character.isalpha():
            return f"{text[:at]}{'b' if character == 'a' else 'a'}{text[at + 1 :]}"
    return text.replace("{}", "[]") if text == "{}" else text[1:] + "x"


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[".".join(pair) for pair in COLUMNS])
def test_one_changed_byte_in_any_column_is_found_and_its_operation_named(long_sealed, table, column):
    where = {"operation": "id = 2", "change": "operation_id = 2 AND position = 1", "seal": "no = 2"}[table]
    with long_sealed.connect() as connection:
        old = connection.exec_driver_sql(f'SELECT CAST("{column}" AS TEXT) FROM "{table}" WHERE {where}').scalar_one()

    change = f'UPDATE "{table}" SET "{column}" = \'{one_byte_off(old)}\' WHERE {where}'
    with tampered(long_sealed, change) as session:
        problems = verify(session).problems

    # A seal that names another operation is all that is left to name; a number moves with its operation.
    named = {"seal.operation_uid": "seal 2", "operation.id": "operation 7"}.get(f"{table}.{column}", "operation 2")
    assert any(named in problem for problem in problems), problems


def test_a_value_spoilt_beyond_reading_is_found_and_does_not_hide_the_others(sqlite_engine):
    fill(sqlite_engine)

    with tampered(
        sqlite_engine,
        "UPDATE operation SET kind = 'gone', at = 'never' WHERE id = 1",
        "UPDATE change SET after = '{' WHERE operation_id = 2",
        "UPDATE operation SET actor = CAST(x'e5bc' AS TEXT) WHERE id = 3",
    ) as session:
        problems = verify(session).problems

    assert {
        "operation 1: its record cannot be read",
        "operation 2: its changes cannot be read",
        "operation 3: its record cannot be read",
    } <= set(problems)


# -- taken away, added -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("DELETE FROM operation WHERE id = 2", "operation"),
        ("DELETE FROM operation WHERE id = 3", "operation"),
        ("DELETE FROM change WHERE operation_id = 2 AND position = 0", "operation 2"),
        ("DELETE FROM change WHERE operation_id = 2", "operation 2"),
        ("DELETE FROM seal WHERE no = 1", "operation 2"),
        ("DELETE FROM seal WHERE no = 2", "operation 3"),
        ("UPDATE seal SET no = no + 10 WHERE no = 3", "operation 3"),
        ("UPDATE change SET position = 1 - position WHERE operation_id = 2", "operation 2"),
        ("UPDATE change SET operation_id = 3 WHERE operation_id = 2", "operation 2"),
        ("UPDATE change SET operation_id = 99 WHERE operation_id = 2", "operation 99"),
        (
            'INSERT INTO change (id, operation_id, position, "table", record_id, title, action, version, before, after)'
            " VALUES (99, 2, 2, 'post', 1, 'x', 'edit', 2, '{}', '{}')",
            "operation 2",
        ),
        (
            'INSERT INTO change (id, operation_id, position, "table", record_id, title, action, version, before, after)'
            " VALUES (99, 77, 0, 'post', 1, 'x', 'edit', 2, '{}', '{}')",
            "operation 77",
        ),
        (
            "INSERT INTO seal (no, operation_uid, link, sealed_at) VALUES (4, 'made-up', 'x', '2026-03-02 09:00:00')",
            "operation made-up",
        ),
        (
            "INSERT INTO operation (id, uid, at, kind, actor, actor_name, changed, digest)"
            " VALUES (9, 'made-up', '2026-03-02 09:00:00', 'login', 'x', 'x', 0, 'x')",
            "operation 9",
        ),
    ],
)
def test_what_is_taken_away_moved_or_added_is_found_and_named(long_sealed, statement, named):
    with tampered(long_sealed, statement) as session:
        problems = verify(session).problems

    assert any(named in problem for problem in problems), problems


def test_a_youngest_seal_taken_away_leaves_its_operation_named_as_unsealed(long_sealed):
    with tampered(long_sealed, "DELETE FROM seal WHERE no = 3") as session:
        assert verify(session).unsealed == (3,)


def test_a_cut_off_end_is_found_by_the_head_noted_elsewhere(long_sealed):
    head = examined(long_sealed).head

    with tampered(
        long_sealed,
        "DELETE FROM change WHERE operation_id = 3",
        "DELETE FROM operation WHERE id = 3",
        "DELETE FROM seal WHERE no = 3",
    ) as session:
        assert verify(session).sound
        assert not verify(session, noted=head).sound


def test_an_older_head_stays_in_the_chain_as_it_grows(sealed):
    head = examined(sealed).head
    with open_session(sealed, System("tests")) as session:
        session.add(Post(code="NEW", name="新"))
        session.commit()
        seal(session)
        session.commit()

    assert examined(sealed, noted=head).sound


# -- one hand ----------------------------------------------------------------------------------------------


def test_two_who_seal_at_once_make_one_chain(engine):
    with open_session(engine, System("tests")) as session:
        for number in range(60):
            journal.note(session, Act.LOGIN, detail=number)
        session.commit()

    def seal_some(_hand):
        count = 0
        for _ in range(6):
            with open_session(engine, System("tests")) as session:
                count += seal(session, limit=7)
                session.commit()
        return count

    with ThreadPoolExecutor(4) as hands:
        sealed_by = list(hands.map(seal_some, range(4)))

    verdict = examined(engine)
    assert sum(sealed_by) == 60
    assert (verdict.problems, verdict.sealed, verdict.unsealed) == ((), 60, ())


@pytest.mark.postgres
def test_who_writes_while_another_seals_does_not_wait(postgres_engine):
    with open_session(postgres_engine, System("sealer")) as sealer:
        journal.note(sealer, Act.LOGIN)
        sealer.commit()
        seal(sealer)
        with open_session(postgres_engine, System("writer")) as writer:
            writer.connection().exec_driver_sql("SET LOCAL lock_timeout = '2s'")
            writer.add(Post(code="NEW", name="新"))
            writer.commit()
        sealer.commit()

    assert examined(postgres_engine).unsealed == (2,)
