"""Service contracts: what was promised at what price, explained clause by clause, signed and performed (SM-7)."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from . import clock
from .base import BranchScoped, Code, Day, Instant, Model, Money, Note, PersonName, Score
from .choices import N_, Choice
from .clients import Client, ClientRelation, LifecycleStage
from .errors import Labels, RuleBroken
from .organisation import Branch
from .services import Package, ServiceItem
from .staff import Staff, acting_staff
from .workflow import after, transition

AREA = N_("Contracts")

COOLING_OFF_DAYS = 7  # Fa Shi (2025) 4, article 14: seven days from the payment
SENT_EXPIRES_DAYS = 30  # SM-7
MINIMUM_DEPOSIT_SHARE = Decimal("0.10")  # of the agreed amount, before a contract takes effect; the house's policy


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


S = ContractStatus


class Contract(BranchScoped, Model):
    """What a house and a client agreed."""

    __icon__ = "file-text"
    __title__ = ("no", "client")
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
    discount_reason: Mapped[Note | None] = mapped_column(info={"derived": True})
    discount_approved_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"derived": True})
    sent_at: Mapped[Instant | None] = mapped_column(info={"derived": True})
    signed_at: Mapped[Instant | None] = mapped_column(info={"derived": True})
    cooling_off_until: Mapped[Day | None] = mapped_column(info={"derived": True})
    termination_reason: Mapped[Note | None] = mapped_column(info={"derived": True})

    branch: Mapped[Branch] = relationship()
    client: Mapped[Client] = relationship()
    package: Mapped[Package | None] = relationship()
    signer_relation: Mapped[ClientRelation | None] = relationship()
    discount_approved_by: Mapped[Staff | None] = relationship()
    items: Mapped[list["ContractItem"]] = relationship(back_populates="contract")
    clauses: Mapped[list["ContractClause"]] = relationship(back_populates="contract")

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

    @property
    def live_clauses(self) -> list["ContractClause"]:
        return [c for c in self.clauses if c.deleted_at is None]

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

    @transition("status", {S.PENDING_APPROVAL}, S.APPROVED, label=N_("Approve"), tone="green")
    def approve(self, *, reason: Note) -> None:
        """Allow the price or the condition, with the reason."""
        self.discount_reason = reason
        self.discount_approved_by = acting_staff(self)

    @transition("status", {S.PENDING_APPROVAL}, S.DRAFT, label=N_("Send back"), tone="amber")
    def return_to_draft(self, *, reason: Note) -> None:
        """Let it be reworked, and say why."""
        self.discount_reason = reason

    @transition("status", {S.DRAFT, S.APPROVED}, S.SENT, label=N_("Send to the client"), tone="blue")
    def send(self) -> None:
        """Hand it to the client: all nine kinds of clause must be in it."""
        if self.status is S.DRAFT and self.needs_approval():
            raise RuleBroken(N_("This price or condition needs the director's approval first: ask for it."))
        missing = [kind for kind in ClauseKind if kind not in {c.kind for c in self.live_clauses}]
        if missing:
            raise RuleBroken(
                N_("The contract has no clause on: %(kinds)s. Write them first."),
                kinds=Labels(k.label for k in missing),
            )
        self.sent_at = clock.now()

    @transition("status", {S.SENT}, S.SIGNED, label=N_("Sign"), tone="green")
    def sign(self, *, signer: PersonName | None = None) -> None:
        """Write down the signature: every key clause was explained and acknowledged."""
        waiting = [c.kind.label for c in self.live_clauses if c.is_key and c.acknowledged_at is None]
        if waiting:
            raise RuleBroken(N_("These key clauses are not acknowledged yet: %(kinds)s."), kinds=Labels(waiting))
        self._check_signer(signer or self.signer)
        self.signer = signer or self.signer
        self.signed_at = clock.now()

    def _check_signer(self, signer: str | None) -> None:
        if not signer:
            raise RuleBroken(N_("Enter who signed."), field="signer")
        relation = self.signer_relation
        if signer != self.client.name and relation is None:
            raise RuleBroken(
                N_("%(signer)s is not the client: choose in which capacity they sign, as agent or guardian."),
                field="signer_relation", signer=signer,
            )  # fmt: skip
        if relation is not None and relation.valid_to is not None and relation.valid_to < clock.today():
            raise RuleBroken(
                N_("The authority of %(signer)s ended on %(day)s."),
                field="signer_relation",
                signer=signer,
                day=relation.valid_to,
            )

    def deposit_needed(self) -> Decimal:
        """What must be paid before it takes effect, in CNY: a tenth of the agreed amount, rounded to fen."""
        return (self.agreed_amount * MINIMUM_DEPOSIT_SHARE).quantize(Decimal("0.01"))

    @transition("status", {S.SIGNED}, S.EFFECTIVE, label=N_("Put into effect"), tone="green")
    def take_effect(self) -> None:
        """The deposit is confirmed; seven days to think it over begin with the first payment."""
        received = self.received()
        if received < self.deposit_needed():
            raise RuleBroken(
                N_("%(received)s are confirmed, %(needed)s are needed before it takes effect."),
                received=received, needed=self.deposit_needed(),
            )  # fmt: skip
        first = self.first_paid_on()
        self.cooling_off_until = first + timedelta(days=COOLING_OFF_DAYS) if first is not None else None

    @transition("status", {S.EFFECTIVE}, S.IN_PERFORMANCE, label=N_("Begin"), tone="green")
    def begin(self) -> None:
        """The stay has started, or the first item was delivered."""

    @transition("status", {S.IN_PERFORMANCE}, S.COMPLETED, label=N_("Complete"), tone="green")
    def complete(self) -> None:
        """Everything promised is delivered or waived, and the balance is nil."""
        open_items = [i for i in self.items if i.deleted_at is None and not i.is_settled()]
        if open_items:
            raise RuleBroken(
                N_("Not delivered yet: %(items)s. Deliver the rest or waive it."),
                items="、".join(i.item.name for i in open_items),
            )
        if self.balance() != 0:
            raise RuleBroken(N_("The balance is %(balance)s: settle it first."), balance=self.balance())

    @transition("status", {S.SENT}, S.EXPIRED, label=N_("Let the offer expire"), by_clock=True)
    def expire(self) -> None:
        """Thirty days after sending."""

    @transition("status", {S.SIGNED, S.EFFECTIVE}, S.CANCELLED, label=N_("Cancel"), tone="red")
    def cancel(self, *, reason: Note) -> None:
        """End it before it began; whatever was paid has been settled."""
        self._require_settled()
        self.termination_reason = reason

    @transition("status", {S.IN_PERFORMANCE}, S.TERMINATED, label=N_("Terminate"), tone="red")
    def terminate(self, *, reason: Note) -> None:
        """End it under way; the settlement has been approved and paid."""
        self._require_settled(approved_will_do=True)
        self.termination_reason = reason

    def _require_settled(self, approved_will_do: bool = False) -> None:
        received = self.received()
        if received <= 0:
            return
        if not self.settlement(approved_will_do):
            raise RuleBroken(
                N_("%(received)s were received: settle them with a refund request first."), received=received
            )

    @transition("status", {S.DRAFT}, S.VOID, label=N_("Void"), tone="red", confirm=N_("Void this draft?"))
    def void(self) -> None:
        """It was never sent and never will be."""

    # -- money: payments.py fills these in, see there ------------------------------------------------

    def received(self) -> Decimal:
        """Confirmed payments less reversals and refunds paid, in CNY."""
        return sum((source(self) for source in MONEY), Decimal(0))

    def balance(self) -> Decimal:
        """What is still owed, in CNY: agreed amount − received."""
        return self.agreed_amount - self.received()

    def first_paid_on(self) -> date | None:
        days = [day for source in FIRST_PAID if (day := source(self)) is not None]
        return min(days, default=None)

    def settlement(self, approved_will_do: bool) -> bool:
        return any(source(self, approved_will_do) for source in SETTLED)


# A later area tells a contract of its money; it is not known here where money is kept.
MONEY: list[Callable[[Contract], Decimal]] = []
FIRST_PAID: list[Callable[[Contract], date | None]] = []
SETTLED: list[Callable[[Contract, bool], bool]] = []


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
    qty_promised: Mapped[Score] = mapped_column(info={"label": N_("Promised")})
    qty_delivered: Mapped[Score] = mapped_column(default=Decimal(0), info={"label": N_("Delivered"), "derived": True})
    included: Mapped[bool] = mapped_column(default=True, info={"label": N_("Included in the price")})
    unit_price: Mapped[Money | None]
    waived_reason: Mapped[Note | None] = mapped_column(info={"derived": True})
    expires_on: Mapped[Day | None]
    status: Mapped[ItemStatus] = mapped_column(default=ItemStatus.OPEN)

    contract: Mapped[Contract] = relationship(back_populates="items")
    item: Mapped[ServiceItem] = relationship()

    @transition("status", {ItemStatus.OPEN}, ItemStatus.OPEN, label=N_("Deliver"), tone="green")
    def deliver(self, *, quantity: Score) -> None:
        """Write down that some of it was done."""
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
        return self.status is not ItemStatus.OPEN or self.qty_delivered >= self.qty_promised


class ClauseStatus(Choice):
    OPEN = "open", N_("To be explained"), "amber"
    ACKNOWLEDGED = "acknowledged", N_("Acknowledged"), "green"


class ContractClause(Model):
    """One clause: explained to the client, and acknowledged where it is a key clause."""

    __icon__ = "file-text"
    __title__ = ("contract", "kind")
    __key__ = ("contract", "kind")
    __part_of__ = "contract"
    __table_args__ = (UniqueConstraint("contract_id", "kind"),)

    contract_id: Mapped[int] = mapped_column(ForeignKey(Contract.id), index=True)
    kind: Mapped[ClauseKind] = mapped_column(info={"label": N_("Kind of clause")})
    text: Mapped[Note] = mapped_column(info={"label": N_("Wording")})
    is_key: Mapped[bool] = mapped_column(default=False, info={"label": N_("Key clause")})
    explained_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"derived": True})
    acknowledged_at: Mapped[Instant | None] = mapped_column(info={"derived": True})
    status: Mapped[ClauseStatus] = mapped_column(default=ClauseStatus.OPEN)

    contract: Mapped[Contract] = relationship(back_populates="clauses")
    explained_by: Mapped[Staff | None] = relationship()

    @transition(
        "status", {ClauseStatus.OPEN}, ClauseStatus.ACKNOWLEDGED, label=N_("Explained and acknowledged"), tone="green"
    )
    def acknowledge(self) -> None:
        """The client was told what it means and acknowledged it."""
        self.explained_by = acting_staff(self)
        self.acknowledged_at = clock.now()


@after(Contract.take_effect)
def mark_reserved(contract: Contract) -> None:
    """Whose contract is in effect has booked."""
    if contract.client.stage in {LifecycleStage.LEAD, LifecycleStage.LOST}:
        contract.client.stage = LifecycleStage.RESERVED


@after(Contract.begin)
def mark_in_house(contract: Contract) -> None:
    contract.client.stage = LifecycleStage.IN_HOUSE


@after(Contract.complete)
def mark_left(contract: Contract) -> None:
    contract.client.stage = LifecycleStage.LEFT


@after(Contract.terminate)
def mark_left_early(contract: Contract) -> None:
    contract.client.stage = LifecycleStage.LEFT


@clock.duty("contract.offer")
def expire_offers(session: Session) -> int:
    """Let offers expire thirty days after they were sent."""
    deadline = clock.now() - timedelta(days=SENT_EXPIRES_DAYS)
    due = session.scalars(select(Contract).where(Contract.status == S.SENT, Contract.sent_at < deadline)).all()
    for contract in due:
        contract.expire()
    return len(due)
