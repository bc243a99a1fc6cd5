"""Undo: an operation is taken back whole, or refused whole when something came in between."""

from datetime import date

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings

from models import journal
from models.access import UserAccount
from models.database import open_session
from models.errors import Forbidden, RuleBroken
from models.fields import by_table, fields_of
from models.journal import Act, Operation
from models.organisation import Branch, Department, LineOfBusiness, Post
from models.policy import Level, System
from models.recycling import recycle, restore
from models.staff import Credential, CredentialKind, CredentialStatus, Staff, StaffPosting
from models.undo import undo
from tests.models.conftest import House, role

BINNED = {"include_deleted": True}


@pytest.fixture
def work(house: House):
    with house.session() as session:
        yield session


def last(session):
    return session.get(Operation, session.info["last_operation_id"])


def take_back(session, operation=None):
    operation = operation or last(session)
    undo(session, operation)
    session.commit()
    return last(session)


def rows(session):
    """Every record of every table, but for what counts saves."""
    session.expunge_all()
    return {
        (table, record.id): {
            f.attr: getattr(record, f.attr) for f in fields_of(model) if f.attr not in {"version", "updated_at"}
        }
        for table, model in by_table().items()
        for record in session.scalars(sa.select(model).execution_options(**BINNED))
    }


# -- taking back -------------------------------------------------------------------------------------------


def test_an_edit_goes_back_whatever_the_kind_of_value(work, house):
    before = rows(work)
    person = work.get(Staff, house.he_jing)
    person.name, person.phone, person.monthly_salary, person.note = "何敬", None, 1, "一\n二"
    person.department, person.post, person.category = work.get(Department, house.hr), None, "nurse"
    person.hired_on, person.left_on = date(2023, 1, 1), date(2030, 1, 1)
    work.commit()

    undone = take_back(work)

    assert undone.kind is Act.UNDO
    assert undone.undoes_id == undone.id - 1
    assert rows(work) == before


def test_what_was_made_is_gone_with_its_parts_and_comes_back_by_undoing_the_undo(work, house):
    before = rows(work)
    branch = work.get(Branch, house.hangzhou)
    person = Staff(branch=branch, name="新人", hired_on=date(2024, 1, 1))
    work.add_all([person, StaffPosting(staff=person, branch=branch, from_on=date(2024, 1, 1))])
    work.commit()
    made = rows(work)

    undone = take_back(work)
    assert rows(work) == before
    take_back(work, undone)

    assert rows(work) == made


def test_a_transition_goes_back_with_what_it_wrote(work, house):
    credential = work.scalar(sa.select(Credential).where(Credential.staff_id == house.he_jing))
    before = rows(work)
    work.get_one(Credential, 1)
    credential = work.scalar(sa.select(Credential).where(Credential.staff_id == house.he_jing))
    credential.verify()
    work.commit()

    take_back(work)

    assert rows(work) == before


def test_numbers_of_undone_records_are_not_given_again(work, house):
    post = Post(code="NEW", name="新岗")
    work.add(post)
    work.commit()
    number = post.id
    undone = take_back(work)

    other = Post(code="OTHER", name="他岗")
    work.add(other)
    work.commit()
    take_back(work, undone)

    assert other.id != number
    assert work.get(Post, number).name == "新岗"


# -- refusals ----------------------------------------------------------------------------------------------


def test_what_was_changed_since_is_not_overwritten(work, house):
    person = work.get(Staff, house.he_jing)
    person.name, person.note = "何敬", "甲"
    work.commit()
    first = last(work)
    person.note = "乙"
    work.commit()

    with pytest.raises(RuleBroken) as refused:
        undo(work, first)
    work.commit()

    assert str(refused.value) == "“Note” of “何敬” was changed since: it is no longer what this operation made it."
    assert (person.name, person.note) == ("何敬", "乙")


def test_a_change_of_another_field_since_stays(work, house):
    person = work.get(Staff, house.he_jing)
    person.name = "何敬"
    work.commit()
    first = last(work)
    person.note = "乙"
    work.commit()

    take_back(work, first)

    assert (person.name, person.note) == ("何静", "乙")


def test_a_refusal_for_one_record_leaves_all_as_they_are(work, house):
    first, second = work.get(Staff, house.he_jing), work.get(Staff, house.sun_li)
    first.note = second.note = "甲"
    work.commit()
    operation = last(work)
    first.note = "乙"
    work.commit()

    with pytest.raises(RuleBroken, match="changed since"):
        undo(work, operation)
    work.commit()

    assert (first.note, second.note) == ("乙", "甲")
    assert operation.id == last(work).id - 1


def test_an_operation_is_taken_back_once_but_again_after_its_undo_was_undone(work, house):
    work.get(Staff, house.he_jing).note = "甲"
    work.commit()
    first = last(work)
    undone = take_back(work, first)

    with pytest.raises(RuleBroken, match="taken back already"):
        undo(work, first)
    take_back(work, undone)
    take_back(work, first)

    assert work.get(Staff, house.he_jing).note is None


def test_an_operation_that_changed_nothing_cannot_be_taken_back(work):
    journal.note(work, Act.LOGIN)
    work.commit()

    with pytest.raises(RuleBroken, match="nothing to take back"):
        undo(work, last(work))


@pytest.mark.parametrize("binned", [False, True])
def test_what_others_stand_on_by_now_is_not_unmade(work, house, binned):
    department = Department(branch_id=house.shanghai, code="NEW", name="新部")
    work.add(department)
    work.commit()
    made = last(work)
    work.get(Staff, house.lent).department = department
    work.commit()
    if binned:
        recycle(work.get(Staff, house.lent))
        work.commit()

    with pytest.raises(RuleBroken, match="“新部” is needed by Staff"):
        undo(work, made)
    work.commit()

    assert work.get(Department, department.id) is department


def test_a_value_of_before_must_still_be_there(work, house):
    post = Post(code="OLD", name="旧岗")
    work.add(post)
    person = work.get(Staff, house.he_jing)
    person.post = post
    work.commit()
    person.post = None
    work.commit()
    moved = last(work)
    recycle(post)
    work.commit()

    with pytest.raises(RuleBroken, match="“Post” of “何静” was a record that is no longer there"):
        undo(work, moved)


def test_a_record_in_the_bin_is_not_changed_by_an_undo(work, house):
    person = work.get(Staff, house.he_jing)
    person.note = "甲"
    work.commit()
    edited = last(work)
    recycle(person)
    work.commit()

    with pytest.raises(RuleBroken, match="restore it first"):
        undo(work, edited)


def test_an_undo_keeps_the_rules(work, house):
    posting = work.scalar(sa.select(StaffPosting).where(StaffPosting.staff_id == house.he_jing))
    posting.to_on = date(2024, 12, 31)
    work.commit()
    ended = last(work)
    work.add(StaffPosting(staff_id=house.he_jing, branch_id=house.shanghai, from_on=date(2025, 1, 1)))
    work.commit()

    with pytest.raises(RuleBroken, match="end that posting first"):
        undo(work, ended)


def test_a_secret_is_left_as_it_is(work):
    account = UserAccount(login="hejing")
    account.set_password("correct horse battery staple")
    work.add(account)
    work.commit()
    account.login = "he.jing"
    account.set_password("another horse battery staple")
    work.commit()
    present = account.password_hash

    take_back(work)

    assert (account.login, account.password_hash) == ("hejing", present)


# -- who may -----------------------------------------------------------------------------------------------


def test_undo_asks_for_the_rights_of_what_it_does(work, house):
    work.get(Staff, house.he_jing).note = "甲"
    work.commit()
    operation = last(work).id
    work.close()

    with house.at_work(house.everywhere("staff.view")) as session, pytest.raises(Forbidden, match="“Edit”"):
        undo(session, session.get(Operation, operation))
    with house.at_work(house.in_shanghai("staff.view staff.edit")) as session:
        take_back(session, session.get(Operation, operation))
        assert session.get(Staff, house.he_jing).note is None


def test_undo_does_not_reach_into_another_branch(work, house):
    work.get(Staff, house.du_wei).note = "甲"
    work.commit()
    operation = last(work).id
    work.close()

    near = house.in_shanghai("staff.view staff.edit")
    with house.at_work(near) as session, pytest.raises(RuleBroken, match="out of your reach"):
        undo(session, session.get(Operation, operation))


def test_undo_does_not_write_what_one_may_not_see(work, house):
    work.get(Staff, house.he_jing).monthly_salary = 1
    work.commit()
    operation = last(work).id
    work.close()

    blind = role(may="staff.view staff.edit", sees={"staff.pay": Level.HIDDEN})
    with house.at_work(blind) as session, pytest.raises(Forbidden, match="does not see"):
        undo(session, session.get(Operation, operation))


def test_a_move_is_taken_back_by_those_who_may_make_it(work, house):
    credential = work.scalar(sa.select(Credential).where(Credential.staff_id == house.he_jing))
    credential.verify()
    work.commit()
    operation, number = last(work).id, credential.id
    work.close()

    clerk = house.everywhere("staff.view credential.view credential.edit")
    with house.at_work(clerk) as session, pytest.raises(Forbidden, match="moves by the buttons"):
        undo(session, session.get(Operation, operation))
    with house.at_work(house.everywhere("staff.view credential.view credential.edit credential.verify")) as session:
        take_back(session, session.get(Operation, operation))
        assert session.get(Credential, number).status is CredentialStatus.SUBMITTED


def test_what_was_made_by_mistake_is_unmade_with_the_right_to_delete(house):
    with house.at_work(house.everywhere("post.view post.create")) as session:
        session.add(Post(code="NEW", name="新岗"))
        session.commit()
        operation = session.info["last_operation_id"]
        with pytest.raises(Forbidden, match="“Delete”"):
            undo(session, session.get(Operation, operation))
    with house.at_work(house.everywhere("post.view post.delete")) as session:
        take_back(session, session.get(Operation, operation))
        assert session.scalar(sa.select(Post).where(Post.code == "NEW")) is None


# -- any acts, undone newest first -------------------------------------------------------------------------

NAMES = st.sampled_from(["何静", "李欣怡", "王芳"])
ACTS = st.one_of(
    st.tuples(st.just("hire"), NAMES),
    st.tuples(st.just("edit"), st.integers(0, 3), NAMES, st.sampled_from([None, "甲"]), st.sampled_from([None, 5])),
    st.tuples(st.just("manage"), st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.just("certify"), st.integers(0, 3)),
    st.tuples(st.just("verify"), st.integers(0, 3)),
    st.tuples(st.just("recycle"), st.integers(0, 3)),
    st.tuples(st.just("restore"), st.integers(0, 3)),
    st.tuples(st.just("commit")),
    st.tuples(st.just("commit")),
)


def do(session, branch_id, verb, *how):
    """Do one act; one that a rule refuses is no act."""
    people = session.scalars(sa.select(Staff).order_by(Staff.id).execution_options(**BINNED)).all()
    person = people[how[0] % len(people)] if people and how and isinstance(how[0], int) else None
    if verb == "hire":
        session.add(Staff(branch_id=branch_id, name=how[0], hired_on=date(2024, 1, 1)))
    elif person is None:
        return
    elif verb == "restore":
        restore(person)
    elif person.deleted_at is not None:
        return
    elif verb == "edit":
        person.name, person.note, person.monthly_salary = how[1:]
    elif verb == "manage" and (manager := people[how[1] % len(people)]).deleted_at is None:
        person.manager = manager
    elif verb == "certify":
        number = f"{person.id}-{len(person.credentials)}-{session.scalar(sa.func.max(Operation.id))}"
        kind, issued = CredentialKind.FIRST_AID, date(2024, 1, 1)
        session.add(Credential(staff=person, kind=kind, number=number, issued_on=issued))
    elif verb == "verify" and person.credentials:
        person.credentials[0].verify()
    elif verb == "recycle":
        recycle(person)
    session.flush()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(acts=st.lists(ACTS, min_size=3, max_size=20))
def test_any_acts_undone_newest_first_give_the_starting_rows(engine, acts):
    with open_session(engine, System("tests")) as session:
        branch = session.scalar(sa.select(Branch)) or Branch(code="A", name="院", line=LineOfBusiness.MIXED)
        session.add(branch)
        session.commit()
        branch_id, before = branch.id, rows(session)
        start = session.scalar(sa.select(sa.func.max(Operation.id)))
        for act in acts:
            if act[0] == "commit":
                session.commit()
                continue
            try:
                with session.begin_nested():
                    do(session, branch_id, *act)
            except RuleBroken:
                pass
        session.commit()

        newest_first = sa.select(Operation.id).where(Operation.id > start).order_by(Operation.id.desc())
        for number in session.scalars(newest_first).all():
            take_back(session, session.get(Operation, number))

        assert rows(session) == before
