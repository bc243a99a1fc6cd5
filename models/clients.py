"""Clients: who they are, who belongs to them, what they must not be given, and what they agreed to."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, inspect, select
from sqlalchemy.orm import Mapped, Session, mapped_column, object_session, relationship

from . import clock, values
from .base import BranchScoped, Code, Count, Day, IdNumber, Instant, Model, Name, Note, PersonName, Phone, Title
from .choices import N_, Choice
from .errors import Label, RuleBroken
from .fields import Field
from .flush import changed_fields
from .organisation import Branch
from .staff import Sex, Staff, acting_staff
from .workflow import ruled, transition

AREA = N_("Clients")

PRETERM_WEEKS = 37  # standards 3.8: preterm is below 37+0
LOW_APGAR = 7  # standards 3.7: repeated while below it
FULL_AGE = 18  # Civil Code, article 17


def is_typed(record: Model) -> bool:
    """Whether a person types the change under way, rather than a rule, an undo or the loading of a house's past."""
    session = object_session(record)
    return session is None or not (ruled(session) or session.info.get("restoring"))


def typed_changes(record: Model) -> list[Field]:
    """What a person is changing in a record that is kept already; empty for a new one and when a rule writes."""
    if not inspect(record).persistent or not is_typed(record):
        return []
    return [f for f in changed_fields(record) if not f.system]


class ClientLine(Choice):
    POSTPARTUM = "postpartum", N_("Postpartum care"), "green"
    ELDER = "elder", N_("Elder care"), "blue"
    AESTHETIC = "aesthetic", N_("Aesthetic medicine"), "amber"


class LifecycleStage(Choice):
    """How far a client has come; contracts and stays move it."""

    LEAD = "lead", N_("Interested"), "blue"
    RESERVED = "reserved", N_("Booked"), "amber"
    IN_HOUSE = "in_house", N_("In the house"), "green"
    LEFT = "left", N_("Has left"), "neutral"
    LOST = "lost", N_("Lost"), "red"


class IdType(Choice):
    RESIDENT_ID = "resident_id", N_("Resident identity card")
    PASSPORT = "passport", N_("Passport")
    TRAVEL_PERMIT = "travel_permit", N_("Mainland travel permit")
    OTHER = "other", N_("Other document")


class Client(BranchScoped, Model):
    """Somebody a house cares for, or may come to."""

    __icon__ = "users"
    __title__ = ("name",)
    __key__ = ("file_no",)
    __owner__ = ("primary_contact",)
    __list__ = ("name", "file_no", "stage", "line", "phone", "due_date", "primary_contact", "branch")
    __table_args__ = (
        UniqueConstraint("id_type", "id_number"),
        CheckConstraint("referred_by_id IS NULL OR referred_by_id <> id", name="nobody_refers_themselves"),
        CheckConstraint("is_deceased = (deceased_on IS NOT NULL)", name="the_deceased_have_a_day_of_death"),
        CheckConstraint("deceased_on >= birth_date", name="death_comes_after_birth"),
    )

    file_no: Mapped[Code] = mapped_column(unique=True, info={"label": N_("Client no."), "serial": "C{n:06d}"})
    line: Mapped[ClientLine] = mapped_column(info={"label": N_("Line of business")})
    name: Mapped[PersonName]
    sex: Mapped[Sex | None]
    birth_date: Mapped[Day | None]
    id_type: Mapped[IdType] = mapped_column(default=IdType.RESIDENT_ID, info={"label": N_("Kind of document")})
    id_number: Mapped[IdNumber | None] = mapped_column(info={"label": N_("Identity number")})
    phone: Mapped[Phone | None]
    wechat: Mapped[Code | None] = mapped_column(info={"label": N_("WeChat"), "secrecy": "contact"})
    stage: Mapped[LifecycleStage] = mapped_column(default=LifecycleStage.LEAD, info={"derived": True})
    primary_contact_id: Mapped[int | None] = mapped_column(
        ForeignKey(Staff.id), index=True, info={"label": N_("Primary contact")}
    )
    source: Mapped[Name | None] = mapped_column(info={"label": N_("Source channel"), "search": False})
    referred_by_id: Mapped[int | None] = mapped_column(ForeignKey("client.id"), info={"label": N_("Referred by")})
    due_date: Mapped[Day | None] = mapped_column(info={"label": N_("Expected date of delivery")})
    occupation: Mapped[Name | None] = mapped_column(info={"search": False})
    ethnicity: Mapped[Name | None] = mapped_column(info={"search": False})
    religion: Mapped[Name | None] = mapped_column(info={"secrecy": "religion", "search": False})
    care_note: Mapped[Note | None] = mapped_column(info={"secrecy": "health"})
    marketing_opt_in: Mapped[bool] = mapped_column(default=False, info={"label": N_("Agrees to marketing")})
    is_deceased: Mapped[bool] = mapped_column(default=False, info={"label": N_("Deceased")})
    deceased_on: Mapped[Day | None] = mapped_column(info={"label": N_("Day of death")})

    branch: Mapped[Branch] = relationship()
    primary_contact: Mapped[Staff | None] = relationship()
    referred_by: Mapped["Client | None"] = relationship(remote_side="Client.id")
    relations: Mapped[list["ClientRelation"]] = relationship(back_populates="client")
    newborns: Mapped[list["Newborn"]] = relationship(back_populates="mother")
    allergies: Mapped[list["Allergy"]] = relationship(back_populates="client")
    consents: Mapped[list["Consent"]] = relationship(back_populates="client")

    def derive(self) -> None:
        """Birth date and sex follow from a resident identity number when nobody gave them; marketing ends with death."""
        number = self._resident_number()
        if number is not None:
            self.birth_date = self.birth_date or values.resident_birth_date(number)
            self.sex = self.sex or _sex_in(number)
        if self.is_deceased:
            self.marketing_opt_in = False

    def _resident_number(self) -> str | None:
        number = self.id_number
        is_resident = self.id_type in {None, IdType.RESIDENT_ID}
        return number if number and is_resident and values.resident_id_problem(number) is None else None

    def check(self) -> None:
        self._check_id_number()
        self._check_days()
        self._check_referral()

    def _check_days(self) -> None:
        born, died = self.birth_date, self.deceased_on
        if born is not None and born > clock.today():
            raise RuleBroken(N_("The birth date %(day)s lies ahead."), field="birth_date", day=born)
        if self.is_deceased and died is None:
            raise RuleBroken(
                N_("%(name)s is marked as deceased: enter the day of death."), field="deceased_on", name=self.name
            )
        if died is None:
            return
        if not self.is_deceased:
            raise RuleBroken(
                N_("%(name)s has a day of death: tick “Deceased” too, or take the day out."),
                field="is_deceased",
                name=self.name,
            )
        if died > clock.today():
            raise RuleBroken(N_("The day of death %(day)s lies ahead."), field="deceased_on", day=died)
        if born is not None and died < born:
            raise RuleBroken(
                N_("The day of death %(day)s comes before the birth date %(born)s: correct one of them."),
                field="deceased_on", day=died, born=born,
            )  # fmt: skip

    def _check_id_number(self) -> None:
        if not self.id_number or self.id_type not in {None, IdType.RESIDENT_ID}:
            return
        problem = values.resident_id_problem(self.id_number)
        if problem is not None:
            raise RuleBroken(problem, field="id_number", value=values.mask_id(self.id_number))
        born = values.resident_birth_date(self.id_number)
        if self.birth_date is not None and self.birth_date != born:
            raise RuleBroken(
                N_("The birth date %(day)s differs from the one in the identity number: correct one of them."),
                field="birth_date", day=self.birth_date,
            )  # fmt: skip
        if self.sex is not None and self.sex is not _sex_in(self.id_number):
            raise RuleBroken(
                N_("The sex “%(sex)s” differs from the one in the identity number: correct one of them."),
                field="sex", sex=self.sex,
            )  # fmt: skip

    def _check_referral(self) -> None:
        above, seen = self.referred_by, set[Client]()
        while above is not None and above not in seen:
            if above is self:
                raise RuleBroken(
                    N_("%(name)s cannot be referred by themselves, not even through others."),
                    field="referred_by", name=self.name,
                )  # fmt: skip
            seen.add(above)
            above = above.referred_by

    def age_on(self, day: date) -> int | None:
        """Age in completed years on *day*; None without a birth date."""
        if self.birth_date is None:
            return None
        before_birthday = (day.month, day.day) < (self.birth_date.month, self.birth_date.day)
        return day.year - self.birth_date.year - before_birthday

    def is_minor(self, day: date) -> bool:
        """Whether the client is under age on *day*; somebody without a birth date counts as of age."""
        age = self.age_on(day)
        return age is not None and age < FULL_AGE

    def has_consent(self, kind: "ConsentKind", at: datetime) -> bool:
        """Whether a consent of *kind* stood at the instant *at*."""
        return any(c.kind is kind and c.stands_at(at) for c in self.consents)


def _sex_in(number: str) -> Sex:
    """Digit 17 of a resident identity number is odd for men."""
    return Sex.MALE if int(number[16]) % 2 else Sex.FEMALE


class RelationKind(Choice):
    SPOUSE = "spouse", N_("Spouse")
    PARENT = "parent", N_("Parent")
    CHILD = "child", N_("Child")
    GUARDIAN = "guardian", N_("Guardian")
    AGENT = "agent", N_("Authorised agent")
    EMERGENCY = "emergency", N_("Emergency contact")
    OTHER = "other", N_("Other relation")


class ClientRelation(Model):
    """Somebody who belongs to a client: family, guardian, agent."""

    __label__ = N_("Relative or agent")
    __icon__ = "user-plus"
    __title__ = ("client", "relation")  # the name is a secret of its own, and titles are shown to everybody
    __key__ = ("client", "person_name", "relation")
    __part_of__ = "client"
    __table_args__ = (UniqueConstraint("client_id", "person_name", "relation"),)

    client_id: Mapped[int] = mapped_column(ForeignKey(Client.id), index=True)
    person_name: Mapped[PersonName] = mapped_column(info={"secrecy": "contact"})
    relation: Mapped[RelationKind]
    phone: Mapped[Phone]
    is_payer: Mapped[bool] = mapped_column(default=False, info={"label": N_("Pays")})
    is_emergency_contact: Mapped[bool] = mapped_column(default=False, info={"label": N_("Emergency contact")})
    may_receive_health_info: Mapped[bool] = mapped_column(default=False, info={"label": N_("May be told of health")})
    authorisation: Mapped[Title | None] = mapped_column(
        info={"label": N_("Authorisation document"), "help": N_("Name and date of the paper that lets them sign")}
    )
    valid_to: Mapped[Day | None] = mapped_column(info={"label": N_("Authority valid to")})

    client: Mapped[Client] = relationship(back_populates="relations")

    @property
    def is_guardian(self) -> bool:
        """Whether they speak for a minor."""
        return self.relation in {RelationKind.PARENT, RelationKind.GUARDIAN}

    def derive(self) -> None:
        if self.relation is RelationKind.EMERGENCY:
            self.is_emergency_contact = True

    def require_authority(self, client: Client) -> None:
        """Refuse when they may not sign for *client* today."""
        if self.client is not client:
            raise RuleBroken(
                N_("%(name)s belongs to another client than %(client)s: choose one of theirs."),
                field="signer_relation", name=self.person_name, client=client,
            )  # fmt: skip
        if self.valid_to is not None and self.valid_to < clock.today():
            raise RuleBroken(
                N_("The authority of %(signer)s ended on %(day)s."),
                field="signer_relation", signer=self.person_name, day=self.valid_to,
            )  # fmt: skip
        if client.is_minor(clock.today()) and not self.is_guardian:
            raise RuleBroken(
                N_("%(client)s is under age: a parent or guardian signs, and %(name)s is neither."),
                field="signer_relation", client=client, name=self.person_name,
            )  # fmt: skip
        if not self.is_guardian and not self.authorisation:
            raise RuleBroken(
                N_("%(name)s has no authorisation document: enter it under the client's relatives and agents first."),
                field="signer_relation", name=self.person_name,
            )  # fmt: skip


class DeliveryMode(Choice):
    VAGINAL = "vaginal", N_("Vaginal delivery")
    ASSISTED = "assisted", N_("Assisted vaginal delivery")
    CAESAREAN = "caesarean", N_("Caesarean section")


class BloodType(Choice):
    A = "a", N_("Blood type A")
    B = "b", N_("Blood type B")
    AB = "ab", N_("Blood type AB")
    O = "o", N_("Blood type O")  # noqa: E741


class Newborn(Model):
    """A baby of a client; born at an instant, to the minute."""

    __icon__ = "star"
    __title__ = ("mother", "birth_order")
    __key__ = ("band_code",)
    __part_of__ = "mother"
    __table_args__ = (
        UniqueConstraint("mother_id", "birth_day", "birth_order"),
        CheckConstraint(
            "birth_order >= 1 AND birth_order <= multiple_count", name="birth_order_fits_the_number_of_babies"
        ),
        CheckConstraint(
            "birth_weight_g IS NULL OR birth_weight_g BETWEEN 300 AND 7000", name="birth_weight_is_300_to_7000_g"
        ),
        CheckConstraint(
            "gestational_days IS NULL OR gestational_days BETWEEN 0 AND 6", name="gestational_days_are_0_to_6"
        ),
        CheckConstraint(
            "gestational_weeks IS NULL OR gestational_weeks BETWEEN 20 AND 45", name="gestation_is_20_to_45_weeks"
        ),
        CheckConstraint("apgar_1 IS NULL OR apgar_1 BETWEEN 0 AND 10", name="apgar_1_is_0_to_10"),
        CheckConstraint("apgar_5 IS NULL OR apgar_5 BETWEEN 0 AND 10", name="apgar_5_is_0_to_10"),
        CheckConstraint("apgar_10 IS NULL OR apgar_10 BETWEEN 0 AND 10", name="apgar_10_is_0_to_10"),
        CheckConstraint(
            f"apgar_5 IS NULL OR apgar_5 >= {LOW_APGAR} OR apgar_10 IS NOT NULL", name="a_low_apgar_is_taken_again"
        ),
        CheckConstraint("length_cm IS NULL OR length_cm BETWEEN 20 AND 70", name="length_is_20_to_70_cm"),
    )

    mother_id: Mapped[int] = mapped_column(ForeignKey(Client.id), index=True)
    name: Mapped[PersonName | None]
    sex: Mapped[Sex]
    birth_at: Mapped[Instant] = mapped_column(info={"label": N_("Time of birth")})
    birth_day: Mapped[Day] = mapped_column(info={"derived": True, "list": False})
    birth_order: Mapped[Count] = mapped_column(default=1)
    multiple_count: Mapped[Count] = mapped_column(default=1, info={"label": N_("Babies of this birth")})
    gestational_weeks: Mapped[Count | None]
    gestational_days: Mapped[Count | None]
    birth_weight_g: Mapped[Count | None] = mapped_column(info={"label": N_("Birth weight (g)")})
    length_cm: Mapped[Count | None] = mapped_column(info={"label": N_("Length (cm)")})
    apgar_1: Mapped[Count | None] = mapped_column(info={"label": N_("Apgar, 1 minute"), "secrecy": "health"})
    apgar_5: Mapped[Count | None] = mapped_column(info={"label": N_("Apgar, 5 minutes"), "secrecy": "health"})
    apgar_10: Mapped[Count | None] = mapped_column(info={"label": N_("Apgar, 10 minutes"), "secrecy": "health"})
    delivery_mode: Mapped[DeliveryMode | None]
    blood_type: Mapped[BloodType | None] = mapped_column(info={"secrecy": "health"})
    band_code: Mapped[Code] = mapped_column(unique=True, info={"label": N_("Wristband code")})

    mother: Mapped[Client] = relationship(back_populates="newborns")

    def derive(self) -> None:
        if self.birth_at is not None:
            self.birth_day = clock.local_day(self.birth_at)

    def check(self) -> None:
        if self.birth_at > clock.now():
            raise RuleBroken(N_("The time of birth %(at)s lies ahead."), field="birth_at", at=self.birth_at)
        if self.mother is not None and self.mother.sex is Sex.MALE:
            raise RuleBroken(
                N_("%(name)s is entered as male and cannot be the mother: choose her file."),
                field="mother", name=self.mother.name,
            )  # fmt: skip
        if self.birth_order > self.multiple_count:
            raise RuleBroken(
                N_("This is baby %(order)s of %(count)s: enter how many were born."),
                field="multiple_count", order=self.birth_order, count=self.multiple_count,
            )  # fmt: skip
        if self.apgar_5 is not None and self.apgar_5 < LOW_APGAR and self.apgar_10 is None:
            raise RuleBroken(
                N_("Apgar at 5 minutes is %(score)s, below %(limit)s: enter the one at 10 minutes too."),
                field="apgar_10", score=self.apgar_5, limit=LOW_APGAR,
            )  # fmt: skip

    def is_preterm(self) -> bool | None:
        """Born before 37+0 weeks; None when the gestation is not known. Source: standards, newborn derived facts."""
        return None if self.gestational_weeks is None else self.gestational_weeks < PRETERM_WEEKS


class AllergyKind(Choice):
    DRUG = "drug", N_("Drug"), "red"
    FOOD = "food", N_("Food"), "amber"
    CONTACT = "contact", N_("Contact allergen"), "amber"
    RELIGIOUS = "religious", N_("Religious taboo"), "blue"
    PREFERENCE = "preference", N_("Preference"), "neutral"


class AllergyStatus(Choice):
    UNVERIFIED = "unverified", N_("Not verified"), "amber"
    VERIFIED = "verified", N_("Verified"), "green"


class Allergy(Model):
    """What a client or their baby must not be given."""

    __label__ = N_("Allergy or taboo")
    __icon__ = "alert-triangle"
    __title__ = ("client", "kind")
    __key__ = ("client", "kind", "substance")
    __part_of__ = "client"

    client_id: Mapped[int] = mapped_column(ForeignKey(Client.id), index=True)
    newborn_id: Mapped[int | None] = mapped_column(
        ForeignKey(Newborn.id), info={"help": N_("When it is the baby's and not the mother's")}
    )
    kind: Mapped[AllergyKind]
    substance: Mapped[Title] = mapped_column(info={"secrecy": "health"})
    reaction: Mapped[Note | None] = mapped_column(info={"secrecy": "health"})
    severity: Mapped[Name | None] = mapped_column(info={"secrecy": "health", "search": False})
    source: Mapped[Name | None] = mapped_column(info={"search": False, "label": N_("Told by")})
    verified_at: Mapped[Instant | None] = mapped_column(info={"derived": True})
    verified_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"derived": True})
    status: Mapped[AllergyStatus] = mapped_column(default=AllergyStatus.UNVERIFIED)

    client: Mapped[Client] = relationship(back_populates="allergies")
    newborn: Mapped[Newborn | None] = relationship()
    verified_by: Mapped[Staff | None] = relationship()

    def check(self) -> None:
        if self.newborn is not None and self.newborn.mother is not self.client:
            raise RuleBroken(
                N_("%(newborn)s is not a child of %(client)s: choose one of hers."),
                field="newborn", newborn=self.newborn, client=self.client,
            )  # fmt: skip
        if self.status is AllergyStatus.VERIFIED and (changed := typed_changes(self)):
            raise RuleBroken(
                N_("“%(record)s” is verified: set it to not verified before you change “%(what)s”."),
                field=changed[0].key, record=str(self), what=Label(changed[0].label),
            )  # fmt: skip

    @transition("status", {AllergyStatus.UNVERIFIED}, AllergyStatus.VERIFIED, label=N_("Verify"), tone="green")
    def verify(self) -> None:
        """Confirm it face to face with the client or the family."""
        self.verified_at = clock.now()
        self.verified_by = acting_staff(self)

    @transition(
        "status", {AllergyStatus.VERIFIED}, AllergyStatus.UNVERIFIED, label=N_("Set to not verified"), tone="amber"
    )
    def unverify(self) -> None:
        """Let it be asked anew: on a new stay, or because it changed."""
        self.verified_at = self.verified_by = None


class ConsentKind(Choice):
    GENERAL = "general", N_("Service and care in general")
    SENSITIVE_HEALTH = "sensitive_health", N_("Sensitive health data")
    RELIGION = "religion", N_("Religion")
    MINOR = "minor", N_("Minor, by the guardian")
    THIRD_PARTY = "third_party", N_("Passing on to a third party")
    PHOTO_MEDICAL = "photo_medical", N_("Medical photographs")
    PHOTO_PUBLICITY = "photo_publicity", N_("Photographs for publicity")
    MARKETING = "marketing", N_("Marketing")
    PEER_VISIT = "peer_visit", N_("Talks with other clients")
    DATA_EXPORT = "data_export", N_("Data leaving the country")
    INFORMED_PROCEDURE = "informed_procedure", N_("A procedure, informed")


class ConsentMethod(Choice):
    PAPER = "paper", N_("On paper")
    ELECTRONIC = "electronic", N_("Electronically")
    ORAL_RECORDED = "oral_recorded", N_("By word of mouth, recorded")


class ConsentStatus(Choice):
    GIVEN = "given", N_("Given"), "green"
    WITHDRAWN = "withdrawn", N_("Withdrawn"), "red"
    EXPIRED = "expired", N_("Expired"), "neutral"


class Consent(Model):
    """What a client agreed to; never changed, only withdrawn, and given anew (SM-3)."""

    __icon__ = "circle-check"
    __title__ = ("client", "kind")
    __key__ = ("client", "kind", "given_at")
    __part_of__ = "client"
    __list__ = ("client", "kind", "status", "given_at", "method", "signer", "expires_on", "withdrawn_at")

    client_id: Mapped[int] = mapped_column(ForeignKey(Client.id), index=True)
    kind: Mapped[ConsentKind]
    given_at: Mapped[Instant] = mapped_column(default=clock.now)
    method: Mapped[ConsentMethod] = mapped_column(default=ConsentMethod.PAPER)
    signer: Mapped[PersonName | None] = mapped_column(info={"label": N_("Signed by"), "search": False})
    signer_relation_id: Mapped[int | None] = mapped_column(
        ForeignKey(ClientRelation.id), info={"label": N_("Signed as"), "help": N_("When an agent or guardian signs")}
    )
    document: Mapped[Name | None] = mapped_column(info={"label": N_("Document and version"), "search": False})
    scope_text: Mapped[Note | None] = mapped_column(info={"label": N_("What it covers")})
    expires_on: Mapped[Day | None]
    withdrawn_at: Mapped[Instant | None] = mapped_column(info={"derived": True})
    withdrawal_reason: Mapped[Note | None] = mapped_column(info={"derived": True})
    status: Mapped[ConsentStatus] = mapped_column(default=ConsentStatus.GIVEN)

    client: Mapped[Client] = relationship(back_populates="consents")
    signer_relation: Mapped[ClientRelation | None] = relationship()

    def check(self) -> None:
        if changed := typed_changes(self):
            raise RuleBroken(
                N_("A consent is not changed after it was given: withdraw it and enter a new one."),
                field=changed[0].key,
            )
        if inspect(self).persistent:
            return
        given_at = self.given_at or clock.now()
        if given_at > clock.now():
            raise RuleBroken(
                N_("A consent cannot be given at %(at)s, which lies ahead."), field="given_at", at=given_at
            )
        if self.expires_on is not None and self.expires_on < clock.local_day(given_at):
            raise RuleBroken(
                N_("It would run out on %(day)s, before it was given: correct the day."),
                field="expires_on", day=self.expires_on,
            )  # fmt: skip
        self._check_signer()

    def _check_signer(self) -> None:
        relation = self.signer_relation
        if relation is not None and is_typed(self):
            relation.require_authority(self.client)
        if self.kind is ConsentKind.MINOR and (relation is None or not relation.is_guardian):
            raise RuleBroken(
                N_("The consent for a minor is signed by a parent or guardian: choose them under “Signed as”."),
                field="signer_relation",
            )

    def stands_at(self, at: datetime) -> bool:
        """Whether it was given, not withdrawn and not expired at the instant *at*."""
        if self.given_at > at or (self.withdrawn_at is not None and self.withdrawn_at <= at):
            return False
        return self.expires_on is None or clock.local_day(at) <= self.expires_on

    @transition(
        "status", {ConsentStatus.GIVEN}, ConsentStatus.WITHDRAWN, label=N_("Withdraw"), tone="red",
        confirm=N_("Withdraw this consent? It takes effect at once."),
    )  # fmt: skip
    def withdraw(self, *, reason: Note) -> None:
        """Write down that the client took it back; it takes effect at once."""
        self.withdrawn_at = clock.now()
        self.withdrawal_reason = reason
        if self.kind is ConsentKind.MARKETING:
            self.client.marketing_opt_in = False

    @transition("status", {ConsentStatus.GIVEN}, ConsentStatus.EXPIRED, label=N_("Mark as expired"), by_clock=True)
    def expire(self) -> None:
        """The day after its last day."""
        if self.kind is ConsentKind.MARKETING:
            self.client.marketing_opt_in = False


@clock.duty("consent.expiry")
def expire_consents(session: Session) -> int:
    """Expire what ran out before today."""
    due = select(Consent).where(Consent.status == ConsentStatus.GIVEN, Consent.expires_on < clock.today())
    found = session.scalars(due).all()
    for consent in found:
        consent.expire()
    return len(found)
