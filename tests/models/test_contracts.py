"""Contracts: scenario FD-1 from the quote to the settlement, and every move of their state machine (SM-7)."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from models import clock, recycling
from models.clients import Client, ClientLine, ClientRelation, LifecycleStage, RelationKind
from models.contracts import (
    ClauseKind,
    ClauseStatus,
    Contract,
    ContractClause,
    ContractItem,
    ContractKind,
    ContractStatus,
    ItemStatus,
    expire_offers,
)  # fmt: skip
from models.errors import RuleBroken
from models.flush import restoring
from models.organisation import Branch, LineOfBusiness
from models.payments import Payment, PaymentKind, PaymentMethod, RefundCause, RefundRequest
from models.services import Package, ServiceItem
from models.staff import Staff
from models.workflow import transition_named, transitions_of
from tests.models.conftest import as_staff

S = ContractStatus
SIGNING = datetime(2026, 3, 8, 2, 0, tzinfo=UTC)  # 10:00 in Shanghai


@pytest.fixture
def people(session):
    """林晓雯 at the front desk, 周敏 for clients, 钱芳 for money, 赵明远 as director, 王立群 as owner."""
    branch = Branch(code="SH01", name="上海静安月子会所", line=LineOfBusiness.POSTPARTUM)
    names = {"lin": "林晓雯", "zhou": "周敏", "qian": "钱芳", "zhao": "赵明远", "wang": "王立群"}
    staff = {key: Staff(branch=branch, name=name, hired_on=date(2024, 1, 1)) for key, name in names.items()}
    session.add_all(staff.values())
    session.flush()
    return staff


@pytest.fixture
def contract(session, people):
    """28 nights, list 85,000, agreed 68,000, floor 70,000, with every clause, six of them key, none acknowledged."""
    branch = people["lin"].branch
    client = Client(branch=branch, line=ClientLine.POSTPARTUM, name="陈雨婷", id_number="110101199003074426")
    package = Package(
        code="P28",
        name="28 晚套餐",
        line=ClientLine.POSTPARTUM,
        nights=28,
        list_price=Decimal(85000),
        floor_price=Decimal(70000),
    )
    contract = Contract(
        branch=branch, client=client, package=package, kind=ContractKind.POSTPARTUM, start_on=date(2026, 5, 3),
        list_amount=Decimal(85000), agreed_amount=Decimal(68000),
    )  # fmt: skip
    session.add(contract)
    kinds = enumerate(ClauseKind)
    session.add_all(ContractClause(contract=contract, kind=kind, text="……", is_key=n < 6) for n, kind in kinds)
    session.commit()
    return contract


@pytest.fixture
def rehab(session, contract):
    """Twelve sessions of 产康, promised in the draft."""
    item = ServiceItem(code="CK", name="产康", line=ClientLine.POSTPARTUM)
    rehab = ContractItem(contract=contract, item=item, qty_promised=Decimal(12))
    session.add(rehab)
    session.flush()
    return rehab


def send(contract):
    contract.submit()
    contract.approve(reason="老客户推荐")
    contract.send()


def sign(contract):
    """Approved, sent, every key clause acknowledged, signed by the client."""
    send(contract)
    acknowledge_key_clauses(contract)
    contract.sign(signer=contract.client.name)


def acknowledge_key_clauses(contract):
    for clause in contract.clauses:
        if clause.is_key:
            clause.acknowledge()


def pay(session, contract, people, kind, amount):
    """林晓雯 takes the money and 钱芳 confirms it."""
    with as_staff(session, people["lin"]):
        payment = Payment(contract=contract, kind=kind, amount=Decimal(amount), method=PaymentMethod.CARD)
        session.add(payment)
        session.flush()
    with as_staff(session, people["qian"]):
        payment.confirm()
    return payment


def refund(session, contract, people, amount, **given):
    """周敏 hands it in, 钱芳 checks it, 王立群 approves it."""
    request = RefundRequest(contract=contract, amount=Decimal(amount), **{"cause": RefundCause.CLIENT_REASON, **given})
    session.add(request)
    for who, step in (("zhou", "submit"), ("qian", "check_by_finance"), ("wang", "approve_for_group")):
        with as_staff(session, people[who]):
            getattr(request, step)()
    return request


def take_up(session, contract, people, amount=68000):
    """In effect, with *amount* paid."""
    sign(contract)
    pay(session, contract, people, PaymentKind.BALANCE, amount)
    contract.take_effect()


# -- scenario FD-1 -----------------------------------------------------------------------------------


def test_fd_1_from_the_quote_below_the_floor_to_a_contract_in_effect(session, contract, people):
    """Steps 6 to 8."""
    told = []

    def refused(step, **given):
        with pytest.raises(RuleBroken) as refusal:
            step(**given)
        told.append(str(refusal.value).replace(".00", ""))

    dispute = next(c for c in contract.clauses if c.kind is ClauseKind.DISPUTE)
    recycling.recycle(dispute)
    with clock.at(SIGNING - timedelta(days=1)):
        refused(contract.send)  # 6: 68,000 lies below the floor of 70,000
        with as_staff(session, people["lin"]):
            contract.submit()
        with as_staff(session, people["zhao"]):
            contract.approve(reason="老客户推荐")
        refused(contract.send)  # 7: the clause on disputes is left out
        recycling.restore(dispute)
        contract.send()
        refused(contract.sign, signer="陈雨婷")
        acknowledge_key_clauses(contract)
    with clock.at(SIGNING):
        contract.sign(signer="陈雨婷")
        refused(lambda: pay(session, contract, people, PaymentKind.EARNEST_MONEY, 15000))  # 8
        session.rollback()

    assert told == [
        "The agreed amount 68000 lies below the floor price 70000 of “28 晚套餐”: ask for approval.",
        "The contract has no clause on: Settling disputes. Write them first.",
        "These key clauses are not acknowledged yet: Subject of the contract, Term of the contract, Service items,"
        " Fees, Rights and duties, Refund and rescheduling.",
        "Earnest money of 15000 exceeds 20 % of 68000, which is 13600: take the rest as an advance payment.",
    ]


def test_fd_1_a_deposit_puts_the_contract_into_effect_with_seven_days_to_think(session, contract, people):
    """Step 8."""
    with clock.at(SIGNING):
        sign(contract)
        pay(session, contract, people, PaymentKind.EARNEST_MONEY, 13000)
        pay(session, contract, people, PaymentKind.ADVANCE, 2000)

        contract.take_effect()

    assert contract.status is S.EFFECTIVE
    assert contract.signed_at == SIGNING
    assert contract.cooling_off_until == date(2026, 3, 15)
    assert contract.client.stage is LifecycleStage.RESERVED
    assert contract.balance() == Decimal(53000)  # 68,000 − 13,000 − 2,000


def test_fd_1_leaving_after_ten_nights_balances_the_ledger_to_nil(session, contract, people):
    """Step 10: used 10 × 85,000 / 28 = 30,357.14, so that 37,642.86 of 68,000 go back."""
    take_up(session, contract, people)
    contract.begin()
    request = refund(session, contract, people, "37642.86")
    contract.terminate(reason="客户因家庭原因离所")
    owed_before = contract.balance()
    with as_staff(session, people["qian"]):
        request.pay(reference="ICBC-1")

    assert contract.status is S.TERMINATED
    assert contract.settled_amount == Decimal("30357.14")
    assert owed_before == Decimal("-37642.86")  # the house owes it until it is paid
    assert contract.balance() == Decimal("0.00")
    assert contract.received() == Decimal("30357.14")
    assert contract.client.stage is LifecycleStage.LEFT


# -- what may be typed --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"agreed_amount": Decimal(85001)}, r"agreed amount 85001\.00 lies above the list amount 85000\.00"),
        ({"end_on": date(2026, 5, 2)}, "would end on 2026-05-02, before it starts on 2026-05-03"),
    ],
)
def test_amounts_and_days_that_do_not_fit_are_refused(session, contract, values, words):
    for name, value in values.items():
        setattr(contract, name, value)

    with pytest.raises(RuleBroken, match=words):
        session.flush()


@pytest.mark.parametrize("state", [s for s in S if s is not S.DRAFT])
def test_what_was_agreed_is_edited_in_a_draft_alone(session, contract, state):
    put(session, contract, state)

    contract.agreed_amount = Decimal(60000)

    with pytest.raises(RuleBroken, match=f"is {state.label}, so “Agreed amount” stays as it is: only a draft"):
        session.flush()


def test_who_signs_may_be_typed_until_it_is_signed(session, contract):
    put(session, contract, S.SENT)
    contract.signer = "陈雨婷"
    session.flush()
    put(session, contract, S.SIGNED)

    contract.signer = "刘伟"

    with pytest.raises(RuleBroken, match="“Signed by” stays as it is"):
        session.flush()


@pytest.mark.parametrize(("state", "stays"), [(S.DRAFT, False), (S.APPROVED, False), (S.VOID, False), (S.SIGNED, True)])
def test_a_contract_that_was_signed_is_not_thrown_away(session, contract, state, stays):
    put(session, contract, state)

    recycling.recycle(contract)

    if stays:
        with pytest.raises(RuleBroken, match="is Signed and stays on file"):
            session.flush()
    else:
        session.flush()


def test_a_clause_is_written_until_the_contract_is_sent(session, contract):
    clause = contract.clauses[0]
    clause.text = "服务内容见附件一"
    session.flush()
    send(contract)
    session.commit()

    clause.text = "服务内容见附件二"

    with pytest.raises(RuleBroken, match="is Sent to the client, so its clauses stay as they are"):
        session.flush()


def test_a_clause_keeps_the_wording_that_was_acknowledged(session, contract):
    clause = contract.clauses[0]
    clause.acknowledge()

    clause.text = "改一改"

    with pytest.raises(RuleBroken, match="The client acknowledged the clause “Subject of the contract”"):
        session.flush()


def test_a_clause_is_acknowledged_before_the_signature_not_after(session, contract):
    put(session, contract, S.SIGNED)

    with pytest.raises(RuleBroken, match="clauses are acknowledged before it is signed"):
        contract.clauses[8].acknowledge()


def test_a_clause_is_key_unless_somebody_says_otherwise(session, contract):
    other = Contract(
        branch=contract.branch, client=contract.client, kind=ContractKind.HOME, start_on=date(2026, 5, 3),
        list_amount=Decimal(100), agreed_amount=Decimal(100),
    )  # fmt: skip
    clause = ContractClause(contract=other, kind=ClauseKind.FEES, text="……")
    session.add(clause)
    session.flush()

    assert clause.is_key


def test_items_are_promised_in_a_draft_alone(session, contract, rehab):
    contract.submit()

    rehab.qty_promised = Decimal(20)

    with pytest.raises(RuleBroken, match="is Awaiting approval, so its items stay as they are"):
        session.flush()


# -- guards of the moves ----------------------------------------------------------------------------


def test_a_price_that_holds_the_floor_needs_no_approval(contract):
    contract.agreed_amount = Decimal(70000)

    with pytest.raises(RuleBroken, match="no approval is needed, send it"):
        contract.submit()


def test_a_client_taken_on_conditionally_needs_approval_at_any_price(contract):
    contract.agreed_amount = Decimal(85000)
    contract.capacity_conditional = True

    with pytest.raises(RuleBroken, match="taken on conditionally: ask for approval"):
        contract.send()
    contract.submit()

    assert contract.status is S.PENDING_APPROVAL


def test_nobody_approves_what_they_asked_for(session, contract, people):
    with as_staff(session, people["zhao"]):
        contract.submit()

        with pytest.raises(RuleBroken, match="赵明远 asked for this approval and cannot give it"):
            contract.approve(reason="老客户推荐")


def test_an_approval_lapses_when_the_contract_goes_back_to_draft(session, contract, people):
    contract.submit()
    with as_staff(session, people["zhao"]):
        contract.approve(reason="老客户推荐")
    contract.return_to_draft(reason="价格还要再谈")
    contract.agreed_amount = Decimal(60000)

    with pytest.raises(RuleBroken, match=r"60000.* lies below the floor price"):
        contract.send()
    assert contract.discount_approved_by is None
    assert contract.approval_note == "价格还要再谈"


@pytest.fixture
def husband(session, contract):
    husband = ClientRelation(
        client=contract.client, person_name="刘伟", relation=RelationKind.SPOUSE, phone="13800000000"
    )
    session.add(husband)
    session.flush()
    return husband


@pytest.mark.parametrize(
    ("papers", "given", "words"),
    [
        ({}, {}, "Enter who signed"),
        ({}, {"signer": "刘伟"}, "刘伟 is not the client: choose in which capacity"),
        ({}, {"as": True}, "刘伟 has no authorisation document"),
        ({"authorisation": "授权委托书 2026-03-01", "valid_to": date(2026, 3, 7)}, {"as": True}, "ended on 2026-03-07"),
        ({"authorisation": "授权委托书 2026-03-01"}, {"as": True, "signer": "刘强"}, "刘强 is not 刘伟"),
        ({"authorisation": "授权委托书 2026-03-01"}, {"as": True}, None),
    ],
)
def test_a_contract_is_signed_by_the_client_or_an_authorised_agent(session, contract, husband, papers, given, words):
    for name, value in papers.items():
        setattr(husband, name, value)
    send(contract)
    acknowledge_key_clauses(contract)
    if given.pop("as", False):
        given["signer_relation"] = husband

    with clock.at(SIGNING):
        if words is None:
            contract.sign(**given)
        else:
            with pytest.raises(RuleBroken, match=words):
                contract.sign(**given)

    assert contract.signer == (None if words else "刘伟")


def test_nobody_signs_for_another_family(session, contract, husband):
    other = Client(branch=contract.branch, line=ClientLine.POSTPARTUM, name="李欣怡")
    stranger = ClientRelation(
        client=other, person_name="王强", relation=RelationKind.SPOUSE, phone="13800000009", authorisation="授权委托书"
    )
    session.add(stranger)
    send(contract)
    acknowledge_key_clauses(contract)

    with pytest.raises(RuleBroken, match="王强 belongs to another client than 陈雨婷"):
        contract.sign(signer_relation=stranger)


def test_a_minor_does_not_sign_a_parent_does(session, contract):
    contract.client.id_number = None
    contract.client.birth_date = date(2010, 3, 1)  # 16 on the day of signing
    mother = ClientRelation(
        client=contract.client, person_name="周兰", relation=RelationKind.PARENT, phone="13800000002"
    )
    session.add(mother)
    send(contract)
    acknowledge_key_clauses(contract)

    with clock.at(SIGNING):
        with pytest.raises(RuleBroken, match="陈雨婷 is under age: a parent or guardian signs"):
            contract.sign(signer="陈雨婷")
        contract.sign(signer_relation=mother)

    assert contract.signer == "周兰"


def test_too_small_a_deposit_does_not_put_it_into_effect(session, contract, people):
    sign(contract)
    pay(session, contract, people, PaymentKind.ADVANCE, 6799)  # a tenth of 68,000 is 6,800
    pay(session, contract, people, PaymentKind.SECURITY_DEPOSIT, 5000)  # no part of the price

    with pytest.raises(RuleBroken, match=r"6799\.00 are confirmed, 6800\.00 are needed"):
        contract.take_effect()


def test_the_days_to_think_begin_with_the_first_payment_in_the_houses_zone(session, contract, people):
    with clock.at(datetime(2026, 3, 8, 16, 30, tzinfo=UTC)):  # half past midnight of 9 March in Shanghai
        sign(contract)
        pay(session, contract, people, PaymentKind.ADVANCE, 6800)
    with clock.at(datetime(2026, 3, 12, 2, 0, tzinfo=UTC)):
        pay(session, contract, people, PaymentKind.ADVANCE, 1000)
        contract.take_effect()

    assert contract.cooling_off_until == date(2026, 3, 16)


def test_nothing_is_delivered_before_the_contract_begins(contract, rehab):
    with pytest.raises(RuleBroken, match="is Draft: begin it before anything is delivered"):
        rehab.deliver(quantity=Decimal(1))


def test_a_contract_is_complete_when_everything_is_delivered_or_waived_and_paid(session, contract, people, rehab):
    take_up(session, contract, people, amount=60000)
    contract.begin()

    rehab.deliver(quantity=Decimal(9))
    with pytest.raises(RuleBroken, match="Not delivered yet: 产康 9/12"):
        contract.complete()
    with pytest.raises(RuleBroken, match=r"at most 3.* more fit"):
        rehab.deliver(quantity=Decimal(4))
    rehab.waive(reason="提前离所")
    with pytest.raises(RuleBroken, match=r"The balance is 8000\.00"):
        contract.complete()
    pay(session, contract, people, PaymentKind.BALANCE, 8000)
    contract.complete()

    assert contract.status is S.COMPLETED
    assert contract.client.stage is LifecycleStage.LEFT


def test_what_is_not_included_is_not_owed():
    assert ContractItem(
        included=False, qty_promised=Decimal(1), qty_delivered=Decimal(0), status=ItemStatus.OPEN
    ).is_settled()


def test_money_received_is_settled_before_a_contract_is_cancelled(session, contract, people):
    sign(contract)
    pay(session, contract, people, PaymentKind.ADVANCE, 7000)
    with pytest.raises(RuleBroken, match=r"7000\.00 were received: settle them"):
        contract.cancel(reason="计划有变")
    request = refund(session, contract, people, 7000)
    with pytest.raises(RuleBroken, match="settle them"):
        contract.cancel(reason="计划有变")
    with as_staff(session, people["qian"]):
        request.pay(reference="ICBC-2")

    contract.cancel(reason="计划有变")

    assert (contract.settled_amount, contract.balance()) == (0, 0)


def test_a_contract_nobody_paid_for_is_cancelled_at_once(contract):
    sign(contract)

    contract.cancel(reason="计划有变")

    assert contract.status is S.CANCELLED
    assert contract.termination_reason == "计划有变"


def test_a_contract_under_way_ends_with_an_approved_settlement_even_when_nothing_goes_back(session, contract, people):
    """25 nights used at the list price come to 75,892.86, more than the 68,000 paid: nothing is owed either way."""
    take_up(session, contract, people)
    contract.begin()
    with pytest.raises(RuleBroken, match="The settlement is not approved yet"):
        contract.terminate(reason="家庭原因")
    refund(session, contract, people, 0)

    contract.terminate(reason="家庭原因")

    assert contract.settled_amount == Decimal(68000)
    assert contract.balance() == 0


def test_an_offer_expires_thirty_days_after_it_was_sent_and_only_once(session, contract):
    with clock.at(SIGNING):
        send(contract)

    with clock.at(SIGNING + timedelta(days=30)):
        on_day_thirty = expire_offers(session)
    with clock.at(SIGNING + timedelta(days=30, minutes=1)):
        after, again = expire_offers(session), expire_offers(session)

    assert (on_day_thirty, after, again) == (0, 1, 0)
    assert contract.status is S.EXPIRED


def test_a_client_with_another_contract_under_way_stays_in_the_house(session, contract, people):
    take_up(session, contract, people)
    contract.begin()
    other = Contract(
        branch=contract.branch, client=contract.client, kind=ContractKind.HOME, start_on=date(2026, 5, 3),
        list_amount=Decimal(100), agreed_amount=Decimal(100),
    )  # fmt: skip
    session.add(other)
    put(session, other, S.SIGNED)

    other.cancel(reason="不需要了")

    assert contract.client.stage is LifecycleStage.IN_HOUSE


def test_a_client_whose_only_contract_was_cancelled_is_interested_again(session, contract, people):
    take_up(session, contract, people)
    request = refund(session, contract, people, 68000)
    with as_staff(session, people["qian"]):
        request.pay(reference="ICBC-3")

    contract.cancel(reason="冷静期内解约")

    assert contract.client.stage is LifecycleStage.LEAD


# -- every move and every refusal ------------------------------------------------------------------------

# state -> the moves that lead out of it (SM-7), and where to
MOVES = {
    S.DRAFT: {"submit": S.PENDING_APPROVAL, "send": S.SENT, "void": S.VOID},
    S.PENDING_APPROVAL: {"approve": S.APPROVED, "return_to_draft": S.DRAFT},
    S.APPROVED: {"send": S.SENT, "return_to_draft": S.DRAFT},
    S.SENT: {"sign": S.SIGNED, "expire": S.EXPIRED},
    S.SIGNED: {"take_effect": S.EFFECTIVE, "cancel": S.CANCELLED},
    S.EFFECTIVE: {"begin": S.IN_PERFORMANCE, "cancel": S.CANCELLED},
    S.IN_PERFORMANCE: {"complete": S.COMPLETED, "terminate": S.TERMINATED},
}
GIVEN = {
    "approve": {"reason": "老客户推荐"}, "return_to_draft": {"reason": "重谈"}, "sign": {"signer": "陈雨婷"},
    "cancel": {"reason": "计划有变"}, "terminate": {"reason": "家庭原因"},
}  # fmt: skip


def put(session, contract, state):
    """Bring a contract into *state* as the loading of a house's past does."""
    session.flush()
    with restoring(session):
        contract.status = state
        session.flush()


@pytest.mark.parametrize(
    ("state", "move", "target"), [(state, *found) for state, out in MOVES.items() for found in out.items()]
)
def test_a_contract_makes_every_move_of_the_table(session, contract, people, state, move, target):
    if (state, move) == (S.DRAFT, "send"):
        contract.agreed_amount = Decimal(70000)
    put(session, contract, S.SENT)
    acknowledge_key_clauses(contract)
    if move in {"take_effect", "complete", "terminate"}:
        put(session, contract, S.SIGNED)
        pay(session, contract, people, PaymentKind.BALANCE, contract.agreed_amount)
    if move == "terminate":
        refund(session, contract, people, 0)
    put(session, contract, state)

    getattr(contract, move)(**GIVEN.get(move, {}))

    assert contract.status is target


@pytest.mark.parametrize(
    ("state", "move"), [(s, t.name) for s in S for t in transitions_of(Contract) if t.name not in MOVES.get(s, {})]
)
def test_a_contract_makes_no_move_beside_the_table(state, move):
    contract = Contract(no="K000001", status=state)

    with pytest.raises(
        RuleBroken, match=f"is {state.label}, so “{transition_named(Contract, move).label}” is not possible"
    ):
        getattr(contract, move)(**GIVEN.get(move, {}))


def test_a_waived_item_and_an_acknowledged_clause_move_no_more(session, contract, people, rehab):
    put(session, contract, S.SENT)
    contract.clauses[0].acknowledge()
    put(session, contract, S.IN_PERFORMANCE)
    rehab.waive(reason="提前离所")

    for step, given in ((rehab.waive, {"reason": "又一次"}), (rehab.deliver, {"quantity": Decimal(1)})):
        with pytest.raises(RuleBroken, match="is Waived, so"):
            step(**given)
    with pytest.raises(RuleBroken, match="is Acknowledged by the client, so"):
        contract.clauses[0].acknowledge()
    assert contract.clauses[0].status is ClauseStatus.ACKNOWLEDGED
