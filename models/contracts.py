"""Service contracts: what was promised at what price, explained clause by clause, signed and performed (SM-7)."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, inspect, select
from sqlalchemy.orm import Mapped, Session, mapped_column, object_session, relationship

from . import clock
from .base import BranchScoped, Code, Day, Instant, Model, Money, Note, PersonName, Score
from .choices import N_, Choice
from .clients import Client, ClientRelation, LifecycleStage, is_typed, typed_changes
from .errors import Label, Labels, RuleBroken
from .flush import changed_fields
from .organisation import Branch
from .services import Package, ServiceItem
from .staff import Staff, acting_staff
from .workflow import after, transition

AREA = N_("Contracts")

COOLING_OFF_DAYS = 7  # Fa Shi (2025) 4, article 14: seven days from the payment
SENT_EXPIRES_DAYS = 30  # SM-7
MINIMUM_DEPOSIT_SHARE = Decimal("0.10")  # of the agreed amount, before a contract takes effect; the house's policy


_FEN = Decimal("0.01")


class ContractKind(Choice):
    POSTPARTUM = "postpartum", N_("Postpartum stay")
    INFANT_CARE = "infant_care", N_("Infant care")
    TRIAL_STAY = "trial_stay", N_("Trial stay")
    EXTENSION = "extension", N_("Extension")
    HOME = "home", N_("Care at home")
    ELDER_RESIDENCE = "elder_residence", N_("Elder residence")
    TREATMENT_COURSE = "treatment_course", N_("Course of treatment")


class ContractStatus(Choice):
    DRAFT = "draft", N_("Draft"), "neutral"
    PENDING_APPROVAL = "pending_approval", N_("Awaiting approval"), "amber"
    APPROVED = "approved", N_("Approved"), "blue"
    SENT = "sent", N_("Sent to the client"), "blue"
    SIGNED = "signed", N_("Signed"), "blue"
    EFFECTIVE = "effective", N_("In effect"), "green"
    IN_PERFORMANCE = "in_performance", N_("Being performed"), "green"
    COMPLETED = "completed", N_("Completed"), "neutral"
    EXPIRED = "expired", N_("Offer expired"), "neutral"
    CANCELLED = "cancelled", N_("Cancelled"), "red"
    TERMINATED = "terminated", N_("Terminated"), "red"
    VOID = "void", N_("Void"), "neutral"


class ClauseKind(Choice):
    SUBJECT = "subject", N_("Subject of the contract")
    TERM = "term", N_("Term of the contract")
    ITEMS = "items", N_("Service items")
    FEES = "fees", N_("Fees")
    RIGHTS_DUTIES = "rights_duties", N_("Rights and duties")
    REFUND_RESCHEDULE = "refund_reschedule", N_("Refund and rescheduling")
    PRIVACY = "privacy", N_("Privacy")
    INCIDENT_LIABILITY = "incident_liability", N_("Liability for incidents")
    DISPUTE = "dispute", N_("Settling disputes")


class Purpose(Choice):
    """What money was paid for; each purpose is counted for itself."""

    PRICE = "price", N_("Contract price")
    DEPOSIT = "deposit", N_("Security deposit")
    EXTRA = "extra", N_("Extra services")


S = ContractStatus

UNSENT = frozenset({S.DRAFT, S.PENDING_APPROVAL, S.APPROVED})


class Contract(BranchScoped, Model):
    """What a house and a client agreed."""

    __icon__ = "file-text"
    __title__ = ("no", "client")
    __owner__ = ("client.primary_contact",)
    __key__ = ("no",)
    __list__ = ("no", "client", "status", "package", "kind", "start_on", "end_on", "agreed_amount", "branch")
    __table_args__ = (
        CheckConstraint("end_on IS NULL OR end_on >= start_on", name="ends_after_it_starts"),
        CheckConstraint("list_amount >= 0 AND agreed_amount >= 0", name="amounts_are_not_negative"),
        CheckConstraint("agreed_amount <= list_amount", name="agreed_amount_at_most_the_list_amount"),
    )

    no: Mapped[Code] = mapped_column(unique=True, info={"label": N_("Contract no."), "serial": "K{n:06d}"})
    client_id: Mapped[int] = mapped_column(ForeignKey(Client.id), index=True)
    package_id: Mapped[int | None] = mapped_column(ForeignKey(Package.id))
    kind: Mapped[ContractKind] = mapped_column(info={"label": N_("Kind of contract")})
    start_on: Mapped[Day]
    end_on: Mapped[Day | None]
    list_amount: Mapped[Money]
    agreed_amount: Mapped[Money] = mapped_column(info={"help": N_("After discount, in CNY")})
    capacity_conditional: Mapped[bool] = mapped_column(
        default=False,
        info={"label": N_("Taken on conditionally"), "help": N_("The assessment allows it with conditions only.")},
    )
    signer: Mapped[PersonName | None] = mapped_column(info={"label": N_("Signed by"), "search": False})
    signer_relation_id: Mapped[int | None] = mapped_column(
        ForeignKey(ClientRelation.id), info={"label": N_("Signed as"), "help": N_("When an agent or guardian signs")}
    )
    status: Mapped[ContractStatus] = mapped_column(default=ContractStatus.DRAFT)
    discount_reason: Mapped[Note | None]
    submitted_by_id: Mapped[int | None] = mapped_column(
        ForeignKey(Staff.id), info={"label": N_("Approval asked by"), "derived": True}
    )
    discount_approved_by_id: Mapped[int | None] = mapped_column(
        ForeignKey(Staff.id), info={"label": N_("Approved by"), "derived": True}
    )
    approval_note: Mapped[Note | None] = mapped_column(info={"label": N_("Reason of the approver"), "derived": True})
    sent_at: Mapped[Instant | None] = mapped_column(info={"derived": True})
    signed_at: Mapped[Instant | None] = mapped_column(info={"derived": True})
    cooling_off_until: Mapped[Day | None] = mapped_column(info={"derived": True})
    termination_reason: Mapped[Note | None] = mapped_column(info={"label": N_("Reason for ending"), "derived": True})
    settled_amount: Mapped[Money | None] = mapped_column(
        info={"help": N_("What the client bears in the end when a contract ends early, in CNY"), "derived": True}
    )

    branch: Mapped[Branch] = relationship()
    client: Mapped[Client] = relationship()
    package: Mapped[Package | None] = relationship()
    signer_relation: Mapped[ClientRelation | None] = relationship()
    submitted_by: Mapped[Staff | None] = relationship(foreign_keys=[submitted_by_id])
    discount_approved_by: Mapped[Staff | None] = relationship(foreign_keys=[discount_approved_by_id])
    items: Mapped[list["ContractItem"]] = relationship(back_populates="contract")
    clauses: Mapped[list["ContractClause"]] = relationship(back_populates="contract")
    payments: Mapped[list["Payment"]] = relationship(back_populates="contract")  # type: ignore[name-defined]  # noqa: F821
    refund_requests: Mapped[list["RefundRequest"]] = relationship(back_populates="contract")  # type: ignore[name-defined]  # noqa: F821

    # -- what may be typed --

    def check(self) -> None:
        if self.agreed_amount is not None and self.list_amount is not None and self.agreed_amount > self.list_amount:
            raise RuleBroken(
                N_("The agreed amount %(agreed)s lies above the list amount %(list)s."),
                field="agreed_amount", agreed=self.agreed_amount, list=self.list_amount,
            )  # fmt: skip
        if self.end_on is not None and self.start_on is not None and self.end_on < self.start_on:
            raise RuleBroken(
                N_("It would end on %(end)s, before it starts on %(start)s."),
                field="end_on",
                end=self.end_on,
                start=self.start_on,
            )

        self._refuse_late_edit()
        refuse_recycling(self, UNSENT | {S.EXPIRED, S.VOID})

    def _refuse_late_edit(self) -> None:
        """What was agreed is typed in a draft alone; who signs, until it is signed."""
        free = {"signer", "signer_relation"} if self.status in UNSENT | {S.SENT} else set()
        for field in typed_changes(self):
            if self.status is not S.DRAFT and field.key not in free:
                raise RuleBroken(
                    N_("“%(record)s” is %(state)s, so “%(what)s” stays as it is: only a draft is edited."),
                    field=field.key, record=str(self), state=self.status, what=Label(field.label),
                )  # fmt: skip

    # -- from draft to the end of the service --

    def needs_approval(self) -> bool:
        """Below the package's floor price, or taken on conditionally."""
        below = self.package is not None and self.agreed_amount < self.package.floor_price
        return below or self.capacity_conditional

    @transition("status", {S.DRAFT}, S.PENDING_APPROVAL, label=N_("Ask for approval"), tone="blue")
    def submit(self) -> None:
        """Ask the director: the price lies below the floor, or the client is taken on conditionally."""
        if not self.needs_approval():
            raise RuleBroken(
                N_("The price holds the floor and nothing is conditional: no approval is needed, send it.")
            )
        self.submitted_by = acting_staff(self)

    @transition("status", {S.PENDING_APPROVAL}, S.APPROVED, label=N_("Approve"), tone="green")
    def approve(self, *, reason: Note) -> None:
        """Allow the price or the condition, with the reason."""
        approver = acting_staff(self)
        if approver is not None and approver.id == self.submitted_by_id:
            raise RuleBroken(
                N_("%(name)s asked for this approval and cannot give it: somebody else approves."), name=approver.name
            )
        self.approval_note = reason
        self.discount_approved_by = approver

    @transition(
        "status", {S.PENDING_APPROVAL, S.APPROVED}, S.DRAFT, label=N_("Send back to draft"), tone="amber"
    )  # fmt: skip
    def return_to_draft(self, *, reason: Note) -> None:
        """Let it be reworked, and say why; an approval given lapses."""
        self.approval_note = reason
        self.discount_approved_by = None

    @transition("status", {S.DRAFT, S.APPROVED}, S.SENT, label=N_("Send to the client"), tone="blue")
    def send(self) -> None:
        """Hand it to the client: all nine kinds of clause must be in it."""
        if self.status is S.DRAFT:
            self._refuse_unapproved()
        written = {clause.kind for clause in self.every("clauses")}
        missing = [kind.label for kind in ClauseKind if kind not in written]
        if missing:
            raise RuleBroken(
                N_("The contract has no clause on: %(kinds)s. Write them first."),
                field="clauses",
                kinds=Labels(missing),
            )
        self.sent_at = clock.now()

    def _refuse_unapproved(self) -> None:
        if self.package is not None and self.agreed_amount < self.package.floor_price:
            raise RuleBroken(
                N_("The agreed amount %(agreed)s lies below the floor price %(floor)s of “%(package)s”: ask for approval."),
                field="agreed_amount", agreed=self.agreed_amount, floor=self.package.floor_price, package=self.package,
            )  # fmt: skip
        if self.capacity_conditional:
            raise RuleBroken(
                N_("The client is taken on conditionally: ask for approval before sending."),
                field="capacity_conditional",
            )

    @transition("status", {S.SENT}, S.SIGNED, label=N_("Sign"), tone="green")
    def sign(self, *, signer: PersonName | None = None, signer_relation: ClientRelation | None = None) -> None:
        """Write down the signature: every key clause was explained and acknowledged."""
        waiting = [c.kind.label for c in self.every("clauses") if c.is_key and c.acknowledged_at is None]
        if waiting:
            raise RuleBroken(N_("These key clauses are not acknowledged yet: %(kinds)s."), kinds=Labels(waiting))
        relation = signer_relation or self.signer_relation
        name = signer or self.signer or (relation.person_name if relation is not None else None)
        self._check_signer(name, relation)
        self.signer, self.signer_relation = name, relation
        self.signed_at = clock.now()

    def _check_signer(self, signer: str | None, relation: ClientRelation | None) -> None:
        if not signer:
            raise RuleBroken(N_("Enter who signed."), field="signer")
        if relation is not None:
            relation.require_authority(self.client)
            if signer != relation.person_name:
                raise RuleBroken(
                    N_("%(signer)s is not %(name)s, who was chosen under “Signed as”: correct one of them."),
                    field="signer", signer=signer, name=relation.person_name,
                )  # fmt: skip
        elif signer != self.client.name:
            raise RuleBroken(
                N_("%(signer)s is not the client: choose in which capacity they sign, as agent or guardian."),
                field="signer_relation", signer=signer,
            )  # fmt: skip
        elif self.client.is_minor(clock.today()):
            raise RuleBroken(
                N_("%(name)s is under age: a parent or guardian signs. Choose them under “Signed as”."),
                field="signer_relation", name=signer,
            )  # fmt: skip

    def deposit_needed(self) -> Decimal:
        """What must be paid before it takes effect, in CNY: agreed amount × MINIMUM_DEPOSIT_SHARE, rounded to fen."""
        return (self.agreed_amount * MINIMUM_DEPOSIT_SHARE).quantize(_FEN)

    @transition("status", {S.SIGNED}, S.EFFECTIVE, label=N_("Put into effect"), tone="green")
    def take_effect(self) -> None:
        """The deposit is confirmed; seven days to think it over begin with the first payment."""
        if self.paid() < self.deposit_needed():
            raise RuleBroken(
                N_("%(received)s are confirmed, %(needed)s are needed before it takes effect."),
                received=self.paid(), needed=self.deposit_needed(),
            )  # fmt: skip
        first = self.first_paid_on()
        self.cooling_off_until = first + timedelta(days=COOLING_OFF_DAYS) if first is not None else None

    @transition("status", {S.EFFECTIVE}, S.IN_PERFORMANCE, label=N_("Begin"), tone="green")
    def begin(self) -> None:
        """The stay has started, or the first item was delivered."""

    @transition("status", {S.IN_PERFORMANCE}, S.COMPLETED, label=N_("Complete"), tone="green")
    def complete(self) -> None:
        """Everything promised is delivered or waived, and the balance is nil."""
        short = [item for item in self.every("items") if not item.is_settled()]
        if short:
            raise RuleBroken(
                N_("Not delivered yet: %(items)s. Deliver the rest or waive it."),
                field="items", items="、".join(item.progress for item in short),
            )  # fmt: skip
        if self.balance() != 0:
            raise RuleBroken(N_("The balance is %(balance)s: settle it first."), balance=self.balance())

    @transition("status", {S.SENT}, S.EXPIRED, label=N_("Let the offer expire"), by_clock=True)
    def expire(self) -> None:
        """Thirty days after sending."""

    @transition("status", {S.SIGNED, S.EFFECTIVE}, S.CANCELLED, label=N_("Cancel the contract"), tone="red")
    def cancel(self, *, reason: Note) -> None:
        """End it before it began; whatever was paid has been settled."""
        received = self.received()
        if received > 0 and not any(r.ends_contract and r.is_paid for r in self.every("refund_requests")):
            raise RuleBroken(
                N_("%(received)s were received: settle them with a refund request, and have it paid, first."),
                received=received,
            )
        self._settle(reason)

    @transition("status", {S.IN_PERFORMANCE}, S.TERMINATED, label=N_("Terminate the contract"), tone="red")
    def terminate(self, *, reason: Note) -> None:
        """End it under way; its settlement has been approved."""
        if not any(r.ends_contract and r.is_granted for r in self.every("refund_requests")):
            raise RuleBroken(
                N_(
                    "The settlement is not approved yet: enter a refund request, of 0 when nothing goes back, and have it approved."
                )
            )
        self._settle(reason)

    def _settle(self, reason: str) -> None:
        going_back = (r.amount for r in self.every("refund_requests") if r.is_granted and r.refund_of is Purpose.PRICE)
        self.settled_amount = self.paid() - sum(going_back, Decimal(0))
        self.termination_reason = reason

    @transition("status", {S.DRAFT}, S.VOID, label=N_("Void"), tone="red", confirm=N_("Void this draft?"))
    def void(self) -> None:
        """It was never sent and never will be."""

    # -- its money, kept by payments.py --

    def paid(self, purpose: Purpose = Purpose.PRICE) -> Decimal:
        """Confirmed payments for *purpose*, in CNY; a reversed payment and its contra row count nothing."""
        return sum((p.amount for p in self.every("payments") if p.counts and p.purpose is purpose), Decimal(0))

    def refunded(self, purpose: Purpose = Purpose.PRICE) -> Decimal:
        """Refunds of *purpose* that were paid out, in CNY."""
        return sum(
            (r.amount for r in self.every("refund_requests") if r.is_paid and r.refund_of is purpose), Decimal(0)
        )

    def received(self, purpose: Purpose = Purpose.PRICE) -> Decimal:
        """What the house has of the client's money, in CNY: paid − refunded."""
        return self.paid(purpose) - self.refunded(purpose)

    def balance(self) -> Decimal:
        """What the client still owes of the price, in CNY; below zero the house owes it.

        Balance = amount due − confirmed payments + refunds paid. The amount due is the agreed amount, and for
        a contract that ended early its settled amount = payments confirmed then − refunds granted then.
        Security deposits and extra services are no part of the price.
        """
        due = self.agreed_amount if self.settled_amount is None else self.settled_amount
        return due - self.received()

    def first_paid_on(self) -> date | None:
        """The day, in the house's zone, of the first confirmed payment towards the price."""
        paid = (p.paid_at for p in self.every("payments") if p.counts and p.purpose is Purpose.PRICE)
        first = min(paid, default=None)
        return clock.local_day(first) if first is not None else None

    def every(self, part: str) -> list[Any]:
        """All parts of one kind, written or about to be, whether the person at work may see them or not.

        A sum or a guard over some of them would be wrong.
        """
        session = object_session(self)
        if session is None:
            return [one for one in getattr(self, part) if one.deleted_at is None]
        model: Any = inspect(Contract).relationships[part].mapper.class_
        of_this = select(model).where(model.contract_id == self.id).order_by(model.id)
        with session.no_autoflush:
            kept = session.scalars(of_this.execution_options(unscoped="a contract counts all its parts")).all()
        coming = [o for o in session.new if isinstance(o, model) and (o.contract is self or o.contract_id == self.id)]
        return [one for one in (*kept, *coming) if one.deleted_at is None]


def refuse_recycling(record: Any, states: frozenset[Choice]) -> None:
    """Only in *states* may a record be thrown away: from then on others build on it."""
    if record.deleted_at is None or record.status in states or not is_typed(record):
        return
    if any(f.attr == "deleted_at" for f in changed_fields(record)):
        raise RuleBroken(
            N_("“%(record)s” is %(state)s and stays on file: it is not moved to the recycle bin."),
            record=str(record), state=record.status,
        )  # fmt: skip


def _is_reworked(part: Any) -> bool:
    """Whether a person adds, edits or takes out a part of a contract that stays."""
    if not is_typed(part) or part.contract.status is None:  # the contract is as new as its part
        return False
    taken_out = part.deleted_at is not None and part.contract.deleted_at is None
    return taken_out or not inspect(part).persistent or bool(typed_changes(part))


class ItemStatus(Choice):
    OPEN = "open", N_("To be delivered"), "blue"
    WAIVED = "waived", N_("Waived"), "neutral"


class ContractItem(Model):
    """How much of a service item the contract promises, and how much was delivered."""

    __icon__ = "columns-3"
    __title__ = ("contract", "item")
    __key__ = ("contract", "item")
    __part_of__ = "contract"
    __table_args__ = (
        UniqueConstraint("contract_id", "item_id"),
        CheckConstraint("qty_promised >= 0", name="promised_quantity_not_negative"),
        CheckConstraint("qty_delivered >= 0", name="delivered_quantity_not_negative"),
    )

    contract_id: Mapped[int] = mapped_column(ForeignKey(Contract.id), index=True)
    item_id: Mapped[int] = mapped_column(ForeignKey(ServiceItem.id))
    qty_promised: Mapped[Score] = mapped_column(info={"label": N_("Promised quantity")})
    qty_delivered: Mapped[Score] = mapped_column(
        default=Decimal(0), info={"label": N_("Delivered quantity"), "derived": True}
    )
    included: Mapped[bool] = mapped_column(default=True, info={"label": N_("Included in the price")})
    unit_price: Mapped[Money | None]
    waived_reason: Mapped[Note | None] = mapped_column(info={"derived": True})
    expires_on: Mapped[Day | None]
    status: Mapped[ItemStatus] = mapped_column(default=ItemStatus.OPEN)

    contract: Mapped[Contract] = relationship(back_populates="items")
    item: Mapped[ServiceItem] = relationship()

    def check(self) -> None:
        if _is_reworked(self) and self.contract.status is not S.DRAFT:
            raise RuleBroken(
                N_("“%(record)s” is %(state)s, so its items stay as they are: only a draft is edited."),
                record=str(self.contract), state=self.contract.status,
            )  # fmt: skip

    @transition("status", {ItemStatus.OPEN}, ItemStatus.OPEN, label=N_("Deliver"), tone="green")
    def deliver(self, *, quantity: Score) -> None:
        """Write down that some of it was done."""
        contract = self.contract
        if contract.status is not S.IN_PERFORMANCE:
            raise RuleBroken(
                N_("“%(record)s” is %(state)s: begin it before anything is delivered."),
                record=str(contract), state=contract.status,
            )  # fmt: skip
        if quantity <= 0 or self.qty_delivered + quantity > self.qty_promised:
            raise RuleBroken(
                N_("%(done)s of %(promised)s are delivered: at most %(rest)s more fit."), field="quantity",
                done=self.qty_delivered, promised=self.qty_promised, rest=self.qty_promised - self.qty_delivered,
            )  # fmt: skip
        self.qty_delivered += quantity

    @transition("status", {ItemStatus.OPEN}, ItemStatus.WAIVED, label=N_("Waive the rest"), tone="amber")
    def waive(self, *, reason: Note) -> None:
        """The client does without the rest."""
        self.waived_reason = reason

    def is_settled(self) -> bool:
        """Whether nothing of it is owed: delivered, waived, or not included in the price."""
        is_open = self.included and self.status is ItemStatus.OPEN
        return not is_open or self.qty_delivered >= self.qty_promised

    @property
    def progress(self) -> str:
        """Its name with what was delivered of what was promised: “产康 9/12”."""
        return f"{self.item.name} {self.qty_delivered.normalize():f}/{self.qty_promised.normalize():f}"


class ClauseStatus(Choice):
    OPEN = "open", N_("To be explained"), "amber"
    ACKNOWLEDGED = "acknowledged", N_("Acknowledged by the client"), "green"


class ContractClause(Model):
    """One clause: explained to the client, and acknowledged where it is a key clause."""

    __icon__ = "file-text"
    __title__ = ("contract", "kind")
    __key__ = ("contract", "kind")
    __part_of__ = "contract"
    __table_args__ = (UniqueConstraint("contract_id", "kind"),)

    contract_id: Mapped[int] = mapped_column(ForeignKey(Contract.id), index=True)
    kind: Mapped[ClauseKind] = mapped_column(info={"label": N_("Kind of clause")})
    text: Mapped[Note] = mapped_column(info={"label": N_("Text of the clause")})
    is_key: Mapped[bool] = mapped_column(
        default=True,
        info={"label": N_("Key clause"), "help": N_("Must be explained and acknowledged before signing")},
    )
    explained_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"derived": True})
    acknowledged_at: Mapped[Instant | None] = mapped_column(
        info={"label": N_("Time of acknowledgement"), "derived": True}
    )
    status: Mapped[ClauseStatus] = mapped_column(default=ClauseStatus.OPEN)

    contract: Mapped[Contract] = relationship(back_populates="clauses")
    explained_by: Mapped[Staff | None] = relationship()

    def check(self) -> None:
        if not _is_reworked(self):
            return
        if self.contract.status not in UNSENT:
            raise RuleBroken(
                N_("“%(record)s” is %(state)s, so its clauses stay as they are."),
                record=str(self.contract), state=self.contract.status,
            )  # fmt: skip
        if self.status is ClauseStatus.ACKNOWLEDGED:
            raise RuleBroken(
                N_("The client acknowledged the clause “%(kind)s”, so its wording stays as it is."), kind=self.kind
            )

    @transition(
        "status", {ClauseStatus.OPEN}, ClauseStatus.ACKNOWLEDGED, label=N_("Explained and acknowledged"), tone="green"
    )
    def acknowledge(self) -> None:
        """The client was told what it means and acknowledged it."""
        contract = self.contract
        if contract.status not in UNSENT | {S.SENT}:
            raise RuleBroken(
                N_("“%(record)s” is %(state)s: clauses are acknowledged before it is signed."),
                record=str(contract), state=contract.status,
            )  # fmt: skip
        self.explained_by = acting_staff(self)
        self.acknowledged_at = clock.now()


@after(Contract.take_effect)
@after(Contract.begin)
@after(Contract.complete)
@after(Contract.cancel)
@after(Contract.terminate)
def move_client_on(contract: Contract) -> None:
    """The stage of a client follows from all their contracts: the one furthest on counts."""
    session = object_session(contract)
    if session is None:
        return
    unscoped = {"unscoped": "the stage follows from all contracts"}
    client = session.get_one(Client, contract.client_id, execution_options=unscoped)
    rows = select(Contract.status).where(Contract.client_id == client.id, Contract.deleted_at.is_(None))
    states = set(session.scalars(rows.execution_options(**unscoped)))
    reached = next((stage for stage, needed in _STAGES if needed & states), None)
    if reached is not None:
        client.stage = reached
    elif client.stage in {LifecycleStage.RESERVED, LifecycleStage.IN_HOUSE}:
        client.stage = LifecycleStage.LEAD


_STAGES = (
    (LifecycleStage.IN_HOUSE, {S.IN_PERFORMANCE}),
    (LifecycleStage.RESERVED, {S.EFFECTIVE}),
    (LifecycleStage.LEFT, {S.COMPLETED, S.TERMINATED}),
)


@clock.duty("contract.offer")
def expire_offers(session: Session) -> int:
    """Let offers expire thirty days after they were sent."""
    deadline = clock.now() - timedelta(days=SENT_EXPIRES_DAYS)
    due = session.scalars(select(Contract).where(Contract.status == S.SENT, Contract.sent_at < deadline)).all()
    for contract in due:
        contract.expire()
    return len(due)
