"""What a house has lying about besides its daily business: newcomers and leavers, old editions, open drafts."""

from datetime import date, timedelta
from decimal import Decimal
from random import Random

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..access import UserAccount
from ..assessments import AssessmentPurpose, AssessmentStatus
from ..clients import Client
from ..contracts import Contract, ContractStatus
from ..feedback import Feedback, FeedbackChannel
from ..instruments import Instrument
from ..kpi import KpiDimension, KpiIndicator, KpiTemplate
from ..organisation import Post
from ..payments import RefundCause, RefundStatus
from ..staff import Sex, Staff, StaffCategory, StaffPosting, StaffStatus
from .care import Care
from .deals import Deals
from .people import Desk
from .timeline import At, Life, Timeline, moment

OPEN_ASSESSMENTS = (
    AssessmentStatus.DRAFT, AssessmentStatus.SUBMITTED, AssessmentStatus.RETURNED, AssessmentStatus.REVIEWED,
    AssessmentStatus.VOID,
)  # fmt: skip

OPEN_REFUNDS = (
    RefundStatus.DRAFT, RefundStatus.SUBMITTED, RefundStatus.RETURNED, RefundStatus.FN_CHECKED, RefundStatus.WITHDRAWN,
    RefundStatus.APPROVED, RefundStatus.PAID,
)  # fmt: skip


class LooseEnds:
    """Lives of things that are neither clients nor rounds."""

    def __init__(
        self,
        session: Session,
        timeline: Timeline,
        staff: dict[str, Staff],
        desks: dict[str, Desk],
        care: Care,
        deals: Deals,
        rng: Random,
    ) -> None:
        self.session, self.timeline, self.staff, self.desks = session, timeline, staff, desks
        self.care, self.deals, self.rng = care, deals, rng
        self._asked: set[int] = set()
        self.today = timeline.today

    def lives(self) -> list[Life]:
        return [
            self.somebody_joins(), self.somebody_leaves(), self.somebody_is_away(), self.new_cut_offs(), self.next_edition(),
            self.appraisal_forms(), self.just_said(), *map(self.open_assessment, OPEN_ASSESSMENTS), *map(self.open_refund, OPEN_REFUNDS),
        ]  # fmt: skip

    def _ago(self, days: int) -> date:
        return self.today - timedelta(days=days)

    # -- people --

    def somebody_joins(self) -> Life:
        """A nurse on probation."""
        hired = self._ago(38)
        yield At(moment(hired, 9), self.staff["孙莉"])
        self._hire("区婉仪", hired, StaffStatus.PROBATION, probation_end=hired + timedelta(days=90))

    def somebody_leaves(self) -> Life:
        """A nurse who left last month: her posting ends, her account is disabled."""
        hired, left = date(2021, 10, 11), self._ago(34)
        yield At(moment(self._ago(700), 9), self.staff["孙莉"])
        person = self._hire("尉迟敏", hired, StaffStatus.ACTIVE)
        account = UserAccount(login="yuchimin", staff=person)
        self.session.add(account)
        self.session.flush()
        yield At(moment(left, 17), self.staff["孙莉"])
        person.status, person.left_on, person.note = StaffStatus.LEFT, left, "随家人迁往苏州，工作交接完成。"
        for posting in person.postings:
            posting.to_on = left
        account.disable()

    def somebody_is_away(self) -> Life:
        yield At(moment(self._ago(55), 10), self.staff["孙莉"])
        self.staff["万春燕"].status = StaffStatus.LEAVE
        self.staff["万春燕"].note = "产假。"
        self.session.flush()

    def _hire(self, name: str, hired: date, status: StaffStatus, probation_end: date | None = None) -> Staff:
        lead = self.staff["许佳"]
        nurse = self.session.scalars(select(Post).where(Post.code == "NURSE")).one()
        person = Staff(
            name=name, sex=Sex.FEMALE, branch=lead.branch, department=lead.department, post=nurse, category=StaffCategory.NURSE,
            status=status, manager=lead, hired_on=hired, probation_end=probation_end, confidentiality_signed_on=hired,
            monthly_salary=Decimal(9000),
        )  # fmt: skip
        posting = StaffPosting(
            staff=person, branch=lead.branch, department=lead.department, post=nurse, manager=lead, from_on=hired
        )
        self.session.add_all([person, posting])
        self.session.flush()
        return person

    # -- forms --

    def new_cut_offs(self) -> Life:
        """The fall scale gets a second edition; the first is retired."""
        yield At(moment(self._ago(240), 15), self.desks["HZ02"].doctor)
        first = self.care.instruments["morse"]
        first.revise(edition="2")
        second = self.session.scalars(
            select(Instrument).where(Instrument.code == "morse", Instrument.edition == "2")
        ).one()
        second.licence_note = "分界点按本院近一年跌倒数据校准，与第一版相同；增加夜间评估要求。"
        second.put_in_use()
        self.care.instruments["morse"] = second

    def next_edition(self) -> Life:
        """One more edition is being drafted."""
        yield At(moment(self._ago(5), 15), self.desks["HZ02"].doctor)
        self.care.instruments["barthel"].revise(edition="2")

    def appraisal_forms(self) -> Life:
        """Doctors' appraisal forms: the old one retired, the new one in draft."""
        hr = self.staff["孙莉"]
        yield At(moment(self._ago(500), 10), hr)
        old = self._doctors_form(1)
        old.put_in_use()
        yield At(moment(self._ago(90), 10), hr)
        old.retire()
        yield At(moment(self._ago(12), 10), hr)
        self._doctors_form(2)

    def _doctors_form(self, edition: int) -> KpiTemplate:
        post = self.session.scalars(select(Post).where(Post.code == "DOCTOR")).one()
        form = KpiTemplate(
            code="DOCTOR",
            edition=edition,
            name="医生岗位考核表",
            post=post,
            valid_from=date(self.today.year - 2 + edition, 1, 1),
        )
        skill = KpiIndicator(
            template=form, code="01", name="诊疗质量", dimension=KpiDimension.SKILL, weight=Decimal(60)
        )
        duty = KpiIndicator(
            template=form, code="02", name="告知与沟通", dimension=KpiDimension.ATTITUDE, weight=Decimal(40)
        )
        self.session.add_all([form, skill, duty])
        self.session.flush()
        return form

    # -- what came in just now --

    def just_said(self) -> Life:
        """A note from the box that nobody has sorted yet."""
        desk = self.desks["SH01"]
        yield At(self.timeline.now - timedelta(minutes=18), desk.officers[0])
        self.session.add(
            Feedback(
                branch=desk.branch, channel=FeedbackChannel.BOX, is_anonymous=True,
                content="五楼热水器早上七点经常没有热水，希望检查一下。",
            )
        )  # fmt: skip
        self.session.flush()

    def open_assessment(self, until: AssessmentStatus) -> Life:
        """An assessment that somebody still has to go on with."""
        desk = self.desks["HZ02"]
        at = self.timeline.now - timedelta(days=1, hours=4 + OPEN_ASSESSMENTS.index(until))
        yield At(at - timedelta(minutes=10), desk.lead)
        client = self.rng.choice(
            self.session.scalars(select(Client).where(Client.branch_id == desk.branch.id).order_by(Client.id)).all()
        )
        life = self.care.assessed(desk, client, "barthel", at, AssessmentPurpose.ROUTINE, total=75, until=until)
        self.timeline.start(life)

    def open_refund(self, until: RefundStatus) -> Life:
        """A small refund that somebody still has to go on with."""
        place = OPEN_REFUNDS.index(until)
        desk = list(self.desks.values())[place % len(self.desks)]
        at = self.timeline.now - timedelta(days=3, hours=place)
        yield At(at - timedelta(minutes=10), desk.manager)
        running = select(Contract).where(
            Contract.branch_id == desk.branch.id, Contract.status == ContractStatus.IN_PERFORMANCE,
            Contract.id.not_in(self._asked),
        )  # fmt: skip
        contract = next(c for c in self.session.scalars(running.order_by(Contract.id)) if c.received() >= 2000)
        self._asked.add(contract.id)
        cause, amount = RefundCause.PROVIDER_REASON, Decimal(380 + 100 * place)
        self.timeline.start(self.deals.refund(desk, contract, cause, amount, at, until, ends_contract=False))
