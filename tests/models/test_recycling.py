"""The recycle bin: what goes there goes with its parts, comes back with them, and is missed by nobody."""

from datetime import date

import pytest
import sqlalchemy as sa

from models.database import HouseSession
from models.errors import Forbidden, RuleBroken
from models.journal import Change, Operation
from models.organisation import Department, Post
from models.recycling import recycle, restore
from models.staff import Credential, CredentialKind, Staff, StaffPosting
from models.undo import undo
from tests.models.conftest import House

BINNED = {"include_deleted": True}


@pytest.fixture
def work(house: House):
    with house.session() as session:
        yield session


def parts(session, staff_id, model=Credential):
    return session.scalars(sa.select(model).where(model.staff_id == staff_id).execution_options(**BINNED)).all()


def test_a_record_goes_to_the_bin_with_its_parts_in_one_operation(work, house):
    gone = recycle(work.get(Staff, house.he_jing))
    work.commit()

    assert gone == 3  # the person, one posting, one credential
    assert work.scalar(sa.select(Staff).where(Staff.id == house.he_jing)) is None
    assert parts(work, house.he_jing)[0].deleted_at is not None
    operation = work.get(Operation, work.info["last_operation_id"])
    told = work.scalars(sa.select(Change).where(Change.operation_id == operation.id)).all()
    assert {(c.table, c.action, tuple(c.after)) for c in told} == {
        ("staff", "edit", ("deleted_at",)),
        ("staff_posting", "edit", ("deleted_at",)),
        ("credential", "edit", ("deleted_at",)),
    }


def test_it_comes_back_with_the_parts_that_went_with_it_and_no_others(work, house):
    person = work.get(Staff, house.he_jing)
    earlier = Credential(staff=person, kind=CredentialKind.INFANT_CARE, number="I-1", issued_on=date(2024, 1, 1))
    work.add(earlier)
    work.flush()
    recycle(earlier)
    work.commit()
    recycle(person)
    work.commit()

    assert restore(person) == 3
    work.commit()

    assert {c.number for c in person.credentials if c.deleted_at is None} == {f"FA-{person.id}"}


def test_what_is_needed_elsewhere_stays_and_is_told_by_whom(work, house):
    with pytest.raises(RuleBroken) as refused:
        recycle(work.get(Staff, house.xu_jia))  # heads nursing and manages 何静

    assert "“许佳” is needed by" in str(refused.value)
    assert "#" in str(refused.value)
    assert work.get(Staff, house.xu_jia).deleted_at is None


def test_what_needs_it_holds_it_also_out_of_sight(house):
    may = house.in_shanghai("staff.view staff.delete staff_posting.view staff_posting.delete")  # not the credentials
    with house.at_work(may) as session, pytest.raises(RuleBroken, match="needed by Credential"):
        recycle(session.get(Staff, house.he_jing))


def test_what_is_in_the_bin_needs_nothing(work, house):
    recycle(work.get(Staff, house.he_jing))
    work.commit()
    work.get(Department, house.nursing).head = None
    work.commit()

    recycle(work.get(Staff, house.xu_jia))
    work.commit()


def test_what_was_let_go_in_the_same_breath_needs_nothing(work, house):
    with work.no_autoflush:
        work.get(Staff, house.he_jing).manager = None
        work.get(Department, house.nursing).head = None

        recycle(work.get(Staff, house.xu_jia))
    work.commit()


def test_a_part_does_not_come_back_without_its_whole(work, house):
    person = work.get(Staff, house.he_jing)
    [credential] = parts(work, house.he_jing)
    recycle(person)
    work.commit()

    with pytest.raises(RuleBroken, match="restore that first"):
        restore(credential)


def test_a_record_does_not_come_back_while_what_it_points_at_is_in_the_bin(work, house):
    person, hr = work.get(Staff, house.lent), work.get(Department, house.hr)
    recycle(person)
    work.get(Staff, house.sun_li).department = None
    for posting in work.scalars(sa.select(StaffPosting).where(StaffPosting.department_id == hr.id)):
        posting.department = None
    work.commit()
    recycle(hr)
    work.commit()

    with pytest.raises(RuleBroken, match="“Department” of “王晓梅” is in the recycle bin"):
        restore(person)


def test_a_record_goes_to_the_bin_once(work, house):
    person = work.get(Staff, house.he_jing)
    recycle(person)
    work.commit()

    with pytest.raises(RuleBroken, match="already"):
        recycle(person)


def test_what_is_not_in_the_bin_cannot_come_back_from_it(work, house):
    with pytest.raises(RuleBroken, match="is not in the recycle bin"):
        restore(work.get(Staff, house.he_jing))


def test_recycling_is_undone_like_any_operation(work, house):
    recycle(work.get(Staff, house.he_jing))
    work.commit()

    undo(work, work.get(Operation, work.info["last_operation_id"]))
    work.commit()

    assert work.get(Staff, house.he_jing).deleted_at is None
    assert [c.deleted_at for c in parts(work, house.he_jing)] == [None]


# -- what is recycled is nowhere ---------------------------------------------------------------------------


def test_recycled_records_are_invisible_to_everybody_who_does_not_ask_for_them(work, house):
    recycle(work.get(Staff, house.lent))
    work.commit()
    work.expunge_all()

    assert work.get(Staff, house.lent) is None
    assert house.lent not in work.scalars(sa.select(Staff.id)).all()
    assert work.scalar(sa.select(sa.func.count(Staff.id))) == 6
    assert work.get(Staff, house.lent, execution_options=BINNED).name == "王晓梅"


def test_a_relation_to_a_recycled_record_loads_as_none(work, house):
    post = Post(code="OLD", name="旧岗")
    person = work.get(Staff, house.he_jing)
    person.post = post
    work.commit()
    post.deleted_at = person.created_at  # past the check, as another session might
    work.commit()
    work.expunge_all()

    assert work.get(Staff, house.he_jing).post is None
    assert (
        work.scalars(sa.select(Staff).options(sa.orm.joinedload(Staff.post)).where(Staff.id == house.he_jing))
        .one()
        .post
        is None
    )


@pytest.mark.parametrize("how", ["by its key", "as a record"])
def test_nobody_points_at_a_recycled_record(house, how):
    with house.session() as session:
        post = Post(code="OLD", name="旧岗")
        session.add(post)
        session.flush()
        recycle(post)
        session.commit()
        number = post.id
    with house.at_work(house.everywhere("staff.view staff.edit post.view")) as session:
        person = session.get(Staff, house.he_jing)
        if how == "by its key":
            person.post_id = number
        else:
            person.post = session.get(Post, number, execution_options=BINNED)

        with pytest.raises(Forbidden, match="names a record that does not exist"):
            session.commit()


# -- who may -----------------------------------------------------------------------------------------------


def recycled(house: House) -> None:
    with house.session() as session:
        recycle(session.get(Staff, house.he_jing))
        session.commit()


def in_bin(session: HouseSession, house: House) -> Staff:
    return session.get(Staff, house.he_jing, execution_options=BINNED)


PARTS = " staff_posting.view credential.view"


def test_the_bin_asks_for_the_right_to_delete_in_and_out(house):
    with house.at_work(house.everywhere("staff.view staff.edit" + PARTS)) as session:
        recycle(session.get(Staff, house.he_jing))
        with pytest.raises(Forbidden, match="“Delete”"):
            session.commit()
    recycled(house)
    with house.at_work(house.everywhere("staff.view staff.edit" + PARTS)) as session:
        restore(in_bin(session, house))
        with pytest.raises(Forbidden, match="“Delete”"):
            session.commit()


def test_the_right_to_delete_is_no_right_to_edit_on_the_way(house):
    may = house.everywhere("staff.view staff.delete staff_posting.delete credential.delete" + PARTS)
    with house.at_work(may) as session:
        person = session.get(Staff, house.he_jing)
        recycle(person)
        person.monthly_salary = 1
        with pytest.raises(Forbidden, match="“Edit”"):
            session.commit()


def test_a_record_in_the_bin_is_not_edited(house):
    recycled(house)
    with house.at_work(house.everywhere("staff.view staff.edit staff.delete")) as session:
        in_bin(session, house).name = "何敬"
        with pytest.raises(Forbidden, match="restore it first"):
            session.commit()


def test_nobody_deletes_for_good(house):
    with house.at_work(house.everywhere("staff.view staff.delete")) as session:
        session.delete(session.get(Staff, house.he_jing))
        with pytest.raises(Forbidden, match="nothing is deleted for good"):
            session.commit()
