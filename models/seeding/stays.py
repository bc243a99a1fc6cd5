"""What clients go through: first contact, consents, contract, arrival, care, and what they say of it."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from sqlalchemy.orm import Session

from .. import clock
from ..assessments import AssessmentPurpose, AssessmentStatus
from ..clients import (
    Allergy,
    AllergyKind,
    AllergyStatus,
    Client,
    ClientLine,
    ClientRelation,
    Consent,
    ConsentKind,
    ConsentMethod,
    DeliveryMode,
    Newborn,
)
from ..contracts import Contract
from ..staff import Sex
from .arrivals import DAY, Newcomer
from .care import Care, mothers_answers
from .deals import Deals
from .files import add_all
from .names import Names
from .timeline import At, Life, Timeline, moment
from .voices import Voices

TERM_DAYS = 280


class Stays:
    """The lives of clients, from the first call on."""

    def __init__(
        self, session: Session, timeline: Timeline, names: Names, words: dict[str, Any], care: Care, voices: Voices,
        deals: Deals, rng: Random,
    ) -> None:  # fmt: skip
        self.session, self.timeline, self.names, self.words = session, timeline, names, words["client"]
        self.care, self.voices, self.deals, self.rng = care, voices, deals, rng
        self._trades: dict[ClientLine, Callable[[Newcomer, Client], Life]] = {
            ClientLine.POSTPARTUM: self._confinement,
            ClientLine.ELDER: self._residence,
            ClientLine.AESTHETIC: self._treatment,
        }

    def life(self, who: Newcomer) -> Life:
        """Everything that happens to one client."""
        yield At(who.arrived_at, who.contact)
        client = self._register(who)
        if who.course == "lead" or (who.runs_freely and self.rng.random() < 0.18):
            return
        yield At(who.arrived_at + DAY, self.rng.choice(who.desk.officers))
        self._agree(client)
        yield from self._trades[who.desk.line](who, client)

    def _register(self, who: Newcomer) -> Client:
        client = Client(
            branch=who.desk.branch, line=who.desk.line, primary_contact=who.contact, due_date=who.due_on, **who.facts
        )
        self.session.add_all(
            [
                client,
                *(ClientRelation(client=client, **kin) for kin in who.kin),
                self._consent(client, ConsentKind.GENERAL),
            ]
        )
        self.session.flush()
        return client

    def _consent(self, client: Client, kind: ConsentKind, **details: Any) -> Consent:
        method = self.rng.choice([ConsentMethod.PAPER, ConsentMethod.PAPER, ConsentMethod.ELECTRONIC])
        return Consent(client=client, kind=kind, method=method, signer=client.name, document="知情同意书 V3", **details)

    def _agree(self, client: Client) -> None:
        """Separate consents, and what must not be given."""
        consents = [self._consent(client, ConsentKind.SENSITIVE_HEALTH)]
        if client.marketing_opt_in:
            consents.append(self._consent(client, ConsentKind.MARKETING))
        if self.rng.random() < 0.15:
            consents.append(
                self._consent(
                    client, ConsentKind.PHOTO_MEDICAL, scope_text="仅供病历留存",
                    expires_on=clock.today() + DAY * self.rng.randrange(60, 400),
                )
            )  # fmt: skip
        add_all(self.session, consents)
        if client.name == "李欣怡":
            self.session.add(_allergy(client, ["drug", "青霉素", "皮疹", "重"]))
        elif self.rng.random() < 0.28:
            self.session.add(_allergy(client, self.rng.choice(self.words["allergies"])))
        self.session.flush()
        if client.marketing_opt_in and self.rng.random() < 0.2:
            self.timeline.start(self._withdraw(client, consents[1]))

    def _withdraw(self, client: Client, consent: Consent) -> Life:
        yield At(consent.given_at + DAY * self.rng.randrange(20, 120), client.primary_contact)
        consent.withdraw(reason=self.rng.choice(self.words["withdrawals"]))

    def _verify_allergies(self, client: Client) -> None:
        for allergy in client.allergies:
            if allergy.status is AllergyStatus.UNVERIFIED:
                allergy.verify()

    # -- postpartum --

    def _confinement(self, who: Newcomer, client: Client) -> Life:
        contract = yield from self.deals.negotiate(who, client)
        if contract is None or who.due_on is None:
            return
        born_on = who.born_on or who.due_on - DAY * (self.rng.choice([0, 1, 3, 5, 7, 9, 12, 16, 24, 33]) - 6)
        birth = moment(born_on, self.rng.randrange(0, 24), self.rng.randrange(60))
        yield At(birth + timedelta(hours=9), who.contact)
        babies = self._deliver(who, client, birth)
        if who.course == "expected":
            return
        moved_in = moment(born_on + DAY * self.rng.randrange(3, 6), 10)
        yield At(moved_in, self.rng.choice(who.desk.nurses))
        self._verify_allergies(client)
        contract.begin()
        self._assess_on_arrival(who, client, babies, moved_in)
        nights = contract.package.nights if contract.package is not None else None
        yield from self._until_the_end(who, client, contract, moved_in, nights or 28)

    def _deliver(self, who: Newcomer, client: Client, birth: datetime) -> list[Newborn]:
        assert who.due_on is not None
        gestation = TERM_DAYS - (who.due_on - birth.date()).days
        mode = self.rng.choice([DeliveryMode.VAGINAL] * 5 + [DeliveryMode.CAESAREAN] * 4 + [DeliveryMode.ASSISTED])
        weights = who.babies or [self.rng.randrange(2750, 4100) - max(0, 266 - gestation) * 40]
        babies = [
            Newborn(
                mother=client, name=client.name[:1] + self.names.given("babies"), sex=self.rng.choice(list(Sex)),
                birth_at=birth + timedelta(minutes=3 * order), birth_order=order + 1, multiple_count=len(weights),
                gestational_weeks=gestation // 7, gestational_days=gestation % 7, birth_weight_g=weight,
                length_cm=self.rng.randrange(46, 53), apgar_1=self.rng.choice([8, 9, 9, 9]), apgar_5=10, delivery_mode=mode,
                band_code=f"{client.file_no}-{birth:%m%d}-{order + 1}",
            )
            for order, weight in enumerate(weights)
        ]  # fmt: skip
        self.session.add_all(babies)
        self.session.flush()
        return babies

    def _assess_on_arrival(self, who: Newcomer, client: Client, babies: list[Newborn], at: datetime) -> None:
        low_mood = self.rng.random() < 0.06
        answers = mothers_answers(babies[0], low_mood=low_mood)
        start, until = self.timeline.start, self._how_far(at)
        admission = AssessmentPurpose.ADMISSION
        start(self.care.assessed(who.desk, client, "postpartum_mother", at, admission, given=answers, until=until))
        for baby in babies:
            start(
                self.care.assessed(
                    who.desk, client, "postpartum_newborn", at + timedelta(hours=1), admission, newborn=baby
                )
            )

    def _how_far(self, at: datetime) -> AssessmentStatus:
        """Mostly to the end; a few are still open, whatever the day."""
        if self.timeline.now - at > DAY * 40:
            return AssessmentStatus.CONFIRMED
        return self.rng.choice(
            [AssessmentStatus.CONFIRMED] * 4 + [AssessmentStatus.REVIEWED, AssessmentStatus.SUBMITTED]
        )

    def _until_the_end(self, who: Newcomer, client: Client, contract: Contract, begun: datetime, days: int) -> Life:
        """The balance, what is said meanwhile, and how it ends."""
        start, desk = self.timeline.start, who.desk
        start(self.deals.settle(desk, contract, begun + timedelta(hours=3)))
        if self.rng.random() < 0.6:
            start(self.voices.remark(desk, client, begun + DAY * self.rng.randrange(2, 24)))
        if who.ends == "terminate" or (who.runs_freely and self.rng.random() < 0.03):
            yield from self.deals.terminate(desk, contract, begun + DAY * 10, 10)
            return
        if begun + DAY * days > self.timeline.now:  # else the end notes it all at once
            yield from self.deals.perform(desk, contract, begun + DAY * days / 2, share=Decimal("0.5"))
        if who.course != "in_house":
            yield from self.deals.finish(desk, contract, begun + DAY * days)

    # -- elder --

    def _residence(self, who: Newcomer, client: Client) -> Life:
        total = who.assessed or self.rng.choice([88, 84, 79, 75, 71, 67, 64, 60, 56, 52, 48, 44, 40, 35, 28, 20])
        before = who.arrived_at + DAY * 3
        if who.runs_freely and self.rng.random() < 0.05:
            self.timeline.start(
                self.care.assessed(
                    who.desk, client, "gbt42195", before, AssessmentPurpose.PREBOOK, until=AssessmentStatus.VOID, total=total
                )
            )  # fmt: skip
            return
        returned = who.runs_freely and self.rng.random() < 0.1
        self.timeline.start(
            self.care.assessed(
                who.desk, client, "gbt42195", before, AssessmentPurpose.PREBOOK, total=total, returned=returned
            )
        )
        contract = yield from self.deals.negotiate(who, client)
        if contract is None:
            return
        moved_in = moment(contract.start_on, 10)
        yield At(moved_in, self.rng.choice(who.desk.nurses))
        self._verify_allergies(client)
        contract.begin()
        self._assess_again(who, client, moved_in, total)
        yield from self._until_the_end(who, client, contract, moved_in, self.rng.choice([60, 90, 400, 400, 400]))

    def _assess_again(self, who: Newcomer, client: Client, moved_in: datetime, total: int) -> None:
        """Falls and daily activities on arrival, ability again after a change."""
        start, care, desk = self.timeline.start, self.care, who.desk
        until = self._how_far(moved_in)
        start(
            care.assessed(
                desk, client, "morse", moved_in + DAY, AssessmentPurpose.ADMISSION, total=95 - total, until=until
            )
        )
        if self.rng.random() < 0.3:
            barthel = min(100, total * 10 // 9 // 5 * 5)
            start(care.assessed(desk, client, "barthel", moved_in + DAY, AssessmentPurpose.ADMISSION, total=barthel))
        if who.runs_freely and self.rng.random() < 0.18:
            again, less = moved_in + DAY * self.rng.randrange(40, 150), max(total - self.rng.randrange(4, 14), 0)
            start(care.assessed(desk, client, "gbt42195", again, AssessmentPurpose.IMMEDIATE, total=less))

    # -- aesthetic --

    def _treatment(self, who: Newcomer, client: Client) -> Life:
        contract = yield from self.deals.negotiate(who, client)
        if contract is None:
            return
        begun = moment(contract.start_on, 14)
        yield At(begun, who.desk.doctor)
        self.session.add(
            self._consent(client, ConsentKind.INFORMED_PROCEDURE, scope_text="已告知适应证、禁忌证、风险与替代方案")
        )
        self.session.flush()
        contract.begin()
        yield from self._until_the_end(who, client, contract, begun, self.rng.choice([30, 60, 120]))


def _allergy(client: Client, told: list[str]) -> Allergy:
    kind, substance, reaction, severity = told
    return Allergy(
        client=client, kind=AllergyKind.from_value(kind), substance=substance, reaction=reaction or None,
        severity=severity or None, source="本人自述",
    )  # fmt: skip
