"""Rounds of appraisals: own scores, the managers', calibration, publication, and the appeals that follow."""

from collections import defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from random import Random

from sqlalchemy import select
from sqlalchemy.orm import Session

from .. import recycling
from ..appeals import AppealReviewer, AppraisalAppeal
from ..appraisal_scores import AppraisalScore
from ..appraisals import Appraisal, AppraisalStatus
from ..cycles import AppraisalCycle, CycleKind, CycleStatus
from ..organisation import Branch
from ..staff import Staff
from ..training import add_months
from .timeline import At, Life, Timeline, moment

OPINIONS = ("同意考核结果，下月重点改进夜班记录。", "已阅，无异议。", "认可。希望多安排专业培训。", "同意。")
GROUNDS = (
    "投诉一项扣分过重：当晚一人值守两层楼，排班不足不是个人原因。",
    "当月外派学习五天，工作量统计未扣除这五天。",
    "记录抽查的两处缺项是系统停机当日补录的，有停机登记可查。",
    "客户的书面表扬未计入服务态度。",
    "实操考核当天临时替班，未能按平时水平发挥，申请复核录像。",
    "“护理质量”一项的扣分依据与交接班记录不符。",
)


class Round:
    """The appraisals of one branch for one month, up to *until*; days are counted back from today."""

    def __init__(self, house: "Appraising", branch: str, start: date, until: CycleStatus, ends_ago: int) -> None:
        self.house, self.until = house, until
        self.session, self.rng, self.staff = house.session, house.rng, house.staff
        self.branch, self.head = house.branches[branch], house.heads[branch]
        self.start, self.ends_ago = start, ends_ago

    @property
    def _is_fresh(self) -> bool:
        """Whether it was published just now: its appeals are under way, each one step further."""
        return self.until is CycleStatus.PUBLISHED

    def _at(self, days_before_the_end: int, hour: int, who: Staff | None) -> At:
        return At(moment(self.house.today - timedelta(days=self.ends_ago + days_before_the_end), hour), who)

    def life(self) -> Life:
        hr = self.house.hr
        yield self._at(14, 9, hr)
        cycle = self._plan()
        if self.until is CycleStatus.PLANNED:
            return
        yield self._at(9, 9, hr)
        if cycle.status is CycleStatus.PLANNED:  # the clock may have been first
            cycle.open()
        self._leave_out_the_owner(cycle)
        for life in self._self_scoring(cycle):
            self.house.timeline.start(life)
        yield self._at(5, 9, hr)
        cycle.start_scoring()
        for life in self._manager_scoring(cycle):
            self.house.timeline.start(life)
        if self.until is CycleStatus.SCORING:
            return
        yield self._at(1, 11, self.house.owner)
        for appraisal in cycle.live_appraisals():
            if appraisal.staff is self.head:
                appraisal.calibrate()
        yield self._at(1, 15, self.head)
        cycle.calibrate()
        if self.until is CycleStatus.CALIBRATED:
            return
        yield self._at(0, 9, hr)
        cycle.publish()
        yield from self._read(cycle)
        yield self._at(-16, 10, hr)
        cycle.close(analysis="优秀率提高，服务态度类指标稳定；必修培训完成率仍低于目标，下月由部门主管跟进未完成名单。")

    def _plan(self) -> AppraisalCycle:
        end = add_months(self.start, 1) - timedelta(days=1)
        opens = self.house.today - timedelta(days=self.ends_ago + 9)
        if self.until is CycleStatus.PLANNED:
            opens = end + timedelta(days=1)
        cycle = AppraisalCycle(
            branch=self.branch, kind=CycleKind.MONTHLY, period_start=self.start, period_end=end, opens_on=opens,
            closes_on=opens + timedelta(days=14),
        )  # fmt: skip
        self.session.add(cycle)
        self.session.flush()
        return cycle

    def _leave_out_the_owner(self, cycle: AppraisalCycle) -> None:
        """Nobody stands above the owner, so nobody could score: HR takes that appraisal out again."""
        for appraisal in cycle.live_appraisals():
            if appraisal.manager_id is None:
                recycling.recycle(appraisal)
        self.session.flush()

    # -- scoring --

    def _self_scoring(self, cycle: AppraisalCycle) -> list[Life]:
        return [self._score_self(a, n) for n, a in enumerate(cycle.live_appraisals()) if n % 3 != 2]

    def _score_self(self, appraisal: Appraisal, n: int) -> Life:
        yield self._at(8 - n % 3, 10 + n % 7, appraisal.staff)
        if appraisal.status is not AppraisalStatus.NOT_STARTED:
            return
        for score in appraisal.live_scores():
            if not score.indicator.is_computed:
                score.self_points = Decimal(self.rng.randrange(78, 96))
        self.session.flush()
        appraisal.score_self()

    def _manager_scoring(self, cycle: AppraisalCycle) -> list[Life]:
        teams: dict[Staff, list[Appraisal]] = defaultdict(list)
        for appraisal in cycle.live_appraisals():
            if appraisal.manager is not None:
                teams[appraisal.manager].append(appraisal)
        if self.until is CycleStatus.SCORING:  # the largest team still waits for its manager
            teams.pop(max(teams, key=lambda manager: len(teams[manager])))
        return [self._score_team(manager, team, n) for n, (manager, team) in enumerate(teams.items())]

    def _score_team(self, manager: Staff, team: list[Appraisal], n: int) -> Life:
        yield self._at(4 - n % 2, 9 + n % 8, manager)
        for appraisal in team:
            for score in appraisal.live_scores():
                self._give_points(score)
        self.session.flush()
        for appraisal in team:
            appraisal.score()

    def _give_points(self, score: AppraisalScore) -> None:
        if score.indicator.is_computed or score.no_data:
            return
        points = self.rng.choice([72, 76, 78, 80, 82, 84, 85, 86, 88, 90, 92, 93, 96, 58])
        score.manager_points = Decimal(points)
        if points == 96:
            score.evidence = "本月收到客户书面表扬一次；带教新人通过考核。"
        elif points == 58:
            score.evidence = "两次检查发现记录缺项，提醒后仍未按期整改。"

    # -- after publication --

    def _read(self, cycle: AppraisalCycle) -> Life:
        """People confirm having read it, or appeal; some have not looked yet."""
        steps = {"SH01": range(6)}.get(self.branch.code, range(0)) if self._is_fresh else (5,)
        readers = [a for a in cycle.live_appraisals() if a.manager is not self.house.owner]
        for step, appraisal, grounds in zip(steps, readers, GROUNDS, strict=False):
            self.house.timeline.start(self._appeal(appraisal, grounds, step))
        for n, appraisal in enumerate(readers[len(steps) :]):
            if n % 4 != 3:
                self.house.timeline.start(self._acknowledge(appraisal, n))
        yield self._at(0, 10, self.house.hr)

    def _acknowledge(self, appraisal: Appraisal, n: int) -> Life:
        yield self._at(-1 - n % 2, 9 + n % 9, appraisal.staff)
        appraisal.acknowledge(opinion=self.rng.choice(OPINIONS))

    def _appeal(self, appraisal: Appraisal, grounds: str, steps: int) -> Life:
        hr, owner = self.house.hr, self.house.owner
        yield self._at(-1, 9 + steps, appraisal.staff)
        appraisal.appeal(grounds=grounds)
        appeal = self.session.scalars(select(AppraisalAppeal).where(AppraisalAppeal.appraisal_id == appraisal.id)).one()
        decide: Callable[[], None] = lambda: appeal.dismiss(reason="复核记录与录像后，原评分依据充分，维持原分。")  # noqa: E731
        if steps in (3, 5):
            total = min((appraisal.total or Decimal(0)) + Decimal(4), Decimal(100))
            decide = lambda: appeal.uphold(new_total=total, reason="排班表证实当晚人手不足，相应扣分撤销。")  # noqa: E731
        yield self._at(-1, 16, hr)
        if steps >= 1:
            appeal.accept()
            self.session.add_all(AppealReviewer(appeal=appeal, reviewer=who) for who in (hr, owner))
            self.session.flush()
        yield self._at(-2, 10, hr)
        if steps >= 2:
            appeal.begin_review()
        yield self._at(-3, 10, owner)
        if steps >= 3:
            decide()
        yield self._at(-3, 15, hr)
        if steps >= 5:
            appeal.notify()


class Appraising:
    """The rounds of all houses."""

    def __init__(self, session: Session, timeline: Timeline, staff: dict[str, Staff], rng: Random) -> None:
        self.session, self.timeline, self.staff, self.rng = session, timeline, staff, rng
        self.today = timeline.today
        self.hr, self.owner = staff["孙莉"], staff["王立群"]
        self.branches = {b.code: b for b in session.scalars(select(Branch))}
        self.heads = {"SH01": staff["赵明远"], "HZ02": staff["吴海峰"], "CD03": staff["罗凯"]}

    def lives(self) -> list[Life]:
        """Two months that are over, and the latest one, in a different state in each branch."""
        latest = self._latest_month()
        before = add_months(latest, -1)
        rounds = [Round(self, code, before, CycleStatus.CLOSED, 32) for code in self.branches]
        rounds += [
            Round(self, "SH01", latest, CycleStatus.PUBLISHED, 4),
            Round(self, "HZ02", latest, CycleStatus.CALIBRATED, 0),
            Round(self, "CD03", latest, CycleStatus.SCORING, -2),
            Round(self, "SH01", self.today.replace(day=1), CycleStatus.PLANNED, -10),
        ]
        return [*(r.life() for r in rounds), self._ad_hoc()]

    def _latest_month(self) -> date:
        """The first day of the latest month that ended at least two weeks ago."""
        return add_months((self.today - timedelta(days=14)).replace(day=1), -1)

    def _ad_hoc(self) -> Life:
        """After an incident two carers of HZ02 are appraised; one has scored herself."""
        yield At(moment(self.today - timedelta(days=3), 9), self.hr)
        end = self.today - timedelta(days=4)
        cycle = AppraisalCycle(
            branch=self.branches["HZ02"], kind=CycleKind.AD_HOC, period_start=end - timedelta(days=30), period_end=end,
            opens_on=self.today - timedelta(days=3), closes_on=self.today + timedelta(days=7), occasion="跌倒事件后的专项考核",
        )  # fmt: skip
        pair = [Appraisal(cycle=cycle, staff=self.staff[name]) for name in ("石春花", "孟庆国")]
        self.session.add_all([cycle, *pair])
        self.session.flush()
        cycle.open()
        yield At(moment(self.today - timedelta(days=2), 15), pair[0].staff)
        for score in pair[0].live_scores():
            if not score.indicator.is_computed:
                score.self_points = Decimal(80)
        self.session.flush()
        pair[0].score_self()
