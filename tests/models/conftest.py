"""Rules are tested on models alone: no Flask, an SQLite database in memory, the kit's listeners attached.

Where the database matters, ``engine`` runs a test on an SQLite file and on PostgreSQL. ``house`` has two
branches and people in them; who may do what there is said by each test: ``house.at_work(person, role, …)``.
"""

import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models.base import Base
from models.database import HouseSession, open_session
from models.organisation import Branch, Department, LineOfBusiness, Post
from models.policy import HeldRole, Level, Principal, Scope, Subject, System
from models.staff import Credential, CredentialKind, Staff, StaffPosting
from tests.postgres import drop_database, fresh_database


@pytest.fixture
def session() -> Iterator[Session]:
    """A session on an empty database, acting for the system."""
    engine = models.database.connect("sqlite://")
    Base.metadata.create_all(engine)
    with models.database.open_session(engine, System("tests")) as session:
        yield session
    engine.dispose()


@contextmanager
def as_staff(session: Session, staff: "models.staff.Staff") -> Iterator[None]:
    """Inside the block *staff* is at work, with every right: rights are tested elsewhere, rules here."""
    session.flush()
    before = session.info["principal"]
    session.info["principal"] = System("tests", staff_id=staff.id)
    try:
        yield
    finally:
        session.info["principal"] = before


# -- databases of both kinds, and a house in them ---------------------------------------------------------


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with every table and no row, to be copied: making the tables takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "kanghu.db"
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA synchronous = OFF")
        Base.metadata.create_all(connection)
        connection.commit()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> str:
    """The same in PostgreSQL."""
    url = fresh_database(postgres_url)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    Base.metadata.create_all(engine)
    return url


@contextmanager
def _on_sqlite(template: Path, folder: Path) -> Iterator[sa.Engine]:
    shutil.copy(template, folder / "kanghu.db")
    engine = models.database.connect(f"sqlite:///{folder / 'kanghu.db'}")
    yield engine
    engine.dispose()


@contextmanager
def _on_postgres(template: str, beside: str) -> Iterator[sa.Engine]:
    name = f"kanghu_{uuid.uuid4().hex[:12]}"
    admin = sa.create_engine(beside, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {sa.make_url(template).database}")
    url = sa.make_url(template).set(database=name)
    engine = models.database.connect(url)
    yield engine
    engine.dispose()
    drop_database(url.render_as_string(hide_password=False), beside=beside)


BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=BOTH)
def engine(request: pytest.FixtureRequest) -> sa.Engine:
    """An empty database with every table: the test runs once on an SQLite file and once on PostgreSQL."""
    return request.getfixturevalue(f"{request.param}_engine")


@pytest.fixture
def sqlite_engine(sqlite_template: Path, tmp_path: Path) -> Iterator[sa.Engine]:
    """The same on SQLite alone, for what no database can change."""
    with _on_sqlite(sqlite_template, tmp_path) as engine:
        yield engine


@pytest.fixture
def postgres_engine(postgres_template: str, postgres_url: str) -> Iterator[sa.Engine]:
    """The same on PostgreSQL alone, for what happens between two who write at once."""
    with _on_postgres(postgres_template, postgres_url) as engine:
        yield engine


@pytest.fixture(scope="module", params=BOTH)
def module_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    """One database of each kind for a whole module of tests that leave it as it was."""
    template = request.getfixturevalue(f"{request.param}_template")
    beside = tmp_path_factory.mktemp("module") if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with (_on_sqlite if request.param == "sqlite" else _on_postgres)(template, beside) as engine:
        yield engine


def role(
    code: str = "R",
    scope: Scope = Scope.GROUP,
    branch: int | None = None,
    department: int | None = None,
    may: str | Mapping[str, Scope] = "",
    never: str = "",
    sees: Mapping[str, Level] | None = None,
) -> HeldRole:
    """A role as one person holds it: ``role("NL", Scope.BRANCH, branch=1, may="staff.view staff.edit")``."""
    allows = may if isinstance(may, Mapping) else dict.fromkeys(may.split(), Scope.GROUP)
    return HeldRole(code, f"Role {code}", scope, branch, department, allows, frozenset(never.split()), sees or {})


def principal(*roles: HeldRole, staff_id: int | None = None, user_id: int = 999, **about: object) -> Principal:
    return Principal("tester", "Tester", user_id, staff_id, roles, **about)  # type: ignore[arg-type]


PLAIN = {f"staff.{secrecy}": Level.PLAIN for secrecy in ("contact", "identity", "pay")}


@dataclass(frozen=True)
class House:
    """Two branches and their people, by the numbers of their records."""

    engine: sa.Engine
    shanghai: int
    hangzhou: int
    nursing: int  # in Shanghai, headed by 许佳
    hr: int  # in Shanghai
    care: int  # in Hangzhou, headed by 杜薇
    xu_jia: int
    he_jing: int  # a nurse, managed by 许佳
    sun_li: int  # HR, Shanghai
    zhao: int  # directs Shanghai
    du_wei: int
    wu: int  # directs Hangzhou
    lent: int  # employed in Shanghai, managed by 杜薇 of Hangzhou

    def session(self, who: Subject | None = None) -> HouseSession:
        return open_session(self.engine, who or System("tests"))

    def at_work(self, *roles: HeldRole, staff: int | None = None, **about: object) -> HouseSession:
        """A session in which somebody with *roles* works; *staff* -- their own record."""
        return open_session(self.engine, principal(*roles, staff_id=staff, **about))

    def in_shanghai(self, may: str, **more: object) -> HeldRole:
        return role("SH", Scope.BRANCH, branch=self.shanghai, may=may, sees=PLAIN, **more)  # type: ignore[arg-type]

    def everywhere(self, may: str, **more: object) -> HeldRole:
        return role("ALL", Scope.GROUP, may=may, sees=PLAIN, **more)  # type: ignore[arg-type]


def build_house(engine: sa.Engine) -> House:
    with open_session(engine, System("tests")) as session:
        shanghai = Branch(code="SH01", name="静安月子会所", line=LineOfBusiness.POSTPARTUM)
        hangzhou = Branch(code="HZ02", name="西湖颐养院", line=LineOfBusiness.ELDER)
        nursing = Department(branch=shanghai, code="NUR", name="护理部")
        hr = Department(branch=shanghai, code="HR", name="人力资源部")
        care = Department(branch=hangzhou, code="CARE", name="照护部")
        post = Post(code="NURSE", name="护士")
        session.add_all([shanghai, hangzhou, nursing, hr, care, post])
        session.flush()

        def person(name: str, branch: Branch, department: Department | None, **more: object) -> Staff:
            hired = date(2024, 1, 1)
            one = Staff(branch=branch, department=department, post=post, name=name, hired_on=hired, **more)
            session.add(one)
            session.flush()
            session.add(StaffPosting(staff=one, branch=branch, department=department, from_on=hired))
            session.add(Credential(staff=one, kind=CredentialKind.FIRST_AID, number=f"FA-{one.id}", issued_on=hired))
            return one

        zhao = person("赵明远", shanghai, None, phone="13800000001", monthly_salary=30000)
        xu_jia = person("许佳", shanghai, nursing, manager=zhao, phone="13800000002", monthly_salary=15000)
        he_jing = person("何静", shanghai, nursing, manager=xu_jia, phone="13800000003", monthly_salary=9000)
        sun_li = person("孙莉", shanghai, hr, manager=zhao, phone="13800000004", monthly_salary=12000)
        wu = person("吴海峰", hangzhou, None, phone="13900000001", monthly_salary=28000)
        du_wei = person("杜薇", hangzhou, care, manager=wu, phone="13900000002", monthly_salary=14000)
        lent = person("王晓梅", shanghai, hr, manager=du_wei, phone="13800000005", monthly_salary=8000)
        nursing.head, care.head = xu_jia, du_wei
        session.commit()
        return House(
            engine, shanghai.id, hangzhou.id, nursing.id, hr.id, care.id, xu_jia.id, he_jing.id, sun_li.id, zhao.id,
            du_wei.id, wu.id, lent.id,
        )  # fmt: skip


@pytest.fixture
def house(sqlite_engine: sa.Engine) -> House:
    """The two-branch house in an SQLite file."""
    return build_house(sqlite_engine)


@pytest.fixture
def house_of_both(engine: sa.Engine) -> House:
    """The two-branch house, once in an SQLite file and once in PostgreSQL."""
    return build_house(engine)


__all__ = ["as_staff", "sa", "session"]
