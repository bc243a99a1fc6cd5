"""What reaches the database: values tidied and checked by kind, numbers given once, nothing required missing."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from threading import Barrier

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import given

from models import values
from models.database import open_session
from models.errors import RuleBroken
from models.fields import field
from models.flush import Serial, check_value, restoring
from models.organisation import Branch, Department, LineOfBusiness, Post
from models.policy import System
from models.recycling import recycle
from models.staff import Credential, CredentialKind, CredentialStatus, Staff, StaffCategory, StaffStatus
from tests.models.conftest import House

DAY = date(2024, 1, 1)


@pytest.fixture
def branch(session):
    branch = Branch(code="SH01", name="静安月子会所", line=LineOfBusiness.POSTPARTUM)
    session.add(branch)
    session.flush()
    return branch


def a_person(branch, /, **values_):
    return Staff(**{"branch": branch, "name": "何静", "hired_on": DAY, **values_})


def kept(session, branch, **values_):
    """The same, saved."""
    person = a_person(branch, **values_)
    session.add(person)
    session.commit()
    return person


# -- tidied ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "typed", "stands"),
    [
        ("name", "  何\u200b静 \n", "何静"),
        ("name", "Ｌｉ　Ｍｅｉ", "Li Mei"),
        ("no", " e１００ ", "e100"),
        ("phone", "+86 138-0000-0001", "13800000001"),
        ("phone", "(021) 6288 0000 转 12", "02162880000x12"),
        ("email", " he@example.com ", "he@example.com"),
        ("id_number", "11010519491231002x", "11010519491231002X"),
        ("note", "  一\r\n二\r  三  ", "一\n二\n  三"),
        ("note", "ＡＢ", "ＡＢ"),
        ("phone", "   ", None),
        ("note", " \r\n ", None),
        ("monthly_salary", 5000, Decimal("5000.00")),
        ("monthly_salary", 5000.1, Decimal("5000.10")),
        ("category", "nurse", StaffCategory.NURSE),
    ],
)
def test_a_value_is_tidied_by_its_kind(session, branch, name, typed, stands):
    person = kept(session, branch, **{name: typed})

    assert getattr(person, name) == stands
    assert type(getattr(person, name)) is type(stands)


@given(text=st.text("0186+-().x转 \u3000\u200b\r\nＡ１aX张張@"))
@pytest.mark.parametrize("kind", ["code", "name", "note", "phone", "id_number", "email"])
def test_what_is_tidy_stays_as_it_is(kind, text):
    tidy = values.kind(kind).tidy(text)

    assert values.kind(kind).tidy(tidy) == tidy


# -- refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("name", "何\x00静"),
        ("name", "何\x07静"),
        ("note", "红\ufffe"),
        ("note", "\ud800"),
        ("email", "he\x00@example.com"),
        ("email", "he@example"),
        ("email", "he example.com"),
        ("phone", "12"),
        ("phone", "."),
        ("phone", "１３８abc"),
        ("phone", "٣٤٥٦٧٨٩"),
        ("name", "名" * 81),
        ("no", "1" * 41),
        ("monthly_salary", Decimal("0.001")),
        ("monthly_salary", Decimal("10000000000")),
        ("monthly_salary", Decimal("NaN")),
        ("monthly_salary", float("inf")),
        ("category", "queen"),
        ("category", ["nurse"]),
    ],
)
def test_a_value_that_cannot_stand_is_refused_and_its_field_named(session, branch, name, typed):
    session.add(a_person(branch, **{name: typed}))

    with pytest.raises(RuleBroken) as refused:
        session.flush()

    assert refused.value.field == name
    assert str(refused.value)


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 10**30])
def test_a_whole_number_out_of_range_is_refused(session, branch, number):
    branch.bed_capacity = number

    with pytest.raises(RuleBroken, match="out of any sensible range"):
        session.flush()


@pytest.mark.parametrize("amount", ["9999999999.99", "-9999999999.99", "0", "0.01", "1E+3", "5.10"])
def test_an_amount_exact_to_the_fen_stands(amount):
    check_value(field(Staff, "monthly_salary"), Decimal(amount))


def test_the_longest_values_stand_in_both_databases(engine):
    with open_session(engine, System("tests")) as session:
        branch = Branch(code="护" * 40, name="院" * 80, line=LineOfBusiness.MIXED, address="路" * 160)
        session.add(branch)
        session.add(a_person(branch, name="𠮷" * 80, monthly_salary=Decimal("9999999999.99"), note="长" * 100_000))
        session.commit()
        session.expire_all()

        assert session.scalar(sa.select(Staff.name)) == "𠮷" * 80
        assert session.scalar(sa.select(Staff.monthly_salary)) == Decimal("9999999999.99")


# -- required ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["name", "branch", "hired_on"])
def test_what_is_required_is_asked_for_by_name(session, branch, missing):
    session.add(a_person(branch, **{missing: None}))

    with pytest.raises(RuleBroken, match="is missing: fill it in") as refused:
        session.flush()

    assert refused.value.field == missing


def test_blanks_are_nothing(session, branch):
    session.add(a_person(branch, name=" \u3000 "))

    with pytest.raises(RuleBroken, match="is missing"):
        session.flush()


@pytest.mark.parametrize(("name", "field_"), [("branch", "branch"), ("branch_id", "branch"), ("name", "name")])
def test_what_is_required_cannot_be_emptied_later(session, branch, name, field_):
    person = kept(session, branch)
    assert person.branch is branch  # loaded: a typed key must not hide behind it

    setattr(person, name, None)
    with pytest.raises(RuleBroken, match="is missing") as refused:
        session.flush()

    assert refused.value.field == field_


# -- relations and their keys ------------------------------------------------------------------------------


def test_a_rule_sees_the_relation_that_a_typed_key_names(house: House):
    with house.session() as session:
        person = session.get(Staff, house.xu_jia)
        assert person.manager.name == "赵明远"
        person.manager_id = house.he_jing  # 何静 reports to 许佳 herself

        with pytest.raises(RuleBroken, match="cannot report to themselves"):
            session.flush()


def test_a_key_is_kept_though_its_record_is_out_of_sight(house: House):
    with house.session() as session:
        gone = Department(branch_id=house.shanghai, code="OLD", name="旧部")
        session.add(gone)
        session.flush()
        recycle(gone)
        session.commit()
        number = gone.id
        session.expunge_all()
        person = Staff(branch_id=house.shanghai, department_id=number, name="新人", hired_on=DAY)
        session.add(person)
        session.commit()

        assert person.department_id == number


def test_the_key_of_a_record_never_changes(session, branch):
    branch.id = 99

    with pytest.raises(ValueError, match="never changes"):
        session.flush()


def test_a_rule_may_touch_further_records_and_they_are_checked_too(session, branch, monkeypatch):
    post = Post(code="NURSE", name="护士")
    session.add(post)
    session.commit()
    monkeypatch.setattr(Branch, "derive", lambda self: setattr(post, "name", "护\x00"))

    branch.bed_capacity = 3
    with pytest.raises(RuleBroken, match="control character"):
        session.flush()


# -- states ------------------------------------------------------------------------------------------------


@pytest.fixture
def credential(session, branch):
    person = kept(session, branch)
    credential = Credential(staff=person, kind=CredentialKind.FIRST_AID, number="FA-1", issued_on=DAY)
    session.add(credential)
    session.commit()
    return credential


def test_a_state_cannot_be_typed_not_even_unloaded(session, credential):
    session.expire_all()
    credential.status = CredentialStatus.VERIFIED

    with pytest.raises(RuleBroken, match="moves by the buttons"):
        session.flush()


def test_a_state_typed_as_it_is_is_no_move(session, credential):
    session.expire_all()
    credential.status = CredentialStatus.SUBMITTED

    session.flush()


@pytest.mark.parametrize("typed", [CredentialStatus.VERIFIED, "verified"])
def test_a_record_does_not_begin_in_a_later_state(session, branch, typed):
    person = kept(session, branch)
    session.add(Credential(staff=person, kind=CredentialKind.FIRST_AID, number="X", issued_on=DAY, status=typed))

    with pytest.raises(RuleBroken, match="moves by the buttons"):
        session.flush()


def test_the_past_may_be_loaded_with_its_states_but_not_against_the_rules(session, branch):
    with restoring(session):
        session.add(a_person(branch, status=StaffStatus.LEFT, left_on=date(2025, 1, 1)))
        session.flush()
        session.add(a_person(branch, status=StaffStatus.LEFT))
        with pytest.raises(RuleBroken, match="has left"):
            session.flush()


# -- numbers -----------------------------------------------------------------------------------------------


def test_numbers_are_given_in_order_and_a_typed_one_is_kept(session, branch):
    people = [kept(session, branch), kept(session, branch, no="HAND-7"), kept(session, branch, no="")]

    assert [p.no for p in people] == ["E00001", "HAND-7", "E00002"]


def test_a_kept_number_is_not_given_anew(session, branch):
    person = kept(session, branch)
    session.expire_all()
    person.name = "何敬"
    session.commit()

    assert person.no == "E00001"


def test_numbers_go_on_behind_those_that_came_from_elsewhere(session, branch):
    session.add_all([a_person(branch, no=f"E{n:05d}") for n in range(1, 6)])
    session.flush()
    session.add_all([a_person(branch) for _ in range(3)])
    session.commit()

    numbers = session.scalars(sa.select(Staff.no)).all()
    assert len(set(numbers)) == 8


def test_a_number_taken_back_with_its_transaction_leaves_no_hole_in_the_records(session, branch):
    session.commit()
    session.add(a_person(branch))
    session.flush()
    session.rollback()

    assert kept(session, branch).no == "E00001"


@pytest.mark.postgres
@pytest.mark.parametrize("begun", [False, True], ids=["first numbers", "later numbers"])
def test_numbers_given_to_many_at_once_are_all_different(postgres_engine, begun):
    hands, each = 6, 5
    with open_session(postgres_engine, System("tests")) as session:
        branch = Branch(code="SH01", name="静安", line=LineOfBusiness.MIXED)
        session.add(branch)
        session.add_all([a_person(branch)] * begun)
        session.commit()
        branch_id = branch.id
    start = Barrier(hands)

    def hire(_hand):
        start.wait()
        for _ in range(each):
            with open_session(postgres_engine, System("tests")) as session:
                session.add(Staff(branch_id=branch_id, name="何静", hired_on=DAY))
                session.commit()

    with ThreadPoolExecutor(hands) as pool:
        list(pool.map(hire, range(hands)))

    with open_session(postgres_engine, System("tests")) as session:
        numbers = session.scalars(sa.select(Staff.no)).all()
        last = session.scalar(sa.select(Serial.last).where(Serial.series == "staff.no"))
    assert len(set(numbers)) == len(numbers) == hands * each + begun
    assert last == hands * each + begun
