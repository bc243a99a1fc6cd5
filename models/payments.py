"""Money received and given back: payments are never edited, only reversed; a refund passes three people (SM-9)."""

from datetime import date
from decimal import Decimal
from typing import TypeVar

from sqlalchemy import CheckConstraint, ForeignKey, select
from sqlalchemy.orm import Mapped, mapped_column, object_session, relationship

from . import clock
from .base import Code, Instant, Model, Money, Name, Note
from .choices import N_, Choice
from .contracts import FIRST_PAID, MONEY, SETTLED, Contract
from .errors import RuleBroken
from .flush import changed_fields
from .staff import Staff, acting_staff
from .workflow import ruled, transition

AREA = N_("Contracts")

EARNEST_SHARE = Decimal("0.20")  # Civil Code, article 586: what exceeds it has no effect as earnest money
GROUP_APPROVAL_ABOVE = Decimal(20_000)  # SM-9: a larger refund needs the owner


class PaymentKind(Choice):
    EARNEST_MONEY = "earnest_money", N_("Earnest money")
    ADVANCE = "advance", N_("Advance payment")
    SECURITY_DEPOSIT = "security_deposit", N_("Security deposit")
    BALANCE = "balance", N_("Balance payment")
    EXTRA = "extra", N_("Extra services")
    MEMBERSHIP_TOPUP = "membership_topup", N_("Membership top-up")


class PaymentMethod(Choice):
    CASH = "cash", N_("Cash")
    CARD = "card", N_("Bank card")
    TRANSFER = "transfer", N_("Bank transfer")
    WECHAT = "wechat", N_("WeChat Pay")
    ALIPAY = "alipay", N_("Alipay")


class PaymentStatus(Choice):
    PENDING = "pending", N_("Awaiting confirmation"), "amber"
    CONFIRMED = "confirmed", N_("Confirmed"), "green"
    REVERSED = "reversed", N_("Reversed"), "red"


class Payment(Model):
    """Money received for a contract; a reversal is a row of its own with a negative amount."""

    __icon__ = "coin-yuan"
    __title__ = ("receipt_no",)
    __key__ = ("receipt_no",)
    __part_of__ = "contract"
    __list__ = ("receipt_no", "contract", "status", "kind", "amount", "method", "paid_at", "received_by")
    __table_args__ = (CheckConstraint("amount > 0 OR reversal_of_id IS NOT NULL", name="only_a_reversal_is_negative"),)

    receipt_no: Mapped[Code] = mapped_column(unique=True, info={"label": N_("Receipt no."), "serial": "R{n:06d}"})
    contract_id: Mapped[int] = mapped_column(ForeignKey(Contract.id), index=True)
    kind: Mapped[PaymentKind] = mapped_column(info={"label": N_("Kind of payment")})
    amount: Mapped[Money]
    method: Mapped[PaymentMethod]
    paid_at: Mapped[Instant] = mapped_column(default=clock.now)
    status: Mapped[PaymentStatus] = mapped_column(default=PaymentStatus.PENDING)
    received_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"derived": True})
    confirmed_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"derived": True})
    reversal_of_id: Mapped[int | None] = mapped_column(ForeignKey("payment.id"), info={"derived": True})
    reversal_reason: Mapped[Note | None] = mapped_column(info={"derived": True})

    contract: Mapped[Contract] = relationship()
    received_by: Mapped[Staff | None] = relationship(foreign_keys=[received_by_id])
    confirmed_by: Mapped[Staff | None] = relationship(foreign_keys=[confirmed_by_id])
    reversal_of: Mapped["Payment | None"] = relationship(remote_side="Payment.id")

    def derive(self) -> None:
        if self.received_by_id is None and self.received_by is None and self.id is None:
            self.received_by = acting_staff(self)

    def check(self) -> None:
        if self.reversal_of_id is None and self.reversal_of is None and self.amount <= 0:
            raise RuleBroken(
                N_("A payment of %(amount)s is none: enter what was received."), field="amount", amount=self.amount
            )
        if self.kind is PaymentKind.EARNEST_MONEY and self.amount > 0:
            self._check_earnest()
        self._refuse_edit()

    def _check_earnest(self) -> None:
        limit = (self.contract.agreed_amount * EARNEST_SHARE).quantize(Decimal("0.01"))
        others = sum(
            (p.amount for p in payments_of(self.contract) if p is not self and p.kind is PaymentKind.EARNEST_MONEY),
            Decimal(0),
        )
        if self.amount + others > limit:
            raise RuleBroken(
                N_(
                    "Earnest money of %(amount)s exceeds 20 %% of %(agreed)s, which is %(limit)s: take the rest as an advance payment."
                ),
                field="amount", amount=self.amount + others, agreed=self.contract.agreed_amount, limit=limit,
            )  # fmt: skip

    def _refuse_edit(self) -> None:
        session = object_session(self)
        if self.id is None or session is None or ruled(session) or self.status is PaymentStatus.PENDING:
            return
        if any(not f.system for f in changed_fields(self)):
            raise RuleBroken(N_("A confirmed payment is not edited: reverse it and enter it anew."))

    @transition("status", {PaymentStatus.PENDING}, PaymentStatus.CONFIRMED, label=N_("Confirm receipt"), tone="green")
    def confirm(self) -> None:
        """Finance saw the money; whoever took it does not confirm it."""
        actor = acting_staff(self)
        if actor is not None and actor is self.received_by:
            raise RuleBroken(
                N_("%(name)s took this payment and cannot confirm it too: ask a colleague."), name=actor.name
            )
        self.confirmed_by = actor

    @transition("status", {PaymentStatus.CONFIRMED}, PaymentStatus.REVERSED, label=N_("Reverse"), tone="red")
    def reverse(self, *, reason: Note) -> None:
        """Take it back by a row of the opposite amount; whoever confirmed it does not reverse it."""
        actor = acting_staff(self)
        if actor is not None and actor is self.confirmed_by:
            raise RuleBroken(
                N_("%(name)s confirmed this payment and cannot reverse it too: ask the director."), name=actor.name
            )
        session = object_session(self)
        assert session is not None
        self.reversal_reason = reason
        session.add(
            Payment(
                contract=self.contract,
                kind=self.kind,
                amount=-self.amount,
                method=self.method,
                paid_at=clock.now(),
                reversal_of=self,
                reversal_reason=reason,
                status=PaymentStatus.REVERSED,
                received_by=actor,
            )  # fmt: skip
        )


class RefundCause(Choice):
    CLIENT_COOLING_OFF = "client_cooling_off", N_("Within the days to think it over")
    CLIENT_REASON = "client_reason", N_("The client's reason")
    PROVIDER_REASON = "provider_reason", N_("The house's reason")
    HEALTH_CHANGE = "health_change", N_("A change of health")
    FORCE_MAJEURE = "force_majeure", N_("Force majeure")
    BOTH = "both", N_("Reasons on both sides")


class RefundStatus(Choice):
    DRAFT = "draft", N_("Draft"), "neutral"
    SUBMITTED = "submitted", N_("Handed in"), "blue"
    FN_CHECKED = "fn_checked", N_("Checked by finance"), "blue"
    APPROVED = "approved", N_("Approved"), "green"
    PAID = "paid", N_("Paid out"), "green"
    CLOSED = "closed", N_("Closed"), "neutral"
    RETURNED = "returned", N_("Sent back"), "amber"
    WITHDRAWN = "withdrawn", N_("Taken back"), "neutral"


R = RefundStatus


class RefundRequest(Model):
    """Money that is to go back to a client."""

    __label__ = N_("Refund request")
    __icon__ = "rotate-2"
    __title__ = ("no", "contract")
    __key__ = ("no",)
    __part_of__ = "contract"
    __table_args__ = (CheckConstraint("amount >= 0", name="refund_is_not_negative"),)

    no: Mapped[Code] = mapped_column(unique=True, info={"label": N_("Refund no."), "serial": "RF{n:06d}"})
    contract_id: Mapped[int] = mapped_column(ForeignKey(Contract.id), index=True)
    cause: Mapped[RefundCause] = mapped_column(info={"label": N_("Cause")})
    requested_at: Mapped[Instant] = mapped_column(default=clock.now)
    amount: Mapped[Money]
    explanation: Mapped[Note | None]
    status: Mapped[RefundStatus] = mapped_column(default=RefundStatus.DRAFT)
    submitted_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"derived": True})
    checked_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"derived": True})
    approved_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"derived": True})
    return_reason: Mapped[Note | None] = mapped_column(info={"derived": True})
    paid_at: Mapped[Instant | None] = mapped_column(info={"derived": True})
    paid_ref: Mapped[Name | None] = mapped_column(
        info={"derived": True, "label": N_("Payment reference"), "search": False}
    )

    contract: Mapped[Contract] = relationship()
    submitted_by: Mapped[Staff | None] = relationship(foreign_keys=[submitted_by_id])
    checked_by: Mapped[Staff | None] = relationship(foreign_keys=[checked_by_id])
    approved_by: Mapped[Staff | None] = relationship(foreign_keys=[approved_by_id])

    def check(self) -> None:
        if self.amount is None:
            return
        if self.amount < 0:
            raise RuleBroken(N_("A refund of %(amount)s is none."), field="amount", amount=self.amount)
        if self.status in {R.WITHDRAWN, R.RETURNED, R.PAID, R.CLOSED}:
            return
        left = self.contract.received() - refunds_under_way(self.contract, besides=self)
        if self.amount > left:
            raise RuleBroken(
                N_("%(amount)s would go back, but only %(left)s of what was confirmed are left."),
                field="amount", amount=self.amount, left=left,
            )  # fmt: skip

    def _other_than(self, before: Staff | None) -> Staff | None:
        actor = acting_staff(self)
        if actor is not None and actor is before:
            raise RuleBroken(N_("%(name)s took the step before and cannot take this one too."), name=actor.name)
        return actor

    @transition("status", {R.DRAFT, R.RETURNED}, R.SUBMITTED, label=N_("Hand in"), tone="blue")
    def submit(self) -> None:
        """Hand it to finance."""
        self.submitted_by = acting_staff(self)

    @transition("status", {R.SUBMITTED}, R.FN_CHECKED, label=N_("Check"), tone="blue")
    def check_by_finance(self) -> None:
        """Finance found the amount right."""
        self.checked_by = self._other_than(self.submitted_by)

    @transition("status", {R.FN_CHECKED}, R.APPROVED, label=N_("Approve"), tone="green")
    def approve(self) -> None:
        """The director allows it, up to 20,000."""
        if self.amount > GROUP_APPROVAL_ABOVE:
            raise RuleBroken(
                N_("%(amount)s exceeds %(limit)s: the owner approves it."),
                amount=self.amount,
                limit=GROUP_APPROVAL_ABOVE,
            )
        self.approved_by = self._other_than(self.checked_by)

    @transition("status", {R.FN_CHECKED}, R.APPROVED, label=N_("Approve for the group"), tone="green")
    def approve_for_group(self) -> None:
        """The owner allows it, whatever the amount."""
        self.approved_by = self._other_than(self.checked_by)

    @transition("status", {R.APPROVED}, R.PAID, label=N_("Pay out"), tone="green")
    def pay(self, *, reference: Name) -> None:
        """Finance paid it; the reference is the bank's."""
        self._other_than(self.approved_by)
        self.paid_at = clock.now()
        self.paid_ref = reference

    @transition("status", {R.PAID}, R.CLOSED, label=N_("Close"))
    def close(self) -> None:
        """The client has the money."""

    @transition("status", {R.SUBMITTED, R.FN_CHECKED}, R.RETURNED, label=N_("Send back"), tone="amber")
    def send_back(self, *, reason: Note) -> None:
        """Let it be corrected, and say why."""
        self.return_reason = reason

    @transition(
        "status", {R.DRAFT, R.SUBMITTED, R.FN_CHECKED, R.APPROVED, R.RETURNED}, R.WITHDRAWN, label=N_("Take back")
    )
    def withdraw(self, *, reason: Note) -> None:
        """The client no longer asks for it."""
        self.return_reason = reason


Part = TypeVar("Part", Payment, RefundRequest)

# -- a contract's money -----------------------------------------------------------------------------------


def payments_of(contract: Contract) -> list[Payment]:
    """The payments of *contract* that are not recycled, reversals among them, by receipt number."""
    return _parts(contract, Payment)


def _refunds_of(contract: Contract) -> list[RefundRequest]:
    return _parts(contract, RefundRequest)


def _parts(contract: Contract, model: type[Part]) -> list[Part]:
    """Parts in the database and those about to be written."""
    session = object_session(contract)
    if session is None:
        return []
    with session.no_autoflush:
        kept = list(session.scalars(select(model).where(model.contract_id == contract.id).order_by(model.id)))
    return kept + [o for o in session.new if isinstance(o, model) and o.contract is contract]


def refunds_under_way(contract: Contract, besides: RefundRequest) -> Decimal:
    """Refunds of the contract that are asked for and not yet paid, in CNY."""
    waiting = {R.SUBMITTED, R.FN_CHECKED, R.APPROVED}
    return sum((r.amount for r in _refunds_of(contract) if r is not besides and r.status in waiting), Decimal(0))


def received_of(contract: Contract) -> Decimal:
    """Confirmed payments − refunds paid, in CNY; a reversed payment and its contra row count nothing."""
    paid_in = sum((p.amount for p in payments_of(contract) if p.status is PaymentStatus.CONFIRMED), Decimal(0))
    paid_out = sum((r.amount for r in _refunds_of(contract) if r.status in {R.PAID, R.CLOSED}), Decimal(0))
    return paid_in - paid_out


def first_paid_on(contract: Contract) -> date | None:
    """The day, in the house's zone, of the first confirmed payment."""
    confirmed = [p.paid_at for p in payments_of(contract) if p.status is PaymentStatus.CONFIRMED]
    return clock.local_day(min(confirmed)) if confirmed else None


def is_settled(contract: Contract, approved_will_do: bool) -> bool:
    """Whether a refund of the contract was paid, or at least approved where that will do."""
    enough = {R.PAID, R.CLOSED} | ({R.APPROVED} if approved_will_do else set())
    return any(r.status in enough for r in _refunds_of(contract))


MONEY.append(received_of)
FIRST_PAID.append(first_paid_on)
SETTLED.append(is_settled)
