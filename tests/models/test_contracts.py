"""Contracts and their money: scenario FD-1 from the quote to the settlement, as rules."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from models import clock
from models.clients import Client, ClientLine, LifecycleStage
from models.contracts import ClauseKind, Contract, ContractClause, ContractItem, ContractKind, ContractStatus, expire_offers
from models.errors import RuleBroken
from models.organisation import Branch, LineOfBusiness
from models.payments import Payment, PaymentKind, PaymentMethod, PaymentStatus, RefundCause, RefundRequest, RefundStatus
from models.services import Package, ServiceItem
from models.staff import Staff
from tests.models.conftest import as_staff

SIGNING = datetime(2026, 3, 8, 2, 0, tzinfo=UTC)
PLANNED = tuple(ClauseKind)


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
    """28 nights, list 85,000, agreed 68,000, floor 70,000, with every clause but none acknowledged."""
    branch = people["lin"].branch
    client = Client(branch=branch, line=ClientLine.POSTPARTUM, name="陈雨婷", id_number="110101199003074426")
    package = Package(
        code="P28", name="28 晚套餐", line=ClientLine.POSTPARTUM, nights=28, list_price=Decimal(85000), floor_price=Decimal(70000)
    )
    contract = Contract(
        branch=branch, client=client, package=package, kind=ContractKind.POSTPARTUM, start_on=date(2026, 5, 3),
        list_amount=Decimal(85000), agreed_amount=Decimal(68000),
    )  # fmt: skip
    session.add(contract)
    session.add_all(ContractClause(contract=contract, kind=kind, text="……", is_key=n < 6) for n, kind in enumerate(PLANNED))
    session.commit()
    return contract


def sign(contract):
    """Approved, sent, every key clause acknowledged, signed by the client."""
    contract.submit()
    contract.approve(reason="老客户推荐")
    contract.send()
    for clause in contract.clauses:
        clause.acknowledge()
    contract.sign(signer="陈雨婷")


def pay(session, contract, people, kind, amount):
    with as_staff(session, people["lin"]):
        payment = Payment(contract=contract, kind=kind, amount=Decimal(amount), method=PaymentMethod.CARD, paid_at=clock.now())
        session.add(payment)
        session.flush()
    with as_staff(session, people["qian"]):
        payment.confirm()
    return payment


def test_a_price_below_the_floor_is_not_sent_without_the_directors_approval(contract):
    with pytest.raises(RuleBroken, match="needs the director's approval first"):
        contract.send()


def test_a_price_that_holds_the_floor_needs_no_approval(contract):
    contract.agreed_amount = Decimal(70000)

    with pytest.raises(RuleBroken, match="no approval is needed"):
        contract.submit()


def test_a_contract_without_a_clause_on_disputes_is_not_sent(session, contract):
    contract.submit()
    contract.approve(reason="老客户推荐")
    session.delete(next(c for c in contract.clauses if c.kind is ClauseKind.DISPUTE))
    session.flush()
    session.expire(contract, ["clauses"])

    with pytest.raises(RuleBroken, match="Settling disputes"):
        contract.send()


def test_a_key_clause_that_nobody_acknowledged_stops_the_signature(contract):
    contract.submit()
    contract.approve(reason="老客户推荐")
    contract.send()

    with pytest.raises(RuleBroken, match="not acknowledged yet: Subject of the contract"):
        contract.sign(signer="陈雨婷")


def test_somebody_else_signs_only_in_a_capacity(contract):
    contract.submit()
    contract.approve(reason="老客户推荐")
    contract.send()
    for clause in contract.clauses:
        clause.acknowledge()

    with pytest.raises(RuleBroken, match="刘伟 is not the client"):
        contract.sign(signer="刘伟")


def test_earnest_money_above_a_fifth_is_refused_with_both_figures(session, contract, people):
    # 20 % of 68,000 is 13,600.
    with pytest.raises(RuleBroken) as refusal:
        pay(session, contract, people, PaymentKind.EARNEST_MONEY, 15000)

    assert "15000" in str(refusal.value)
    assert "20 % of 68000" in str(refusal.value).replace(".00", "")
    assert "13600.00" in str(refusal.value)


def test_a_deposit_puts_the_contract_into_effect_with_seven_days_to_think(session, contract, people):
    with clock.at(SIGNING):
        sign(contract)
        pay(session, contract, people, PaymentKind.EARNEST_MONEY, 13000)
        pay(session, contract, people, PaymentKind.ADVANCE, 2000)

        contract.take_effect()

    assert contract.status is ContractStatus.EFFECTIVE
    assert contract.cooling_off_until == date(2026, 3, 15)
    assert contract.client.stage is LifecycleStage.RESERVED
    assert contract.balance() == Decimal(53000)


def test_too_small_a_deposit_does_not(session, contract, people):
    sign(contract)
    pay(session, contract, people, PaymentKind.ADVANCE, 6799)  # a tenth of 68,000 is 6,800

    with pytest.raises(RuleBroken, match=r"6800\.00 are needed"):
        contract.take_effect()


def test_nobody_confirms_the_payment_they_took(session, contract, people):
    with as_staff(session, people["qian"]):
        payment = Payment(contract=contract, kind=PaymentKind.ADVANCE, amount=Decimal(100), method=PaymentMethod.CASH)
        session.add(payment)
        session.flush()

        with pytest.raises(RuleBroken, match="钱芳 took this payment"):
            payment.confirm()


def test_a_confirmed_payment_is_not_edited_but_reversed_by_another_person(session, contract, people):
    payment = pay(session, contract, people, PaymentKind.ADVANCE, 5000)
    session.commit()

    payment.amount = Decimal(50)
    with pytest.raises(RuleBroken, match="reverse it and enter it anew"):
        session.flush()
    session.rollback()
    with as_staff(session, people["qian"]), pytest.raises(RuleBroken, match="cannot reverse it too"):
        payment.reverse(reason="记错合同")
    session.rollback()
    with as_staff(session, people["zhao"]):
        payment.reverse(reason="记错合同")

    contra = session.query(Payment).filter(Payment.reversal_of_id == payment.id).one()
    assert payment.status is PaymentStatus.REVERSED
    assert contra.amount == Decimal(-5000)
    assert contract.received() == 0


@pytest.fixture
def refund(session, contract, people):
    """68,000 received; 37,642.86 asked back after ten nights, the client's reason."""
    pay(session, contract, people, PaymentKind.BALANCE, 68000)
    request = RefundRequest(contract=contract, cause=RefundCause.CLIENT_REASON, amount=Decimal("37642.86"))
    session.add(request)
    session.commit()
    return request


def test_a_refund_passes_three_people_and_the_owner_above_twenty_thousand(session, refund, people):
    with as_staff(session, people["zhou"]):
        refund.submit()
        with pytest.raises(RuleBroken, match="周敏 took the step before"):
            refund.check_by_finance()
    with as_staff(session, people["qian"]):
        refund.check_by_finance()
    with as_staff(session, people["zhao"]), pytest.raises(RuleBroken, match="the owner approves it"):
        refund.approve()
    with as_staff(session, people["wang"]):
        refund.approve_for_group()
    with as_staff(session, people["qian"]):
        refund.pay(reference="ICBC-1")

    assert refund.status is RefundStatus.PAID
    assert refund.contract.received() == Decimal("30357.14")  # 68,000 − 37,642.86


def test_refunds_never_exceed_what_was_confirmed(session, refund):
    session.add(RefundRequest(contract=refund.contract, cause=RefundCause.BOTH, amount=Decimal("68000.01")))

    with pytest.raises(RuleBroken, match="only 68000.00 of what was confirmed are left"):
        session.flush()


def test_a_contract_is_complete_when_everything_is_delivered_or_waived_and_paid(session, contract, people):
    item = ServiceItem(code="YZC", name="月子餐", line=ClientLine.POSTPARTUM)
    meals = ContractItem(contract=contract, item=item, qty_promised=Decimal(28))
    session.add(meals)
    sign(contract)
    pay(session, contract, people, PaymentKind.BALANCE, 68000)
    contract.take_effect()
    contract.begin()

    with pytest.raises(RuleBroken, match="Not delivered yet: 月子餐"):
        contract.complete()
    meals.deliver(quantity=Decimal(20))
    with pytest.raises(RuleBroken, match="at most 8.00 more fit|at most 8 more fit"):
        meals.deliver(quantity=Decimal(9))
    meals.waive(reason="提前离所")
    contract.complete()

    assert contract.status is ContractStatus.COMPLETED
    assert contract.client.stage is LifecycleStage.LEFT


def test_money_received_must_be_settled_before_a_contract_is_cancelled(session, contract, people):
    sign(contract)
    pay(session, contract, people, PaymentKind.ADVANCE, 7000)

    with pytest.raises(RuleBroken, match="settle them with a refund request first"):
        contract.cancel(reason="计划有变")


def test_an_offer_expires_thirty_days_after_it_was_sent_and_only_once(session, contract):
    with clock.at(SIGNING):
        contract.submit()
        contract.approve(reason="老客户推荐")
        contract.send()

    with clock.at(datetime(2026, 4, 7, 2, 0, tzinfo=UTC)):
        on_day_thirty = expire_offers(session)
    with clock.at(datetime(2026, 4, 7, 2, 1, tzinfo=UTC)):
        after, again = expire_offers(session), expire_offers(session)

    assert (on_day_thirty, after, again) == (0, 1, 0)
    assert contract.status is ContractStatus.EXPIRED


def test_the_agreed_amount_never_exceeds_the_list_amount(session, contract):
    contract.agreed_amount = Decimal(85001)

    with pytest.raises(RuleBroken, match="lies above the list amount"):
        session.flush()
