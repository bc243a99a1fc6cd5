"""A year of training: plans and their approval, sessions and who attended, exams, retakes, evaluations."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..courses import TrainingCourse, TrainingMode, TrainingPlan, TrainingPlanItem
from ..organisation import Branch
from ..staff import Staff
from ..training import TrainingRecord, TrainingSession
from .timeline import At, Life, moment

CLASS_SIZE = 11


class Taught(NamedTuple):
    """One session as the year's calendar has it: *ago* days before today, or after when negative."""

    branch: str
    course: str
    ago: int
    method: TrainingMode
    lecturer: str
    place: str


M = TrainingMode
CALENDAR = (
    Taught("SH01", "EMERGENCY", 325, M.SIMULATION, "沈国强", "三楼多功能厅"),
    Taught("SH01", "PRIVACY", 290, M.LECTURE, "郑岚", "三楼多功能厅"),
    Taught("SH01", "INFECTION", 262, M.CASE, "方敏仪", "护理示教室"),
    Taught("SH01", "NEWBORN_BATH", 220, M.SIMULATION, "许佳", "护理示教室"),
    Taught("SH01", "COMPLAINT", 180, M.CASE, "顾海燕", "三楼会议室"),
    Taught("SH01", "JAUNDICE", 150, M.LECTURE, "方敏仪", "护理示教室"),
    Taught("SH01", "ETIQUETTE", 112, M.SIMULATION, "顾海燕", "三楼多功能厅"),
    Taught("SH01", "BREASTFEEDING", 75, M.EXTERNAL, "市妇幼保健院 秦老师", "市妇幼保健院"),
    Taught("SH01", "EMERGENCY", 41, M.SIMULATION, "沈国强", "三楼多功能厅"),
    Taught("SH01", "INDUCTION", 18, M.LECTURE, "孙莉", "三楼会议室"),
    Taught("SH01", "EMOTION", 2, M.CASE, "孙莉", "三楼会议室"),
    Taught("SH01", "PRIVACY", -9, M.ONLINE, "郑岚", "线上"),
    Taught("SH01", "INFECTION", -26, M.CASE, "方敏仪", "护理示教室"),
    Taught("HZ02", "FALL_PREVENT", 300, M.SIMULATION, "董雪梅", "二楼康复厅"),
    Taught("HZ02", "EMERGENCY", 245, M.SIMULATION, "汪文斌", "二楼康复厅"),
    Taught("HZ02", "DEMENTIA", 190, M.LECTURE, "杭州市七院 姚老师", "一楼会议室"),
    Taught("HZ02", "INFECTION", 130, M.CASE, "汪文斌", "一楼会议室"),
    Taught("HZ02", "PRIVACY", 70, M.ONLINE, "郑岚", "线上"),
    Taught("HZ02", "FALL_PREVENT", 16, M.SIMULATION, "杜薇", "二楼康复厅"),
    Taught("HZ02", "ETHICS", -14, M.CASE, "吴海峰", "一楼会议室"),
    Taught("CD03", "AESTHETIC_CONSENT", 280, M.LECTURE, "陈思远", "五楼会议室"),
    Taught("CD03", "EMERGENCY", 205, M.SIMULATION, "谭静怡", "手术室"),
    Taught("CD03", "PRIVACY", 120, M.ONLINE, "郑岚", "线上"),
    Taught("CD03", "COMPLAINT", 52, M.CASE, "文婧", "五楼会议室"),
    Taught("CD03", "INFECTION", 0, M.CASE, "龙艳", "护士站"),
    Taught("CD03", "AESTHETIC_CONSENT", -20, M.LECTURE, "陈思远", "五楼会议室"),
)
CALLED_OFF = Taught("HZ02", "EMOTION", 25, M.CASE, "孙莉", "一楼会议室")

GOALS = {
    "EMERGENCY": "人人会疏散、会报告、会初步急救。",
    "PRIVACY": "知道哪些信息不能看、不能说、不能带走。",
    "INFECTION": "手卫生依从率达到95%。",
}


class School:
    """The training of all houses, as HR runs it."""

    def __init__(self, session: Session, staff: dict[str, Staff], now: datetime, rng: Random) -> None:
        self.session, self.staff, self.now, self.rng = session, staff, now, rng
        self.hr = staff["孙莉"]
        self.courses = {c.code: c for c in session.scalars(select(TrainingCourse))}
        self.branches = {b.code: b for b in session.scalars(select(Branch))}
        self.heads = {"SH01": staff["赵明远"], "HZ02": staff["吴海峰"], "CD03": staff["罗凯"]}

    def lives(self, today: date) -> list[Life]:
        return [*self._plans(today), *(self.taught(t, today) for t in CALENDAR), self.called_off(CALLED_OFF, today)]

    # -- plans --

    def _plans(self, today: date) -> list[Life]:
        """Two years ago, last year, this year, and the one that is being made, each as far as it is."""
        year = today.year
        lives = [self.plan("SH01", year - 2, 0, today)]
        for code in self.branches:
            lives += [self.plan(code, year - 1, 0, today), self.plan(code, year, 0, today)]
        lives.append(self.plan("SH01", year + 1, 3, today))
        lives += [self.plan("HZ02", year + 1, 2, today), self.plan("CD03", year + 1, 1, today)]
        return lives

    def plan(self, code: str, year: int, steps: int, today: date) -> Life:
        """A branch's plan of one year; next year's stops after so many *steps*, the others run their course."""
        drawn_up = date(year - 1, 12, 8) if not steps else today - timedelta(days=7)
        yield At(moment(drawn_up, 10), self.hr)
        plan = TrainingPlan(branch=self.branches[code], year=year, title=f"{year}年度培训计划")
        self.session.add_all([plan, *self._items(plan)])
        self.session.flush()
        yield At(moment(drawn_up + timedelta(days=2), 16), self.hr)
        if steps == 1:
            return
        plan.submit()
        yield At(moment(drawn_up + timedelta(days=5), 11), self.heads[code])
        if steps == 2:
            return
        plan.approve()
        if steps:
            return
        yield At(moment(date(year, 1, 2), 9), self.hr)
        if plan.status is plan.status.APPROVED:  # the clock may have been first
            plan.put_in_force()
        yield At(moment(date(year + 1, 2, 10), 15), self.hr)
        plan.close(year_review="计划课程全部完成；应急演练参与率最高，线上课程的考试质量需要改进，明年增加现场实操。")

    def _items(self, plan: TrainingPlan) -> list[TrainingPlanItem]:
        codes = ("EMERGENCY", "PRIVACY", "INFECTION", "ETIQUETTE", "ETHICS")
        return [
            TrainingPlanItem(
                plan=plan, course=self.courses[code], goal=GOALS.get(code, "形成统一的服务标准。"),
                content=self.courses[code].outline, method=TrainingMode.CASE, planned_on=date(plan.year, 2 * n + 2, 15),
                trainer="孙莉" if n else "沈国强", hours=self.courses[code].hours, cost=Decimal(600 + 200 * n),
            )
            for n, code in enumerate(codes)
        ]  # fmt: skip

    # -- sessions --

    def taught(self, told: Taught, today: date) -> Life:
        """A session from its planning to its evaluation."""
        held_on = today - timedelta(days=told.ago)
        starts = moment(held_on, 14) if told.ago else self.now - timedelta(minutes=40)
        yield At(moment(held_on - timedelta(days=30), 10), self.hr)
        training = self._session(told, starts)
        yield At(moment(held_on - timedelta(days=14), 9), self.hr)
        training.open()
        yield At(moment(held_on - timedelta(days=12), 15), self.hr)
        records = self._enrol(training)
        yield At(starts, self.hr)
        training.begin()
        yield At(training.ends_at + timedelta(minutes=10), self.hr)
        self._note_attendance(training, records)
        training.finish()
        yield At(training.ends_at + timedelta(days=3), self.hr)
        self._mark(records)
        yield At(training.ends_at + timedelta(days=6), self.hr)
        for record in records:
            if record.status is record.status.FAILED and told.ago > 30:
                record.send_to_retake()
        yield At(training.ends_at + timedelta(days=9), self.hr)
        training.evaluate(evaluation=self.rng.choice(_EVALUATIONS))

    def called_off(self, told: Taught, today: date) -> Life:
        held_on = today - timedelta(days=told.ago)
        yield At(moment(held_on - timedelta(days=20), 10), self.hr)
        training = self._session(told, moment(held_on, 14))
        training.open()
        yield At(moment(held_on - timedelta(days=1), 17), self.hr)
        training.cancel(reason="讲师因台风无法到杭，改期另行通知。")

    def _session(self, told: Taught, starts: datetime) -> TrainingSession:
        course = self.courses[told.course]
        minutes = int(course.hours * 60 * Decimal("0.75"))
        paid = told.method is TrainingMode.EXTERNAL
        training = TrainingSession(
            branch=self.branches[told.branch], course=course, mode=told.method, lecturer=told.lecturer, place=told.place,
            starts_at=starts, ends_at=starts + timedelta(minutes=minutes + 30), minutes=minutes, capacity=30,
            cost=Decimal(12000) if paid else None, service_period_months=24 if paid else None,
        )  # fmt: skip
        self.session.add(training)
        self.session.flush()
        return training

    def _enrol(self, training: TrainingSession) -> list[TrainingRecord]:
        suited = [p for p in self.staff.values() if p.branch is training.branch and training.course.is_meant_for(p)]
        chosen = sorted(self.rng.sample(suited, min(CLASS_SIZE, len(suited))), key=lambda p: p.id)
        records = [TrainingRecord(staff=person, session=training) for person in chosen]
        self.session.add_all(records)
        self.session.flush()
        return records

    def _note_attendance(self, training: TrainingSession, records: list[TrainingRecord]) -> None:
        for n, record in enumerate(records):
            stayed = 0 if n == 3 else self.rng.choice([100, 100, 100, 96, 90, 84])
            record.attended_minutes = training.minutes * stayed // 100
        self.session.flush()

    def _mark(self, records: list[TrainingRecord]) -> None:
        """Exam and questionnaire; about one in nine does not pass."""
        present = [r for r in records if r.status is r.status.ATTENDED]
        for n, record in enumerate(present):
            low = n == 5
            record.exam_score = Decimal(self.rng.randrange(42, 59) if low else self.rng.randrange(80, 100))
            record.questionnaire_score = Decimal(self.rng.randrange(75, 100))
        self.session.flush()
        for record in present:
            mark = record.course.pass_mark
            passed = mark is None or (record.exam_score is not None and record.exam_score >= mark)
            move: Callable[[], None] = record.pass_course if passed else record.fail_course
            move()


_EVALUATIONS = (
    "考试平均分在85分以上，实操环节两人动作不规范，已当场纠正；学员认为案例贴近工作。",
    "问卷满意度高；缺席人员安排补训。培训后一个月客户反馈中相关问题减少。",
    "内容偏多、时间偏紧，下次拆成两次课；不及格人员列入重修名单。",
)
