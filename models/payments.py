"""Money received and given back: payments are never edited, only reversed; a refund passes three people (SM-9)."""

from datetime import timedelta
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, inspect
from sqlalchemy.orm import Mapped, mapped_column, object_session, relationship

from . import clock
from .base import Code, Day, Instant, Model, Money, Name, Note
from .choices import N_, Choice
from .clients import is_typed, typed_changes
from .contracts import Contract, ContractStatus, Purpose, refuse_recycling
from .errors import Label, RuleBroken
from .staff import Staff, acting_staff
from .workflow import transition

AREA = N_("Contracts")

EARNEST_SHARE = Decimal("0.20")  # Civil Code, article 586: what exceeds it has no effect as earnest money
GROUP_APPROVAL_ABOVE = Decimal(20_000)  # SM-9: a larger refund needs the owner
REFUND_DAYS = 15  # from the client's request. Source: SM-9, after the Beijing rule on prepaid cards
COOLING_OFF_REFUND_DAYS = 5  # the same rule, within the days to think it over

# Nothing is paid before the client was sent the contract, nor after it came to nothing.
_UNPAYABLE = frozenset({
    ContractStatus.DRAFT, ContractStatus.PENDING_APPROVAL, ContractStatus.APPROVED,
    ContractStatus.EXPIRED, ContractStatus.CANCELLED, ContractStatus.VOID,
})  # fmt: skip


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

    contract: Mapped[Contract] = relationship(back_populates="payments")
    received_by: Mapped[Staff | None] = relationship(foreign_keys=[received_by_id])
    confirmed_by: Mapped[Staff | None] = relationship(foreign_keys=[confirmed_by_id])
    reversal_of: Mapped["Payment | None"] = relationship(remote_side="Payment.id")

    @property
    def purpose(self) -> Purpose:
        """What it is counted for: earnest money, advance and balance payment are all of the price."""
        return _PURPOSES.get(self.kind, Purpose.PRICE)

    @property
    def counts(self) -> bool:
        """Whether the house has the money: confirmed and not reversed."""
        return self.status is PaymentStatus.CONFIRMED

    def derive(self) -> None:
        if self.received_by_id is None and self.received_by is None and not inspect(self).persistent:
            self.received_by = acting_staff(self)

    def check(self) -> None:
        if typed_changes(self):
            raise RuleBroken(
                N_("A payment is not edited: reverse it, or move it to the recycle bin while it awaits confirmation.")
            )
        refuse_recycling(self, frozenset({PaymentStatus.PENDING}))
        if inspect(self).persistent or self.reversal_of_id is not None or self.reversal_of is not None:
            return
        if self.amount <= 0:
            raise RuleBroken(
                N_("A payment of %(amount)s is none: enter what was received."), field="amount", amount=self.amount
            )
        if self.paid_at is not None and self.paid_at > clock.now():
            raise RuleBroken(
                N_("The time of payment %(at)s lies ahead: enter it once the money is there."),
                field="paid_at", at=self.paid_at,
            )  # fmt: skip
        self._check_contract(self.contract)

    def _check_contract(self, contract: Contract) -> None:
        state = contract.status or ContractStatus.DRAFT  # a new one has no state yet
        if state in _UNPAYABLE and is_typed(self):
            raise RuleBroken(
                N_("“%(record)s” is %(state)s: payments are taken for a contract that was sent and not dropped."),
                field="contract", record=str(contract), state=state,
            )  # fmt: skip
        if self.kind is PaymentKind.EARNEST_MONEY:
            self._check_earnest(contract)

    def _check_earnest(self, contract: Contract) -> None:
        """All earnest money of a contract together, so that two payments do not exceed what one may not."""
        limit = (contract.agreed_amount * EARNEST_SHARE).quantize(Decimal("0.01"))
        before = (p.amount for p in contract.every("payments") if p is not self and p.kind is PaymentKind.EARNEST_MONEY)
        total = self.amount + sum(before, Decimal(0))
        if total > limit:
            raise RuleBroken(
                N_(
                    "Earnest money of %(amount)s exceeds 20 %% of %(agreed)s, which is %(limit)s: take the rest as an advance payment."
                ),
                field="amount", amount=total, agreed=contract.agreed_amount, limit=limit,
            )  # fmt: skip

    @transition("status", {PaymentStatus.PENDING}, PaymentStatus.CONFIRMED, label=N_("Confirm receipt"), tone="green")
    def confirm(self) -> None:
        """Finance saw the money; whoever took it does not confirm it."""
        actor = acting_staff(self)
        if actor is not None and actor.id == self.received_by_id:
            raise RuleBroken(
                N_("%(name)s took this payment and cannot confirm it too: ask a colleague."), name=actor.name
            )
        self.confirmed_by = actor

    @transition("status", {PaymentStatus.CONFIRMED}, PaymentStatus.REVERSED, label=N_("Reverse"), tone="red")
    def reverse(self, *, reason: Note) -> None:
        """Take it back by a row of the opposite amount; whoever confirmed it does not reverse it."""
        actor = acting_staff(self)
        if actor is not None and actor.id == self.confirmed_by_id:
            raise RuleBroken(
                N_("%(name)s confirmed this payment and cannot reverse it too: ask the director."), name=actor.name
            )
        contract = self.contract
        left, promised = contract.paid(self.purpose) - self.amount, _promised_back(contract, self.purpose)
        if left < promised:
            raise RuleBroken(
                N_("%(promised)s were refunded or are about to be; without this payment only %(left)s remain: withdraw the"
                   " refund request first."),
                promised=promised, left=left,
            )  # fmt: skip
        self.reversal_reason = reason
        self._add_contra_row(actor)

    def _add_contra_row(self, actor: Staff | None) -> None:
        session = object_session(self)
        assert session is not None, f"{self!r} is in no session"
        session.add(
            Payment(
                contract=self.contract, kind=self.kind, amount=-self.amount, method=self.method, paid_at=clock.now(),
                reversal_of=self, reversal_reason=self.reversal_reason, status=PaymentStatus.REVERSED,
                received_by=actor,
            )
        )  # fmt: skip


_PURPOSES = {
    PaymentKind.SECURITY_DEPOSIT: Purpose.DEPOSIT,
    PaymentKind.EXTRA: Purpose.EXTRA,
    PaymentKind.MEMBERSHIP_TOPUP: Purpose.EXTRA,
}


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

_OPEN = frozenset({R.DRAFT, R.RETURNED})
_GRANTED = frozenset({R.APPROVED, R.PAID, R.CLOSED})
_PAID = frozenset({R.PAID, R.CLOSED})


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
    refund_of: Mapped[Purpose] = mapped_column(default=Purpose.PRICE, info={"label": N_("Refund of")})
    ends_contract: Mapped[bool] = mapped_column(
        default=True, info={"help": N_("It settles the contract, which may then be cancelled or terminated")}
    )
    requested_at: Mapped[Instant] = mapped_column(default=clock.now)
    due_on: Mapped[Day] = mapped_column(info={"label": N_("Pay by"), "derived": True})
    amount: Mapped[Money]
    explanation: Mapped[Note | None]
    status: Mapped[RefundStatus] = mapped_column(default=RefundStatus.DRAFT)
    submitted_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"derived": True})
    checked_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"derived": True})
    approved_by_id: Mapped[int | None] = mapped_column(
        ForeignKey(Staff.id), info={"label": N_("Approved by"), "derived": True}
    )
    return_reason: Mapped[Note | None] = mapped_column(info={"label": N_("Reason for sending back"), "derived": True})
    paid_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"derived": True})
    paid_at: Mapped[Instant | None] = mapped_column(info={"label": N_("Paid out at"), "derived": True})
    paid_ref: Mapped[Name | None] = mapped_column(
        info={"derived": True, "label": N_("Payment reference"), "search": False}
    )

    contract: Mapped[Contract] = relationship(back_populates="refund_requests")
    submitted_by: Mapped[Staff | None] = relationship(foreign_keys=[submitted_by_id])
    checked_by: Mapped[Staff | None] = relationship(foreign_keys=[checked_by_id])
    approved_by: Mapped[Staff | None] = relationship(foreign_keys=[approved_by_id])
    paid_by: Mapped[Staff | None] = relationship(foreign_keys=[paid_by_id])

    @property
    def is_granted(self) -> bool:
        return self.status in _GRANTED

    @property
    def is_paid(self) -> bool:
        return self.status in _PAID

    def derive(self) -> None:
        """Due 15 days after the client asked, 5 within the days to think it over; only the price ends a contract."""
        days = COOLING_OFF_REFUND_DAYS if self.cause is RefundCause.CLIENT_COOLING_OFF else REFUND_DAYS
        self.requested_at = self.requested_at or clock.now()
        self.due_on = clock.local_day(self.requested_at) + timedelta(days=days)
        if self.refund_of is not Purpose.PRICE:
            self.ends_contract = False

    def check(self) -> None:
        self._refuse_late_edit()
        refuse_recycling(self, _OPEN | {R.WITHDRAWN})
        if self.amount < 0:
            raise RuleBroken(N_("A refund of %(amount)s is none."), field="amount", amount=self.amount)
        if self.status not in _PAID | {R.WITHDRAWN}:
            self._check_amount()

    def _refuse_late_edit(self) -> None:
        changed = typed_changes(self)
        if changed and self.status not in _OPEN:
            raise RuleBroken(
                N_("“%(record)s” is %(state)s, so “%(what)s” stays as it is: have it sent back first."),
                field=changed[0].key, record=str(self), state=self.status, what=Label(changed[0].label),
            )  # fmt: skip

    def _check_amount(self) -> None:
        """All refunds of a contract together never exceed its confirmed payments, each purpose for itself."""
        contract, purpose = self.contract, self.refund_of
        left = contract.paid(purpose) - _promised_back(contract, purpose, besides=self)
        if self.amount > left:
            raise RuleBroken(
                N_("%(amount)s would go back, but only %(left)s of what was confirmed are left."),
                field="amount", amount=self.amount, left=left,
            )  # fmt: skip

    def _other_than(self, before_id: int | None) -> Staff | None:
        actor = acting_staff(self)
        if actor is not None and actor.id == before_id:
            raise RuleBroken(
                N_("%(name)s took the step before and cannot take this one too: ask a colleague."), name=actor.name
            )
        return actor

    @transition("status", {R.DRAFT, R.RETURNED}, R.SUBMITTED, label=N_("Hand in"), tone="blue")
    def submit(self) -> None:
        """Hand it to finance."""
        self.submitted_by = acting_staff(self)

    @transition("status", {R.SUBMITTED}, R.FN_CHECKED, label=N_("Check the amount"), tone="blue")
    def check_by_finance(self) -> None:
        """Finance found the amount right."""
        self.checked_by = self._other_than(self.submitted_by_id)

    @transition("status", {R.FN_CHECKED}, R.APPROVED, label=N_("Approve"), tone="green")
    def approve(self) -> None:
        """The director allows it, up to the limit for directors."""
        if self.amount > GROUP_APPROVAL_ABOVE:
            raise RuleBroken(
                N_("%(amount)s exceeds the director's limit of %(limit)s: the owner approves it for the group."),
                field="amount", amount=self.amount, limit=GROUP_APPROVAL_ABOVE,
            )  # fmt: skip
        self.approved_by = self._other_than(self.checked_by_id)

    @transition("status", {R.FN_CHECKED}, R.APPROVED, label=N_("Approve for the group"), tone="green")
    def approve_for_group(self) -> None:
        """The owner allows it, whatever the amount."""
        self.approved_by = self._other_than(self.checked_by_id)

    @transition("status", {R.APPROVED}, R.PAID, label=N_("Pay out"), tone="green")
    def pay(self, *, reference: Name) -> None:
        """Finance paid it; the reference is the bank's."""
        self.paid_by = self._other_than(self.approved_by_id)
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


def _promised_back(contract: Contract, purpose: Purpose, besides: RefundRequest | None = None) -> Decimal:
    """Refunds handed in, granted or paid, in CNY; drafts and those sent back or withdrawn promise nothing."""
    idle = _OPEN | {R.WITHDRAWN}
    refunds = (r for r in contract.every("refund_requests") if r is not besides and r.status not in idle)
    return sum((r.amount for r in refunds if r.refund_of is purpose), Decimal(0))
