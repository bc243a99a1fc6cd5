"""Transitions: the only way a state moves, with what they ask, who may, and what they cause."""

from datetime import date, datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa

from models import clock
from models.base import Code, Day, Instant, Money, Note, PersonName
from models.errors import Forbidden, RuleBroken
from models.organisation import Branch, Department
from models.recycling import recycle
from models.staff import Credential, CredentialKind, CredentialStatus, Staff, expire_credentials
from models.workflow import (
    _after,
    after,
    by_rule,
    parameters_of,
    ruled,
    state_columns,
    transition,
    transition_named,
    transitions_of,
)
from tests.models.conftest import House, as_staff

S = CredentialStatus
DAY = date(2024, 1, 1)


def nine_o_clock(day):
    return clock.at(datetime.fromisoformat(f"{day}T09:00").replace(tzinfo=clock.HOUSE_ZONE))


@pytest.fixture
def work(house: House):
    with house.session() as session:
        yield session


@pytest.fixture
def credential(work, house):
    """何静's first-aid certificate, handed in."""
    return work.scalar(sa.select(Credential).where(Credential.staff_id == house.he_jing))


# -- moving ------------------------------------------------------------------------------------------------


def test_a_transition_moves_its_state_and_keeps_what_its_rule_wrote(work, house, credential):
    with as_staff(work, work.get(Staff, house.sun_li)), nine_o_clock("2026-03-02"):
        credential.verify()
    work.commit()

    assert (credential.status, credential.verified_by.name) == (S.VERIFIED, "孙莉")
    assert credential.verified_at == datetime.fromisoformat("2026-03-02T09:00+08:00")


def test_a_transition_starts_only_from_its_sources_and_says_which(work, credential):
    with pytest.raises(RuleBroken) as refused:
        credential.warn()

    assert "Awaiting verification" in str(refused.value)
    assert "needs Verified" in str(refused.value)
    assert credential.status is S.SUBMITTED


def test_a_rule_that_refuses_midway_leaves_nothing_behind(work, house, credential, monkeypatch):
    def reject(self):
        self.scope = "half done"
        self.staff.name = "also half done"
        work.flush()
        raise RuleBroken("No.")

    monkeypatch.setattr(
        Credential, "reject", transition("status", {S.SUBMITTED}, S.EXPIRED, label="Reject")(reject), raising=False
    )
    with pytest.raises(RuleBroken, match="No"):
        credential.reject()
    work.commit()

    assert (credential.scope, credential.staff.name, credential.status) == (None, "何静", S.SUBMITTED)


def test_what_was_typed_before_a_refused_transition_is_still_there(work, credential):
    credential.scope, credential.expires_on = "Ward", date(2024, 6, 1)
    with pytest.raises(RuleBroken, match="ran out"):
        credential.verify()
    work.commit()

    assert (credential.scope, credential.status) == ("Ward", S.SUBMITTED)


def test_a_record_in_the_bin_does_not_move(work, credential):
    recycle(credential)
    work.commit()

    with pytest.raises(RuleBroken, match="recycle bin"):
        credential.verify()


def test_a_transition_works_on_a_record_in_no_session():
    credential = Credential(kind=CredentialKind.FIRST_AID, number="X", issued_on=DAY, status=S.SUBMITTED)

    credential.verify()

    assert credential.status is S.VERIFIED


def test_what_follows_a_transition_happens_in_the_same_transaction(work, credential):
    seen = []
    listener = after(Credential.verify)(lambda record: seen.append((record, record.status, ruled(work))))
    try:
        credential.verify()
    finally:
        _after[Credential, "verify"].remove(listener)

    assert seen == [(credential, S.VERIFIED, True)]


def test_a_consequence_that_refuses_refuses_the_transition(work, credential):
    def refuse(_record):
        raise RuleBroken("The bed is taken.")

    listener = after(Credential.verify)(refuse)
    try:
        with pytest.raises(RuleBroken, match="bed is taken"):
            credential.verify()
    finally:
        _after[Credential, "verify"].remove(listener)
    work.commit()

    assert credential.status is S.SUBMITTED


def test_only_a_transition_can_be_listened_to():
    def lonely():
        pass

    with pytest.raises(ValueError, match="not a transition"):
        after(lonely)(print)


# -- who may -----------------------------------------------------------------------------------------------


def test_a_transition_asks_its_own_permission_and_not_the_right_to_edit(house):
    reader = house.in_shanghai("credential.view credential.edit staff.view")
    with house.at_work(reader) as session:
        credential = session.scalar(sa.select(Credential).where(Credential.staff_id == house.he_jing))
        with pytest.raises(Forbidden, match="Verify"):
            credential.verify()

    verifier = house.in_shanghai("credential.view credential.verify staff.view")
    with house.at_work(verifier) as session:
        credential = session.scalar(sa.select(Credential).where(Credential.staff_id == house.he_jing))
        credential.verify()
        session.commit()
        credential.scope = "x"
        with pytest.raises(Forbidden, match="Edit"):
            session.commit()


def test_what_was_typed_before_a_transition_is_judged_by_the_right_to_edit(house):
    with house.at_work(house.in_shanghai("credential.view credential.verify staff.view")) as session:
        credential = session.scalar(sa.select(Credential).where(Credential.staff_id == house.he_jing))
        credential.scope = "smuggled"

        with pytest.raises(Forbidden, match="Edit"):
            credential.verify()


def test_nobody_makes_the_moves_of_the_clock(house):
    everything = house.everywhere("credential.view credential.expire credential.verify staff.view")
    with house.at_work(everything) as session:
        credential = session.scalar(sa.select(Credential).where(Credential.staff_id == house.he_jing))
        credential.verify()
        with pytest.raises(Forbidden, match="clock"):
            credential.expire()


def test_nobody_verifies_their_own_credential(house):
    role = house.in_shanghai("credential.view credential.verify")
    with house.at_work(role, staff=house.he_jing) as session:
        credential = session.scalar(sa.select(Credential).where(Credential.staff_id == house.he_jing))
        with pytest.raises(RuleBroken, match="ask a colleague"):
            credential.verify()


def test_a_rule_writes_with_its_own_right_and_only_inside_its_block(work):
    with by_rule(work):
        with by_rule(work):
            assert ruled(work)
        assert ruled(work)

    assert not ruled(work)


# -- the clock ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("today", "status", "moved"),
    [
        ("2026-03-02", S.VERIFIED, 0),  # 91 days before
        ("2026-03-03", S.EXPIRING, 1),  # 90 days before
        ("2026-06-01", S.EXPIRING, 1),  # its last day
        ("2026-06-02", S.EXPIRED, 1),
    ],
)
def test_credentials_expire_by_the_clock_once(work, credential, today, status, moved):
    credential.expires_on = date(2026, 6, 1)
    with nine_o_clock("2026-01-05"):
        credential.verify()
    with nine_o_clock(today):
        assert expire_credentials(work) == moved
        assert expire_credentials(work) == 0
    work.commit()

    assert credential.status is status


# -- what is declared --------------------------------------------------------------------------------------


def test_transitions_are_known_in_the_order_of_their_source():
    assert [t.name for t in transitions_of(Credential)] == ["verify", "warn", "expire", "renew"]
    assert state_columns(Credential) == {"status"}
    assert (
        transition_named(Credential, "verify").help
        == "Confirm that the original was seen; the holder cannot confirm their own."
    )
    assert transition_named(Credential, "fly") is None


class Visit:
    """Not a model: the parameters of its transition are read without a table."""

    status = S.SUBMITTED

    @transition("status", {S.SUBMITTED}, S.VERIFIED, label="Receive")
    def receive(
        self,
        *,
        reason: Note,
        guest: PersonName,
        at: Instant | None = None,
        on: Day = DAY,
        price: Money | None = None,
        kind: CredentialKind = CredentialKind.FIRST_AID,
        department: Department | None = None,
        code: Code | None = None,
        quick: bool = False,
        share: Decimal = Decimal(1),
    ) -> None:
        """Show them round."""
        self.reason = reason


def test_what_a_transition_asks_for_is_read_from_its_signature():
    asked = {p.name: (p.kind, p.label, p.required) for p in parameters_of(Visit, "receive")}

    assert asked == {
        "reason": ("note", "Reason", True),
        "guest": ("name", "Full name", True),
        "at": ("instant", "At", False),
        "on": ("day", "On", False),
        "price": ("money", "Price", False),
        "kind": ("choice", "Kind", False),
        "department": ("relation", "Department", False),
        "code": ("code", "Code", False),
        "quick": ("bool", "Quick", False),
        "share": ("number", "Share", False),
    }


@pytest.mark.parametrize("given", [{}, {"reason": ""}, {"reason": None, "guest": "李"}, {"reason": "so"}])
def test_what_a_transition_needs_is_asked_for_by_name(given, monkeypatch):
    monkeypatch.setattr(Credential, "receive", Visit.receive, raising=False)
    record = Credential(kind=CredentialKind.FIRST_AID, number="X", issued_on=DAY, status=S.SUBMITTED)

    with pytest.raises(RuleBroken, match="fill it in") as refused:
        record.receive(**given)

    assert refused.value.field == ("reason" if not given.get("reason") else "guest")


def test_a_branch_has_no_transitions():
    assert transitions_of(Branch) == ()
