"""The demo houses behind a real app: made once, copied for every test that changes something."""

import fcntl
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import argon2
import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from admin_views import access as signing_in
from admin_views.commands import session_for
from admin_views.extensions import db
from app import ROOT, Config, create_app
from models import access, clock, clock_source, database, fields, policy, seeding
from models.base import Base
from models.policy import Level, Scope, System
from tests.cast import AUDITOR, KEYHOLDER, PASSWORD, VEILED, Person
from tests.postgres import fresh_database

NOW = datetime.fromisoformat("2026-03-02T09:00+08:00")


@pytest.fixture(scope="module", autouse=True)
def that_morning() -> Iterator[None]:
    """Every module begins at NOW, when the demo houses' year ends; the clock runs on from there."""
    clock.start_from(NOW)
    yield
    clock_source._offset = timedelta(0)


def make_app(url: str, folder: Path) -> Flask:
    """An app for tests on the database at *url*; its own files live in *folder*."""
    config = Config(
        env="test", instance=folder, database_url=url, secret_key="tests" * 8, host="127.0.0.1", port=0, workers=1,
        demo=True, now=None,
    )  # fmt: skip
    return create_app(config)


@pytest.fixture(scope="session", autouse=True)
def hasty_passwords() -> Iterator[None]:
    """Passwords are hashed as cheaply as argon2 can: a house has twenty people, and each test signs some in."""
    kept = access._hasher
    access._hasher = cache(lambda: argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    yield
    access._hasher = kept


# -- the houses, made once -----------------------------------------------------------------------------------


def load_demo(app: Flask) -> None:
    """Fill an empty database with the demo houses, and with the accounts that only tests have."""
    with app.app_context():
        Base.metadata.create_all(db.engine)
        with session_for("seed") as session:
            seeding.load_house(session, ROOT / "seed")
            seeding.load_demo(session, ROOT / "seed", NOW)
            for person, level in ((AUDITOR, None), (KEYHOLDER, Level.PLAIN), (VEILED, Level.REVEAL)):
                session.add(_account(session, person, level))
            session.commit()
        db.engine.dispose()


def _account(session: Any, person: Person, level: Level | None) -> access.RoleGrant:
    """An account with the role of *person*: one that exists, or one that may do everything and sees at *level*."""
    role = session.scalar(sa.select(access.Role).where(access.Role.code == person.role))
    if role is None and level is not None:
        role = access.Role(code=person.role, name=person.name)
        role.permissions += [access.RolePermission(permission=p) for p in policy.permissions()]
        for model in fields.models():
            for secrecy in policy.secrecy_classes(model):
                role.permissions.append(
                    access.RolePermission(permission=f"{model.__tablename__}.sees.{secrecy}", level=level)
                )
    account = access.UserAccount(login=person.login)
    account.set_password(PASSWORD)
    return access.RoleGrant(user=account, role=role, scope=Scope.GROUP)


@pytest.fixture(scope="session")
def demo_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the demo houses in it, made by one worker for all; never written to again."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if own.name.startswith("popen-") else own
    with _alone(shared / "demo.lock"):
        made = shared / "demo.db"
        if not made.exists():
            folder = tmp_path_factory.mktemp("demo")
            load_demo(make_app(f"sqlite:///{folder / 'demo.db'}", folder))
            _settle(folder / "demo.db")
            shutil.move(folder / "demo.db", made)
    return made


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _settle(path: Path) -> None:
    """Bring everything into the one file, so that a copy of it is whole."""
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.fixture(scope="session")
def demo_postgres(demo_sqlite: Path, postgres_url: str) -> str:
    """A PostgreSQL database with the same rows, to be copied."""
    url = fresh_database(postgres_url)
    source, target = sa.create_engine(f"sqlite:///{demo_sqlite}"), sa.create_engine(url)
    Base.metadata.create_all(target)
    with source.connect() as old, target.begin() as new:
        new.exec_driver_sql("SET session_replication_role = replica")  # rows that name each other come in any order
        for table in Base.metadata.tables.values():
            rows = [dict(row) for row in old.execute(sa.select(table)).mappings()]
            if rows:
                new.execute(sa.insert(table), rows)
            if "id" in table.c and table.c.id.autoincrement is not False:
                new.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), coalesce(max(id), 1)) FROM {table.name}"
                )
    source.dispose()
    target.dispose()
    return url


# -- copies of them ------------------------------------------------------------------------------------------


@contextmanager
def on_sqlite(demo: Path, folder: Path) -> Iterator[Flask]:
    """An app on a copy of the demo houses, on SQLite."""
    shutil.copy(demo, folder / "kanghu.db")
    app = make_app(f"sqlite:///{folder / 'kanghu.db'}", folder)
    yield app
    close(app)


@contextmanager
def on_postgres(template: str, maintenance: str, folder: Path) -> Iterator[Flask]:
    """The same on PostgreSQL."""
    url = _copy_of_postgres(template, maintenance)
    app = make_app(url, folder)
    yield app
    close(app)


def close(app: Flask) -> None:
    """Let go of the database; a principal of another copy must not be taken for one of this."""
    with app.app_context():
        db.engine.dispose()
    signing_in._principals.clear()


def _copy_of_postgres(template: str, maintenance: str) -> str:
    name = sa.make_url(fresh_database(maintenance)).database
    admin = sa.create_engine(maintenance, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f'DROP DATABASE "{name}"')
        connection.exec_driver_sql(f'CREATE DATABASE "{name}" TEMPLATE "{sa.make_url(template).database}"')
    admin.dispose()
    return sa.make_url(template).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def demo(demo_sqlite: Path, tmp_path: Path) -> Iterator[Flask]:
    """An app on a copy of the demo houses, on SQLite, for one test."""
    with on_sqlite(demo_sqlite, tmp_path) as app:
        yield app


@pytest.fixture(scope="module")
def house(demo_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The same for a whole module of tests that only look."""
    with on_sqlite(demo_sqlite, tmp_path_factory.mktemp("house")) as app:
        yield app


@pytest.fixture(scope="module")
def house_on_postgres(
    demo_postgres: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flask]:
    with on_postgres(demo_postgres, postgres_url, tmp_path_factory.mktemp("house-postgres")) as app:
        yield app


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def house_on_both(request: pytest.FixtureRequest) -> Flask:
    """The app of a whole module of tests that only look, once on SQLite and once on PostgreSQL."""
    return request.getfixturevalue("house" if request.param == "sqlite" else "house_on_postgres")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def demo_on_both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    """An app on a copy of the demo houses for one test, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        made = on_sqlite(request.getfixturevalue("demo_sqlite"), tmp_path)
    else:
        template, maintenance = request.getfixturevalue("demo_postgres"), request.getfixturevalue("postgres_url")
        made = on_postgres(template, maintenance, tmp_path)
    with made as app:
        yield app


# -- people at their browsers --------------------------------------------------------------------------------


class Browser:
    """A signed-in person's browser without a screen: it sends the token with every form."""

    def __init__(self, app: Flask, person: Person) -> None:
        self.app, self.person = app, person
        self.client: FlaskClient = app.test_client()
        self.token = ""
        self._sign_in()

    def _sign_in(self) -> None:
        token = token_in(self.client.get("/admin/login").text)
        answer = self.client.post(
            "/admin/login", data={"csrf_token": token, "username": self.person.login, "password": PASSWORD}
        )
        assert answer.status_code == 302, answer.text
        self.token = token_in(self.client.get("/admin/account/password").text)

    def get(self, address: str, **kw: Any) -> Any:
        return self.client.get(address, buffered=True, **kw)

    def post(self, address: str, data: Any = (), **kw: Any) -> Any:
        """Post *data*, a mapping or pairs of names and values; the token goes along."""
        pairs = list(data.items() if hasattr(data, "items") else data)
        sent: dict[str, Any] = {"csrf_token": self.token}
        for name, value in pairs:
            sent.setdefault(name, []).append(value) if name != "csrf_token" else None
        return self.client.post(address, data=sent, buffered=True, **kw)

    def told(self) -> list[str]:
        """What the next page would say on top: the messages of what was just done, taken away."""
        with self.client.session_transaction() as kept:
            return [text for _, text in kept.pop("_flashes", [])]


def token_in(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None, "the page holds no form"
    return found.group(1)


@pytest.fixture
def browse(demo: Flask) -> Callable[[Person], Browser]:
    """Sign somebody in: ``browse(LIN).get("/admin/client/")``."""
    return lambda person: Browser(demo, person)


@contextmanager
def looking(app: Flask) -> Iterator[Any]:
    """A session that sees everything as it stands at each moment, to check by what the screens did; it holds no lock."""
    with app.app_context():
        engine = sa.create_engine(db.engine.url, isolation_level="AUTOCOMMIT", poolclass=sa.StaticPool)
    with database.open_session(engine, System("tests")) as session:
        yield session
    engine.dispose()


@contextmanager
def arranging(app: Flask) -> Iterator[Any]:
    """A session of the machine's own to set the stage with; commits at the end."""
    with app.app_context(), session_for("tests") as session:
        yield session
        session.commit()


def roles_of(app: Flask, login: str) -> set[str]:
    with looking(app) as session:
        account = session.scalars(sa.select(access.UserAccount).where(access.UserAccount.login == login)).one()
        return {grant.role.code for grant in account.grants}
