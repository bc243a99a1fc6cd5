"""Contracts from the first draft to their end, the money for them, and what of it goes back."""

import tomllib
from collections.abc import Generator
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..clients import Client, ClientLine
from ..contracts import (
    ClauseKind,
    ClauseStatus,
    Contract,
    ContractClause,
    ContractItem,
    ContractKind,
    ContractStatus,
    ItemStatus,
)
from ..payments import (
    GROUP_APPROVAL_ABOVE,
    Payment,
    PaymentKind,
    PaymentMethod,
    RefundCause,
    RefundRequest,
    RefundStatus,
)
from ..services import Package
from ..staff import Staff
from .arrivals import DAY, Newcomer
from .files import add_all
from .people import Desk
from .timeline import At, Life, Timeline

S = ContractStatus
HOUR = timedelta(hours=1)
FEN = Decimal("0.01")

KINDS = {
    ClientLine.POSTPARTUM: ContractKind.POSTPARTUM,
    ClientLine.ELDER: ContractKind.ELDER_RESIDENCE,
    ClientLine.AESTHETIC: ContractKind.TREATMENT_COURSE,
}
SHARES = {
    ClientLine.POSTPARTUM: {"PP14": 2, "PP28": 7, "PP42": 2},
    ClientLine.ELDER: {"EL_TRIAL": 1, "EL_SELF": 3, "EL_HALF": 5, "EL_FULL": 3},
    ClientLine.AESTHETIC: {"AE_PHOTON": 4, "AE_HYDRA": 5, "AE_EYELID": 2, "AE_TIGHTEN": 2},
}
METHODS = (PaymentMethod.WECHAT, PaymentMethod.ALIPAY, PaymentMethod.CARD, PaymentMethod.TRANSFER)
ENDS_EARLY = ("void", "expire", "cancel")

Negotiation = Generator[At, None, Contract | None]


class Deals:
    """Makes contracts as consultants, directors and finance do together."""

    def __init__(self, session: Session, timeline: Timeline, owner: Staff, folder: Path, rng: Random) -> None:
        self.session, self.timeline, self.owner, self.rng = session, timeline, owner, rng
        self.packages = {p.code: p for p in session.scalars(select(Package))}
        self.clauses: dict[str, Any] = tomllib.loads((folder / "clauses.toml").read_text(encoding="utf-8"))

    # -- until it takes effect --

    def negotiate(self, who: Newcomer, client: Client) -> Negotiation:
        """From the draft until the contract is in effect; None when it does not come to that."""
        at = who.arrived_at + DAY * 3
        yield At(at, who.contact)
        contract, end = self._draft(who, client, at.date()), self._end(who)
        yield from self._offer(who, contract, at, end)
        if contract.status is not S.SENT or end == "expire" or who.until is S.SENT:
            return None
        yield from self._sign(who, contract, at + DAY * 3)
        if who.until is S.SIGNED:
            return None
        contract.take_effect()
        if end == "cancel":
            yield from self.cancel(who.desk, contract, at + DAY * 6)
            return None
        return contract

    def _offer(self, who: Newcomer, contract: Contract, at: datetime, end: str | None) -> Life:
        """Send the draft, after an approval where it needs one; or drop it."""
        if who.until is S.DRAFT:
            return
        yield At(at + HOUR, who.contact)
        if end == "void":
            contract.void()
            return
        if contract.needs_approval():
            yield from self._ask_approval(who, contract, at)
            if contract.status is who.until:
                return
        yield At(at + DAY * 2, who.contact)
        contract.send()

    def _sign(self, who: Newcomer, contract: Contract, at: datetime) -> Life:
        """Key clauses acknowledged one by one, the signature, the deposit."""
        yield At(at, who.contact)
        for clause in contract.clauses:
            if clause.is_key and clause.status is ClauseStatus.OPEN:
                clause.acknowledge()
        contract.sign(signer=contract.client.name)
        yield from self._deposit(who, contract, at)

    def _end(self, who: Newcomer) -> str | None:
        """How one in seven contracts ends too early."""
        if who.ends is not None or not who.runs_freely or self.rng.random() > 0.1:
            return who.ends
        return self.rng.choice(ENDS_EARLY)

    def _draft(self, who: Newcomer, client: Client, on: date) -> Contract:
        shares = SHARES[who.desk.line]
        package = self.packages[who.package or self.rng.choices(list(shares), list(shares.values()))[0]]
        start = who.due_on or on + DAY * self.rng.randrange(6, 24)
        days = package.nights or (365 if who.desk.line is ClientLine.ELDER else 180)
        contract = Contract(
            branch=who.desk.branch, client=client, package=package, kind=KINDS[who.desk.line], start_on=start,
            end_on=start + DAY * days, list_amount=package.list_price, agreed_amount=self._price(who, package),
        )  # fmt: skip
        items = [ContractItem(contract=contract, item=p.item, qty_promised=p.quantity) for p in package.items]
        clauses = [
            ContractClause(
                contract=contract, kind=kind, text=self.clauses[kind]["text"], is_key=self.clauses[kind].get("key", False)
            )
            for kind in ClauseKind
        ]  # fmt: skip
        add_all(self.session, [contract, *items, *clauses])
        return contract

    def _price(self, who: Newcomer, package: Package) -> Decimal:
        """The list price less a discount; sometimes below the floor, which the director has to allow."""
        share = Decimal(self.rng.choice([100, 100, 95, 92, 90, 88])) / 100
        low = who.until in {S.PENDING_APPROVAL, S.APPROVED} or (who.runs_freely and self.rng.random() < 0.08)
        return package.floor_price * Decimal("0.97") if low else max(package.list_price * share, package.floor_price)

    def _ask_approval(self, who: Newcomer, contract: Contract, at: datetime) -> Life:
        contract.submit()
        if who.until is S.PENDING_APPROVAL:
            return
        yield At(at + HOUR * 4, who.desk.director)
        if self.rng.random() < 0.2:
            contract.return_to_draft(reason="请补充优惠理由。")
            yield At(at + HOUR * 6, who.contact)
            contract.submit()
            yield At(at + HOUR * 8, who.desk.director)
        contract.approve(reason="老客户介绍，同意低于底价签约。")

    def _deposit(self, who: Newcomer, contract: Contract, at: datetime) -> Life:
        """Earnest money and an advance; finance confirms both the next morning."""
        earnest = _round(contract.agreed_amount * Decimal("0.15"))
        payments = [self._pay(contract, PaymentKind.EARNEST_MONEY, earnest)]
        if self.rng.random() < 0.3:
            payments.append(self._pay(contract, PaymentKind.ADVANCE, _round(contract.agreed_amount * Decimal("0.2"))))
        self.session.flush()
        if who.until is S.SIGNED:
            return
        yield At(at + HOUR * 18, who.desk.accountant)
        for payment in payments:
            payment.confirm()

    def _pay(self, contract: Contract, kind: PaymentKind, amount: Decimal) -> Payment:
        payment = Payment(contract=contract, kind=kind, amount=amount, method=self.rng.choice(METHODS))
        self.session.add(payment)
        return payment

    # -- under way, and to the end --

    def settle(self, desk: Desk, contract: Contract, at: datetime) -> Life:
        """The client pays what is still owed, finance confirms it; now and then after a slip."""
        yield At(at, self.rng.choice(desk.consultants))
        owed = contract.balance()
        if owed <= 0:
            return
        slips = self.rng.random() < 0.05
        payment = self._pay(contract, PaymentKind.BALANCE, owed - 1000 if slips and owed > 2000 else owed)
        self.session.flush()
        yield At(at + HOUR * 5, desk.accountant)
        payment.confirm()
        if payment.amount == owed:
            return
        yield At(at + DAY, desk.director)
        payment.reverse(reason="金额录错一千元，冲销后重录。")
        yield At(at + DAY + HOUR, self.rng.choice(desk.consultants))
        again = self._pay(contract, PaymentKind.BALANCE, owed)
        self.session.flush()
        yield At(at + DAY + HOUR * 3, desk.accountant)
        again.confirm()

    def perform(self, desk: Desk, contract: Contract, at: datetime, *, share: Decimal) -> Life:
        """Note what was delivered by *at*: a share of everything that was promised."""
        yield At(at, desk.lead)
        for item in contract.items:
            quantity = (item.qty_promised * share).quantize(Decimal(1)) - item.qty_delivered
            if quantity > 0:
                item.deliver(quantity=quantity)

    def finish(self, desk: Desk, contract: Contract, at: datetime) -> Life:
        """Everything is delivered or waived and paid: the contract is complete."""
        last = contract.items[-1]
        yield At(at, desk.lead)
        for item in contract.items:
            if item is last and len(contract.items) > 2 and self.rng.random() < 0.15:
                continue
            item.deliver(quantity=item.qty_promised - item.qty_delivered)
        yield At(at + HOUR * 2, self.rng.choice(desk.officers))
        if not last.is_settled() and last.status is ItemStatus.OPEN:
            last.waive(reason="客户行程提前，自愿放弃剩余次数。")
        yield from self.settle(desk, contract, at + HOUR * 3)
        yield At(at + DAY * 2, self.rng.choice(desk.officers))
        contract.complete()

    # -- going back --

    def cancel(self, desk: Desk, contract: Contract, at: datetime) -> Life:
        """Within the days to think it over: everything goes back, then the contract is cancelled."""
        yield from self.refund(desk, contract, RefundCause.CLIENT_COOLING_OFF, contract.received(), at)
        yield At(at + DAY * 3, desk.director)
        contract.cancel(reason="客户在冷静期内解约。")

    def terminate(self, desk: Desk, contract: Contract, at: datetime, used_days: int) -> Life:
        """The client leaves early: what was not used goes back, reckoned at the list price."""
        assert contract.end_on is not None
        days = (contract.end_on - contract.start_on).days or 1
        back = max(contract.received() - _round(contract.list_amount * used_days / days), Decimal(0))
        yield from self.refund(desk, contract, RefundCause.CLIENT_REASON, back, at)
        yield At(at + DAY * 3, desk.director)
        contract.terminate(reason="客户因家庭原因提前离店。")

    def refund(
        self, desk: Desk, contract: Contract, cause: RefundCause, amount: Decimal, at: datetime,
        until: RefundStatus = RefundStatus.CLOSED, *, ends_contract: bool = True,
    ) -> Life:  # fmt: skip
        """A refund through its three hands, or until it reaches the state *until*."""
        officer, finance = self.rng.choice(desk.officers), desk.accountant
        yield At(at, officer)
        asked = RefundRequest(
            contract=contract, cause=cause, amount=amount, ends_contract=ends_contract, explanation="按合同附表计算。"
        )
        self.session.add(asked)
        self.session.flush()
        if until is RefundStatus.DRAFT:
            return
        yield At(at + HOUR, officer)
        asked.submit()
        if until is RefundStatus.SUBMITTED:
            return
        yield At(at + HOUR * 5, finance)
        if until is RefundStatus.RETURNED:
            asked.send_back(reason="已使用天数少算一天，请核对入住记录。")
            return
        asked.check_by_finance()
        yield At(at + HOUR * 6, officer)
        if until is RefundStatus.WITHDRAWN:
            asked.withdraw(reason="客户决定继续履行合同。")
        elif until is not RefundStatus.FN_CHECKED:
            yield from self._pay_back(desk, asked, at, until)

    def _pay_back(self, desk: Desk, asked: RefundRequest, at: datetime, until: RefundStatus) -> Life:
        """Approved by the director, or by the owner when it is large, then paid by finance."""
        large = asked.amount > GROUP_APPROVAL_ABOVE
        yield At(at + HOUR * 8, self.owner if large else desk.director)
        (asked.approve_for_group if large else asked.approve)()
        yield At(at + DAY * 2, desk.accountant)
        if until is RefundStatus.APPROVED:
            return
        asked.pay(reference=f"转账{at:%Y%m%d}{asked.id:04d}")
        yield At(at + DAY * 2 + HOUR, desk.accountant)
        if until is not RefundStatus.PAID:
            asked.close()


def _round(amount: Decimal) -> Decimal:
    return amount.quantize(FEN, ROUND_HALF_UP)
