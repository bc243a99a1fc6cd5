"""Payments and refunds: who may do which step, what is never edited, and every move of both machines (SM-9)."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from models import clock, recycling
from models.clients import Client, ClientLine
from models.contracts import Contract, ContractKind, ContractStatus, Purpose
from models.errors import RuleBroken
from models.flush import restoring
from models.organisation import Branch, LineOfBusiness
from models.payments import Payment, PaymentKind, PaymentMethod, PaymentStatus, RefundCause, RefundRequest, RefundStatus
from models.staff import Staff
from models.workflow import transition_named, transitions_of
from tests.models.conftest import as_staff

P, R = PaymentStatus, RefundStatus
NOON = datetime(2026, 4, 18, 4, 0, tzinfo=UTC)


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
    """68,000 agreed, signed by 陈雨婷."""
    branch = people["lin"].branch
    contract = Contract(
        branch=branch, client=Client(branch=branch, line=ClientLine.POSTPARTUM, name="陈雨婷"),
        kind=ContractKind.POSTPARTUM, start_on=date(2026, 5, 3), list_amount=Decimal(85000), agreed_amount=Decimal(68000),
    )  # fmt: skip
    session.add(contract)
    put(session, contract, ContractStatus.SIGNED)
    session.commit()
    return contract


def put(session, record, state):
    """Bring a record into *state* as the loading of a house's past does."""
    session.flush()
    with restoring(session):
        record.status = state
        session.flush()


def take(session, contract, people, amount, kind=PaymentKind.ADVANCE, **given):
    """林晓雯 takes it at the front desk."""
    with as_staff(session, people["lin"]):
        payment = Payment(contract=contract, kind=kind, amount=Decimal(amount), method=PaymentMethod.CARD, **given)
        session.add(payment)
        session.flush()
    return payment


def pay(session, contract, people, amount, kind=PaymentKind.ADVANCE):
    payment = take(session, contract, people, amount, kind)
    with as_staff(session, people["qian"]):
        payment.confirm()
    return payment


# -- payments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "fits"), [(0, "13600", True), (0, "13600.01", False), (13000, "601", False)]
)
def test_earnest_money_of_a_contract_stays_within_a_fifth_of_the_price(session, contract, people, first, second, fits):
    # 20 % of 68,000 is 13,600, for all earnest money together.
    if first:
        take(session, contract, people, first, PaymentKind.EARNEST_MONEY)

    if fits:
        take(session, contract, people, second, PaymentKind.EARNEST_MONEY)
    else:
        with pytest.raises(RuleBroken, match=r"exceeds 20 % of 68000\.00, which is 13600\.00") as refusal:
            take(session, contract, people, second, PaymentKind.EARNEST_MONEY)
        assert refusal.value.field == "amount"


def test_two_earnest_payments_of_one_save_are_judged_together(session, contract):
    for amount in (13000, 601):
        session.add(
            Payment(
                contract_id=contract.id,
                kind=PaymentKind.EARNEST_MONEY,
                amount=Decimal(amount),
                method=PaymentMethod.CASH,
            )
        )

    with pytest.raises(RuleBroken, match=r"Earnest money of 13601\.00 exceeds"):
        session.flush()


def test_earnest_money_that_was_reversed_makes_room_again(session, contract, people):
    pay(session, contract, people, 13000, PaymentKind.EARNEST_MONEY).reverse(reason="记错合同")

    take(session, contract, people, 13600, PaymentKind.EARNEST_MONEY)


@pytest.mark.parametrize("amount", ["0.00", "-5.00"])
def test_a_payment_is_of_something(session, contract, people, amount):
    with pytest.raises(RuleBroken, match=f"A payment of {amount} is none"):
        take(session, contract, people, amount)


def test_money_that_is_still_to_come_is_no_payment(session, contract, people):
    with pytest.raises(RuleBroken, match=r"time of payment .* lies ahead"), clock.at(NOON):
        take(session, contract, people, 100, paid_at=NOON + timedelta(hours=1))


@pytest.mark.parametrize("state", ContractStatus)
def test_payments_are_taken_from_the_sending_of_a_contract_on(session, contract, people, state):
    open_states = {"sent", "signed", "effective", "in_performance", "completed", "terminated"}
    put(session, contract, state)

    if state in open_states:
        take(session, contract, people, 100)
    else:
        with pytest.raises(RuleBroken, match=f"is {state.label}: payments are taken for a contract that was sent"):
            take(session, contract, people, 100)


@pytest.mark.parametrize("confirmed", [False, True])
@pytest.mark.parametrize(("name", "value"), [("amount", Decimal(50)), ("kind", PaymentKind.EXTRA)])
def test_a_payment_is_never_edited(session, contract, people, confirmed, name, value):
    payment = (pay if confirmed else take)(session, contract, people, 5000)

    setattr(payment, name, value)

    with pytest.raises(RuleBroken, match="A payment is not edited: reverse it"):
        session.flush()


def test_a_payment_is_thrown_away_while_it_awaits_confirmation_alone(session, contract, people):
    waiting, confirmed = take(session, contract, people, 100), pay(session, contract, people, 200)
    recycling.recycle(waiting)
    session.flush()

    recycling.recycle(confirmed)

    with pytest.raises(RuleBroken, match="is Confirmed and stays on file"):
        session.flush()


def test_nobody_confirms_the_payment_they_took(session, contract, people):
    payment = take(session, contract, people, 100)

    with as_staff(session, people["lin"]), pytest.raises(RuleBroken, match="林晓雯 took this payment"):
        payment.confirm()


def test_a_payment_is_reversed_by_another_person_with_a_contra_row(session, contract, people):
    payment = pay(session, contract, people, 5000)
    with as_staff(session, people["qian"]), pytest.raises(RuleBroken, match="钱芳 confirmed this payment and cannot"):
        payment.reverse(reason="记错合同")

    with as_staff(session, people["zhao"]):
        payment.reverse(reason="记错合同")

    contra = session.scalars(sa.select(Payment).where(Payment.reversal_of_id == payment.id)).one()
    assert payment.status is P.REVERSED
    assert (contra.amount, contra.status, contra.received_by) == (Decimal(-5000), P.REVERSED, people["zhao"])
    assert (payment.reversal_reason, contra.reversal_reason) == ("记错合同", "记错合同")
    assert contract.received() == 0


def test_a_payment_that_a_refund_counts_on_is_not_reversed(session, contract, people):
    pay(session, contract, people, 1000)
    payment = pay(session, contract, people, 5000)
    ask(session, contract, 1500).submit()

    with pytest.raises(RuleBroken, match=r"1500\.00 were refunded or are about to be; .* only 1000\.00 remain"):
        payment.reverse(reason="记错合同")


def test_each_purpose_is_counted_for_itself(session, contract, people):
    pay(session, contract, people, 13000, PaymentKind.EARNEST_MONEY)
    pay(session, contract, people, 2000, PaymentKind.ADVANCE)
    pay(session, contract, people, 5000, PaymentKind.SECURITY_DEPOSIT)
    pay(session, contract, people, 300, PaymentKind.EXTRA)
    take(session, contract, people, 9999)  # not confirmed

    assert [contract.paid(p) for p in (Purpose.PRICE, Purpose.DEPOSIT, Purpose.EXTRA)] == [15000, 5000, 300]
    assert contract.balance() == 53000  # 68,000 − 15,000


# -- refunds ------------------------------------------------------------------------------------------------


def ask(session, contract, amount, **given):
    request = RefundRequest(contract=contract, amount=Decimal(amount), **{"cause": RefundCause.CLIENT_REASON, **given})
    session.add(request)
    session.flush()
    return request


STEPS = ("submit", "check_by_finance", "approve", "pay")


def walk(session, request, people, *hands):
    """Take the steps of a refund, one for each of *hands*; None for a step by the system."""
    for step, who in zip(STEPS, hands, strict=False):
        given = {"reference": "ICBC-1"} if step == "pay" else {}
        if who is None:
            getattr(request, step)(**given)
            continue
        with as_staff(session, people[who]):
            getattr(request, step)(**given)


@pytest.mark.parametrize(
    ("hands", "refused"),
    [
        (("zhou", "zhou"), "周敏 took the step before"),
        (("zhou", "qian", "qian"), "钱芳 took the step before"),
        (("zhou", "qian", "zhao", "zhao"), "赵明远 took the step before"),
        (("zhou", "qian", "zhao", "qian"), None),
    ],
)
def test_nobody_takes_two_steps_of_a_refund_in_a_row(session, contract, people, hands, refused):
    pay(session, contract, people, 15000)
    request = ask(session, contract, 1000)

    if refused is None:
        walk(session, request, people, *hands)
        assert request.status is R.PAID
        assert contract.received() == 14000
    else:
        with pytest.raises(RuleBroken, match=refused):
            walk(session, request, people, *hands)


@pytest.mark.parametrize(("amount", "refused"), [("20000", False), ("20000.01", True)])
def test_above_twenty_thousand_the_owner_approves(session, contract, people, amount, refused):
    pay(session, contract, people, 68000, PaymentKind.BALANCE)
    request = ask(session, contract, amount)
    walk(session, request, people, "zhou", "qian")

    if refused:
        with (
            as_staff(session, people["zhao"]),
            pytest.raises(RuleBroken, match="exceeds the director's limit of 20000"),
        ):
            request.approve()
        with as_staff(session, people["wang"]):
            request.approve_for_group()
    else:
        with as_staff(session, people["zhao"]):
            request.approve()

    assert request.approved_by is people["wang" if refused else "zhao"]


@pytest.mark.parametrize(
    ("of", "amount", "left"),
    [(Purpose.PRICE, "15000.01", "15000.00"), (Purpose.DEPOSIT, "5001.00", "5000.00"), (Purpose.EXTRA, "1.00", "0")],
)
def test_refunds_never_exceed_what_was_confirmed_for_the_same_purpose(session, contract, people, of, amount, left):
    pay(session, contract, people, 15000)
    pay(session, contract, people, 5000, PaymentKind.SECURITY_DEPOSIT)

    with pytest.raises(RuleBroken, match=f"{amount} would go back, but only {left} of what was confirmed are left"):
        ask(session, contract, amount, refund_of=of)


def test_refunds_under_way_and_paid_count_towards_the_limit_and_withdrawn_ones_do_not(session, contract, people):
    pay(session, contract, people, 15000)
    walk(session, ask(session, contract, 4000), people, None, None, None, None)
    waiting = ask(session, contract, 6000)
    waiting.submit()
    with pytest.raises(RuleBroken, match=r"only 5000\.00"):  # 15,000 − 4,000 − 6,000
        ask(session, contract, 5001)
    session.rollback()


def test_a_withdrawn_refund_makes_room_again(session, contract, people):
    pay(session, contract, people, 15000)
    waiting = ask(session, contract, 15000)
    waiting.submit()
    waiting.withdraw(reason="客户决定继续入住")

    ask(session, contract, 15000)


def test_a_refund_below_nothing_is_refused(session, contract):
    with pytest.raises(RuleBroken, match=r"A refund of -1\.00 is none"):
        ask(session, contract, -1)


@pytest.mark.parametrize("state", [s for s in R if s not in {R.DRAFT, R.RETURNED}])
def test_the_amount_of_a_refund_stays_once_it_was_handed_in(session, contract, people, state):
    pay(session, contract, people, 15000)
    request = ask(session, contract, 1000)
    put(session, request, state)

    request.amount = Decimal(9000)

    with pytest.raises(RuleBroken, match=f"is {state.label}, so “Amount” stays as it is: have it sent back first"):
        session.flush()


def test_a_refund_that_was_sent_back_is_corrected_and_handed_in_again(session, contract, people):
    pay(session, contract, people, 15000)
    request = ask(session, contract, 1000)
    request.submit()
    request.send_back(reason="少算一天")

    request.amount = Decimal(900)
    request.submit()

    assert (request.status, request.return_reason) == (R.SUBMITTED, "少算一天")


@pytest.mark.parametrize(
    ("cause", "due"),
    [(RefundCause.CLIENT_REASON, date(2026, 5, 3)), (RefundCause.CLIENT_COOLING_OFF, date(2026, 4, 23))],
)
def test_a_refund_is_due_fifteen_days_after_the_client_asked_and_five_while_thinking_it_over(
    session, contract, people, cause, due
):
    pay(session, contract, people, 15000)
    with clock.at(NOON):
        request = ask(session, contract, 1000, cause=cause)

    assert request.due_on == due


def test_only_a_refund_of_the_price_settles_a_contract(session, contract, people):
    pay(session, contract, people, 5000, PaymentKind.SECURITY_DEPOSIT)

    deposit = ask(session, contract, 5000, refund_of=Purpose.DEPOSIT)

    assert deposit.ends_contract is False


# -- every move and every refusal ------------------------------------------------------------------------

# state -> the moves that lead out of it (SM-9), and where to
PAYMENTS = {P.PENDING: {"confirm": P.CONFIRMED}, P.CONFIRMED: {"reverse": P.REVERSED}}
REFUNDS = {
    R.DRAFT: {"submit": R.SUBMITTED, "withdraw": R.WITHDRAWN},
    R.SUBMITTED: {"check_by_finance": R.FN_CHECKED, "send_back": R.RETURNED, "withdraw": R.WITHDRAWN},
    R.FN_CHECKED: {
        "approve": R.APPROVED, "approve_for_group": R.APPROVED, "send_back": R.RETURNED, "withdraw": R.WITHDRAWN,
    },
    R.RETURNED: {"submit": R.SUBMITTED, "withdraw": R.WITHDRAWN},
    R.APPROVED: {"pay": R.PAID, "withdraw": R.WITHDRAWN},
    R.PAID: {"close": R.CLOSED},
}  # fmt: skip
GIVEN = {
    "reverse": {"reason": "记错合同"}, "pay": {"reference": "ICBC-1"}, "send_back": {"reason": "少算一天"},
    "withdraw": {"reason": "继续入住"},
}  # fmt: skip
TABLES = ((Payment, P, PAYMENTS), (RefundRequest, R, REFUNDS))


@pytest.mark.parametrize(
    ("model", "state", "move", "target"),
    [(model, state, *found) for model, _, table in TABLES for state, out in table.items() for found in out.items()],
)
def test_money_makes_every_move_of_the_tables(session, contract, people, model, state, move, target):
    record = take(session, contract, people, 5000)
    if model is RefundRequest:
        record.confirm()
        record = ask(session, contract, 1000)
    put(session, record, state)

    getattr(record, move)(**GIVEN.get(move, {}))

    assert record.status is target


@pytest.mark.parametrize(
    ("model", "state", "move"),
    [
        (model, state, t.name)
        for model, states, table in TABLES
        for state in states
        for t in transitions_of(model)
        if t.name not in table.get(state, {})
    ],
)
def test_money_makes_no_move_beside_the_tables(model, state, move):
    record = model(status=state)

    with pytest.raises(
        RuleBroken, match=f"is {state.label}, so “{transition_named(model, move).label}” is not possible"
    ):
        getattr(record, move)(**GIVEN.get(move, {}))
