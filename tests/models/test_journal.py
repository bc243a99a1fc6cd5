"""The journal: one operation per act, one change per record, nothing forgotten and nothing rewritten."""

from datetime import date

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from sqlalchemy.orm import Session

from models import journal
from models.access import UserAccount
from models.database import open_session
from models.errors import RuleBroken
from models.fields import by_table, fields_of
from models.journal import WITHHELD, Act, Change, Operation, Seal
from models.organisation import Branch, Department, LineOfBusiness, Post
from models.policy import System
from models.recycling import recycle, restore
from models.staff import Staff
from tests.models.conftest import House


def operations(session):
    return session.scalars(sa.select(Operation).order_by(Operation.id)).all()


def changes(session, operation=None):
    found = sa.select(Change).order_by(Change.id)
    if operation is not None:
        found = found.where(Change.operation_id == operation.id)
    return session.scalars(found).all()


def last_changes(session):
    """The changes of the last operation, as (table, record, action, before, after)."""
    last = operations(session)[-1]
    return [(c.table, c.record_id, c.action, c.before, c.after) for c in changes(session, last)]


@pytest.fixture
def branch(session):
    branch = Branch(code="SH01", name="静安月子会所", line=LineOfBusiness.POSTPARTUM)
    session.add(branch)
    session.commit()
    return branch


# -- one operation per commit, one change per record -------------------------------------------------------


def test_a_commit_is_one_operation_with_one_change_per_record_however_many_flushes(session, branch):
    post = Post(code="NURSE", name="护士")
    session.add(post)
    session.flush()
    post.name = "护师"
    session.flush()
    branch.name = "静安会所"
    session.flush()
    branch.name = "静安月子中心"
    branch.bed_capacity = 40
    session.commit()

    assert len(operations(session)) == 2
    assert {(c[0], c[2]): c[3] for c in last_changes(session)} == {
        ("post", "create"): {},
        ("branch", "edit"): {"name": "静安月子会所", "bed_capacity": 0},
    }
    after = {c[0]: c[4] for c in last_changes(session)}
    assert after["post"]["name"] == "护师"
    assert after["branch"] == {"name": "静安月子中心", "bed_capacity": 40}


def test_an_operation_says_who_did_what_from_where_and_why(session, branch):
    session.info["request"] = {"source": "/admin/branch/edit/", "address": "10.0.0.7"}
    journal.begin(session, Act.CELL, label="Address", reason="搬家", detail={"seen": 3})
    branch.address = "南京西路 1 号"
    session.commit()

    told = operations(session)[-1]
    assert (told.kind, told.label, told.reason, told.detail) == (Act.CELL, "Address", "搬家", {"seen": 3})
    assert (told.actor, told.actor_name, told.role) == ("system:tests", "tests", "SYSTEM")
    assert (told.source, told.address) == ("/admin/branch/edit/", "10.0.0.7")
    assert (told.table, told.record_id, told.changed) == ("branch", branch.id, 1)


def test_an_act_described_for_one_commit_does_not_describe_the_next(session, branch):
    journal.begin(session, Act.IMPORT)
    branch.bed_capacity = 1
    session.commit()

    branch.bed_capacity = 2
    session.commit()

    assert [o.kind for o in operations(session)[-2:]] == [Act.IMPORT, Act.SCRIPT]


def test_nothing_changed_is_no_operation(session, branch):
    branch.name = branch.name
    branch.bed_capacity = 0
    session.commit()
    branch.name = "别名"
    session.flush()
    branch.name = "静安月子会所"
    session.commit()

    assert len(operations(session)) == 1


def test_a_record_made_and_unmade_in_one_commit_leaves_no_trace(session, branch):
    post = Post(code="NURSE", name="护士")
    session.add(post)
    session.flush()
    session.delete(post)
    session.commit()

    assert len(operations(session)) == 1


def test_a_deletion_keeps_the_whole_record_as_it_was_before_the_act(session, branch):
    post = Post(code="NURSE", name="护士", level=3)
    session.add(post)
    session.commit()
    post.name = "护师"
    session.flush()
    session.delete(post)
    session.commit()

    [(table, _, action, before, after)] = last_changes(session)
    assert (table, action, after) == ("post", "delete", {})
    assert (before["code"], before["name"], before["level"]) == ("NURSE", "护士", 3)


def test_a_note_is_an_operation_that_changes_nothing(session, branch):
    journal.note(session, Act.EXPORT, table="staff", detail={"rows": 12})
    session.commit()

    assert (operations(session)[-1].kind, operations(session)[-1].changed) == (Act.EXPORT, 0)


# -- before and after --------------------------------------------------------------------------------------


def test_the_old_value_is_told_also_when_nobody_loaded_it(house_of_both: House):
    with house_of_both.session() as session:
        staff = session.get(Staff, house_of_both.he_jing)
        session.commit()  # everything is expired now
        staff.name, staff.monthly_salary, staff.manager_id = "何敬", None, house_of_both.zhao
        session.commit()

        [(_, _, action, before, after)] = last_changes(session)

    assert action == "edit"
    assert before == {"name": "何静", "monthly_salary": "9000.00", "manager_id": house_of_both.xu_jia}
    assert after == {"name": "何敬", "monthly_salary": None, "manager_id": house_of_both.zhao}


def test_an_unloaded_value_typed_as_it_was_is_no_change(house_of_both: House):
    with house_of_both.session() as session:
        staff = session.get(Staff, house_of_both.he_jing)
        session.commit()
        before = len(operations(session))
        session.commit()
        staff.name, staff.branch_id = "何静", house_of_both.shanghai
        session.commit()

        assert len(operations(session)) == before


def test_a_relation_is_told_by_its_key(house: House):
    with house.session() as session:
        staff = session.get(Staff, house.he_jing)
        staff.department = session.get(Department, house.hr)
        session.commit()

        [(_, _, _, before, after)] = last_changes(session)

    assert (before, after) == ({"department_id": house.nursing}, {"department_id": house.hr})


def test_a_relation_emptied_before_anybody_loaded_it_is_told_by_what_it_was(house: House):
    with house.session() as session:
        staff = session.get(Staff, house.he_jing)
        session.commit()
        staff.manager = None
        session.commit()

        [(_, _, _, before, after)] = last_changes(session)

    assert (before, after) == ({"manager_id": house.xu_jia}, {"manager_id": None})


def test_an_amount_is_told_with_all_its_places(house: House):
    with house.session() as session:
        session.get(Staff, house.he_jing).monthly_salary = 9500
        session.commit()

        [(_, _, _, before, after)] = last_changes(session)

    assert (before, after) == ({"monthly_salary": "9000.00"}, {"monthly_salary": "9500.00"})


def test_a_collection_told_from_the_other_end_is_a_change_of_the_part(house: House):
    with house.session() as session:
        department, hangzhou = session.get(Department, house.hr), session.get(Branch, house.hangzhou)
        hangzhou.departments.append(department)
        session.commit()

        assert last_changes(session) == [
            ("department", house.hr, "edit", {"branch_id": house.shanghai}, {"branch_id": house.hangzhou})
        ]


def test_a_head_of_department_written_after_the_others_is_told_too(house: House):
    with house.session() as session:
        session.get(Department, house.hr).head = session.get(Staff, house.sun_li)
        session.commit()

        assert last_changes(session) == [("department", house.hr, "edit", {"head_id": None}, {"head_id": house.sun_li})]


def test_a_merged_record_is_journaled_like_an_edited_one(house: House):
    with house.session() as session:
        session.merge(Staff(id=house.he_jing, name="何敬"))
        session.commit()

        assert [(c[3], c[4]) for c in last_changes(session)] == [({"name": "何静"}, {"name": "何敬"})]


def test_secrets_are_told_as_changed_and_never_as_values(session):
    account = UserAccount(login="hejing")
    account.set_password("correct horse battery staple")
    session.add(account)
    session.commit()
    account.set_password("another horse battery staple")
    session.commit()

    told = [c for c in changes(session) if c.table == "user_account"]
    assert [(c.before.get("password_hash"), c.after["password_hash"]) for c in told] == [
        (None, WITHHELD), (WITHHELD, WITHHELD)
    ]  # fmt: skip
    assert "argon2" not in str([(c.before, c.after) for c in told])


def test_a_name_too_long_or_unprintable_for_the_journal_does_not_lose_the_act(engine):
    with open_session(engine, System("n" * 200)) as session:
        session.info["request"] = {"source": "/admin/\x00" + "x" * 300, "address": "y" * 100}
        journal.begin(session, Act.EDIT, label="l" * 300, reason="a\x00b\nc", detail={1: date(2026, 3, 2)})
        session.add(Post(code="NURSE", name="护士"))
        session.commit()

        told = operations(session)[-1]

    assert (len(told.actor), len(told.label), len(told.source)) == (80, 120, 255)
    assert told.reason == "a\N{REPLACEMENT CHARACTER}b\nc"
    assert told.detail == {"1": "2026-03-02"}


# -- savepoints and rollbacks ------------------------------------------------------------------------------


def test_a_savepoint_rolled_back_is_forgotten_and_one_released_is_kept(session, branch):
    with session.begin_nested():
        branch.bed_capacity = 10
    savepoint = session.begin_nested()
    branch.bed_capacity = 20
    session.add(Post(code="LOST", name="无"))
    session.flush()
    savepoint.rollback()
    session.commit()

    assert [c[2:] for c in last_changes(session)] == [("edit", {"bed_capacity": 0}, {"bed_capacity": 10})]


def test_savepoints_within_savepoints_keep_what_their_outermost_keeps(session, branch):
    outer = session.begin_nested()
    branch.bed_capacity = 1
    with session.begin_nested():
        branch.name = "甲"
    inner = session.begin_nested()
    branch.name = "乙"
    session.flush()
    inner.rollback()
    outer.commit()
    thrown = session.begin_nested()
    with session.begin_nested():
        branch.bed_capacity = 99
    thrown.rollback()
    session.commit()

    assert [c[4] for c in last_changes(session)] == [{"bed_capacity": 1, "name": "甲"}]


def test_a_failed_flush_in_a_savepoint_takes_its_changes_along(session, branch):
    session.begin_nested()
    session.add(Post(code="ONE", name="一"))
    session.flush()
    session.add(Post(code="ONE", name="二"))
    with pytest.raises(sa.exc.IntegrityError):
        session.flush()
    session.get_nested_transaction().rollback()
    branch.bed_capacity = 3
    session.commit()

    assert [c[0] for c in last_changes(session)] == ["branch"]


@pytest.mark.parametrize("end", [Session.rollback, Session.close], ids=["rolled back", "closed"])
def test_a_session_rolled_back_or_closed_forgets_everything(session, branch, end):
    journal.begin(session, Act.IMPORT)
    branch.bed_capacity = 5
    session.add(Post(code="LOST", name="无"))
    session.flush()
    with session.begin_nested():
        session.add(Post(code="LOST2", name="无"))
    end(session)
    session.add(Post(code="KEPT", name="有"))
    session.commit()

    assert [(c[0], c[4]["code"]) for c in last_changes(session)] == [("post", "KEPT")]
    assert operations(session)[-1].kind is Act.SCRIPT


def test_a_commit_through_an_open_savepoint_is_journaled(session, branch):
    session.begin_nested()
    branch.bed_capacity = 5
    session.commit()

    assert [c[4] for c in last_changes(session)] == [{"bed_capacity": 5}]


def test_a_transaction_committed_over_an_open_savepoint_is_an_error_not_a_silence(session, branch):
    session.commit()
    transaction = session.begin()
    session.begin_nested()
    session.add(Post(code="SLY", name="暗"))
    with pytest.raises(RuntimeError, match="without a journal"):
        transaction.commit()


def test_what_is_changed_after_the_journal_was_written_is_refused(session, branch):
    def late(_session):
        _session.add(Post(code="LATE", name="迟"))

    branch.bed_capacity = 1
    sa.event.listen(session, "before_commit", late)
    with pytest.raises(RuntimeError, match="after the journal"):
        session.commit()


def test_a_dry_run_tells_what_would_change_and_changes_nothing(session, branch):
    with journal.dry_run(session) as told:
        branch.bed_capacity = 7
        session.add(Post(code="NURSE", name="护士"))
        session.flush()
        branch.name = "别名"
    session.commit()

    assert {(e.table, e.action) for e in told} == {("branch", "edit"), ("post", "create")}
    assert next(e.after for e in told if e.table == "branch") == {"bed_capacity": 7, "name": "别名"}
    assert len(operations(session)) == 1
    assert branch.bed_capacity == 0


def test_a_dry_run_of_nothing_tells_nothing(session, branch):
    with journal.dry_run(session) as told:
        branch.bed_capacity = 7
        session.flush()
        branch.bed_capacity = 0

    assert told == []


# -- no way around it --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        sa.update(Branch).values(name="x"),
        sa.delete(Branch),
        sa.insert(Branch).values(code="X", name="x", line=LineOfBusiness.ELDER),
        sa.update(Branch.__table__).values(name="x"),
        sa.select(Branch).from_statement(sa.update(Branch).values(name="x").returning(Branch)),
        sa.select(sa.update(Branch).values(name="x").returning(Branch.id).cte()),
        sa.text("UPDATE branch SET name = 'x'"),
    ],
    ids=["update", "delete", "insert", "bare table", "from_statement", "cte", "text"],
)
def test_a_bulk_statement_is_refused(session, branch, statement):
    with pytest.raises(RuntimeError):
        session.execute(statement)


def test_a_bulk_statement_passes_when_it_is_named(session, branch):
    session.execute(sa.update(Branch).values(name="x"), execution_options={"unjournaled": "a migration of data"})

    assert session.scalar(sa.select(Branch.name)) == "x"


def test_the_query_interface_is_refused_too(session, branch):
    with pytest.raises(RuntimeError):
        session.query(Branch).update({"name": "x"})
    with pytest.raises(RuntimeError):
        session.query(Branch).delete()


@pytest.mark.parametrize("way", ["bulk_save_objects", "bulk_insert_mappings", "bulk_update_mappings"])
def test_the_bulk_methods_are_refused(session, way):
    with pytest.raises(RuntimeError, match="add_all"):
        getattr(session, way)(Post, [{"code": "X", "name": "x"}])


def test_the_journal_cannot_be_rewritten_through_the_session(session, branch):
    operation = operations(session)[0]
    operation.actor = "somebody else"
    with pytest.raises(RuntimeError, match="only ever added to"):
        session.commit()
    session.rollback()
    session.delete(changes(session)[0])
    with pytest.raises(RuntimeError, match="only ever added to"):
        session.commit()


@pytest.mark.parametrize("kept", [Operation, Change, Seal])
def test_not_even_a_named_bulk_statement_touches_the_journal(session, branch, kept):
    for statement in (sa.delete(kept), sa.delete(kept.__table__)):
        with pytest.raises(RuntimeError, match="only ever added to"):
            session.execute(statement, execution_options={"unjournaled": "tidying up"})


def test_a_broken_rule_leaves_no_operation(session, branch):
    branch.phone = "not a number"
    with pytest.raises(RuleBroken):
        session.commit()
    session.rollback()

    assert len(operations(session)) == 1


# -- replaying ---------------------------------------------------------------------------------------------

POSTS = st.sampled_from("ABCDE")
ACTS = st.one_of(
    st.tuples(st.just("create"), POSTS),
    st.tuples(st.just("edit"), POSTS, st.sampled_from(["护士", "护师", None]), st.sampled_from([None, 1, 2])),
    st.tuples(st.just("recycle"), POSTS),
    st.tuples(st.just("restore"), POSTS),
    st.tuples(st.just("delete"), POSTS),
    st.tuples(st.sampled_from(["flush", "commit", "rollback", "expire", "begin", "release", "back"])),
)


def act(session, savepoints, step):
    """Do one random step; steps that do not fit are passed over."""
    verb, *given_ = step
    if verb in {"flush", "commit", "rollback"}:
        getattr(session, verb)()
        if verb != "flush":
            savepoints.clear()
    elif verb == "expire":
        session.flush()
        session.expire_all()
    elif verb == "begin":
        savepoints.append(session.begin_nested())
    elif verb in {"release", "back"} and savepoints:
        savepoint = savepoints.pop()
        savepoint.commit() if verb == "release" else savepoint.rollback()
    elif given_:
        _change(session, verb, *given_)


def _change(session, verb, code, name=None, level=None):
    found = session.scalar(sa.select(Post).where(Post.code == code).execution_options(include_deleted=True))
    if verb == "create" and found is None:
        session.add(Post(code=code, name="新"))
    elif found is not None and verb == "edit":
        found.name, found.level = name or found.name, level
    elif found is not None and verb == "recycle" and found.deleted_at is None:
        recycle(found)
    elif found is not None and verb == "restore" and found.deleted_at is not None:
        restore(found)
    elif found is not None and verb == "delete":
        session.delete(found)


def replayed(session):
    """The rows the journal says there are: (table, id) -> values, absent values left out."""
    rows: dict[tuple[str, int], dict] = {}
    for change in changes(session):
        key = (change.table, change.record_id)
        assert (change.action == "create") is (key not in rows)
        if change.action == "delete":
            del rows[key]
            continue
        row = rows.setdefault(key, {})
        assert all(row.get(name) == value for name, value in change.before.items())
        row.update(change.after)
    return {key: {n: v for n, v in row.items() if v is not None} for key, row in rows.items()}


def kept(session):
    """The same rows as the tables hold them."""
    found = {}
    for table, model in by_table().items():
        for record in session.scalars(sa.select(model).execution_options(include_deleted=True)):
            values = {f.attr: journal.plain(f, getattr(record, f.attr)) for f in fields_of(model)}
            del values["version"], values["updated_at"]
            found[table, record.id] = {n: v for n, v in values.items() if v is not None}
    return found


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(ACTS, max_size=25))
def test_replaying_the_journal_gives_exactly_the_rows_of_the_database(engine, steps):
    savepoints: list = []
    with open_session(engine, System("tests")) as session:
        for step in steps:
            act(session, savepoints, step)
        session.commit()
        session.expunge_all()

        assert replayed(session) == kept(session)
