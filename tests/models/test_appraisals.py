"""Appraisals: every move of SM-24 and SM-25, who may score whom, missing data, and what an appeal changes."""

from datetime import date, datetime
from decimal import Decimal
from types import SimpleNamespace

import pytest

from models import clock
from models.appeals import AppealReviewer, AppealStatus, AppraisalAppeal
from models.appraisal_scores import AppraisalScore
from models.appraisals import Appraisal, AppraisalStatus, Grade, grade_of, lock_appraisals
from models.courses import CourseCategory, TrainingCourse
from models.cycles import AppraisalCycle, CycleKind, CycleStatus, open_cycles
from models.errors import RuleBroken
from models.kpi import (
    MEASURES,
    KpiDimension,
    KpiDirection,
    KpiIndicator,
    KpiSource,
    KpiTemplate,
    KpiTemplateStatus,
    Sample,
    weighted_mean,
)
from models.organisation import Branch, LineOfBusiness, Post
from models.staff import Staff, StaffPosting, StaffStatus
from models.workflow import by_rule, transitions_of
from tests.models.conftest import as_staff

T = KpiTemplateStatus
C = CycleStatus
A = AppraisalStatus
P = AppealStatus


def instant(text):
    return datetime.fromisoformat(text).replace(tzinfo=clock.HOUSE_ZONE)


def at(text):
    """The clock stopped at *text*, in the house's zone."""
    return clock.at(instant(text))


@pytest.fixture(autouse=True)
def _on_the_day():
    with at("2026-07-01T09:00"):
        yield


@pytest.fixture
def house(session):
    """SH01: 何静 reports to 许佳, she to 沈国强, he to 赵明远; 孙莉 is HR. One cycle for June 2026 is planned."""
    branch = Branch(code="SH01", name="上海静安月子会所", line=LineOfBusiness.POSTPARTUM)
    nurse_post = Post(code="NURSE", name="护士")
    session.add_all([branch, nurse_post])

    def hire(no, name, manager=None, **more):
        person = Staff(branch=branch, no=no, name=name, manager=manager, hired_on=date(2024, 1, 1), **more)
        session.add(person)
        return person

    director = hire("E00001", "赵明远")
    nursing_manager = hire("E00002", "沈国强", director)
    head_nurse = hire("E00003", "许佳", nursing_manager)
    nurse = hire("E00004", "何静", head_nurse, post=nurse_post)
    hr = hire("E00005", "孙莉", director)
    service_manager = hire("E00006", "顾海燕", director)
    template = KpiTemplate(code="GEN", name="通用考核", valid_from=date(2026, 1, 1))
    cycle = AppraisalCycle(
        branch=branch, period_start=date(2026, 6, 1), period_end=date(2026, 6, 30), opens_on=date(2026, 7, 1),
        closes_on=date(2026, 7, 10),
    )  # fmt: skip
    session.add_all([template, cycle])
    house = SimpleNamespace(
        session=session, branch=branch, nurse_post=nurse_post, template=template, cycle=cycle, director=director,
        nursing_manager=nursing_manager, head_nurse=head_nurse, nurse=nurse, hr=hr, service_manager=service_manager,
    )  # fmt: skip
    for code, name, weight in (
        ("A", "服务态度", 40),
        ("B", "问题解决", 30),
        ("C", "服务质量", 20),
        ("D", "工作效率", 10),
    ):
        add_indicator(house, code=code, name=name, weight=Decimal(weight))
    template.put_in_use()
    session.flush()
    return house


def add_indicator(house, template=None, **values):
    values = {"dimension": KpiDimension.ATTITUDE, **values}
    indicator = KpiIndicator(template=template or house.template, **values)
    house.session.add(indicator)
    house.session.flush()
    return indicator


def new_template(house, code="NEW", **values):
    template = KpiTemplate(code=code, name="护士考核", valid_from=date(2026, 1, 1), **values)
    house.session.add(template)
    house.session.flush()
    return template


def set_state(session, record, state, **values):
    with by_rule(session):
        record.status = state
        for name, value in values.items():
            setattr(record, name, value)
        session.flush()


def appraisal_of(house, person):
    return next(a for a in house.cycle.appraisals if a.staff is person)


def fill(house, appraisal, column, *points):
    for score, value in zip(appraisal.scores, points, strict=True):
        setattr(score, column, None if value is None else Decimal(value))
    house.session.flush()


def to_manager(house):
    """Open the cycle and start scoring: the appraisal of 何静, waiting for 许佳's points."""
    house.cycle.open()
    house.cycle.start_scoring()
    return appraisal_of(house, house.nurse)


def scored(house, *points):
    """The appraisal of 何静 with 许佳's points handed in."""
    appraisal = to_manager(house)
    with as_staff(house.session, house.head_nurse):
        fill(house, appraisal, "manager_points", *(points or ("80", "80", "80", "80")))
        appraisal.score()
    return appraisal


def published(house, *points):
    """The appraisal of 何静, published on Wednesday 2026-07-01 at nine."""
    appraisal = scored(house, *points)
    appraisal.calibrate()
    appraisal.publish()
    return appraisal


def appealed(house):
    """The appeal of 何静 against a total of 80, with two reviewers."""
    appraisal = published(house)
    with as_staff(house.session, house.nurse):
        appraisal.appeal(grounds="夜班人手不足，不是态度问题")
    (appeal,) = appraisal.appeals
    add_reviewers(house, appeal, house.nursing_manager, house.service_manager)
    return appeal


def add_reviewers(house, appeal, *people):
    house.session.add_all([AppealReviewer(appeal=appeal, reviewer=p) for p in people])
    house.session.flush()


# -- templates -----------------------------------------------------------------------------------------------


def test_weights_that_do_not_add_up_to_100_are_refused_with_their_sum(house):
    template = new_template(house)
    add_indicator(house, template, code="A", name="服务态度", weight=Decimal("59.5"))
    add_indicator(house, template, code="B", name="服务质量", weight=Decimal("39.5"))

    with pytest.raises(RuleBroken, match="add up to 99, not to 100"):
        template.put_in_use()


def test_a_template_in_use_keeps_its_indicators_as_they_are(house):
    house.template.indicators[0].target = Decimal(5)

    with pytest.raises(RuleBroken, match="“通用考核” is In use, so its indicators stand as they are"):
        house.session.flush()


def test_a_template_in_use_takes_no_further_indicator(house):
    with pytest.raises(RuleBroken, match="make a new edition"):
        add_indicator(house, code="E", name="学习", weight=Decimal(5))


def test_a_computed_indicator_needs_a_target(house):
    with pytest.raises(RuleBroken, match="is computed, so it needs a target"):
        add_indicator(house, new_template(house), code="A", name="满意度", weight=Decimal(100), source=KpiSource.CSAT)


@pytest.mark.parametrize(
    ("direction", "unit", "target", "numerator", "denominator", "points"),
    [
        # 18 of 20 are 90 %, the target is 90 %
        (KpiDirection.UP, "%", "90", "18", "20", "100.00"),
        # 16 of 20 are 80 %: 100 × 80 / 90
        (KpiDirection.UP, "%", "90", "16", "20", "88.89"),
        # above the target there is no more than the full score
        (KpiDirection.UP, None, "4.5", "24", "5", "100.00"),
        # a mean of 3.6 where 4.5 is wanted: 100 × 3.6 / 4.5
        (KpiDirection.UP, None, "4.5", "18", "5", "80.00"),
        # 2 complaints where 1 is borne: 100 × 1 / 2
        (KpiDirection.DOWN, None, "1", "10", "5", "50.00"),
        (KpiDirection.DOWN, None, "0", "0", "5", "100.00"),
        (KpiDirection.DOWN, None, "0", "5", "5", "0.00"),
        # four cases where five are the smallest sample: no data
        (KpiDirection.UP, "%", "90", "4", "4", None),
    ],
)
def test_a_computed_figure_earns_points_against_its_target(direction, unit, target, numerator, denominator, points):
    indicator = KpiIndicator(
        direction=direction, unit=unit, target=Decimal(target), full_score=Decimal(100), min_sample=5
    )

    earned = indicator.points_for(Decimal(numerator), Decimal(denominator))

    assert earned == (None if points is None else Decimal(points))


# -- missing data ----------------------------------------------------------------------------------------------


def test_the_weight_of_a_missing_indicator_is_shared_out_among_the_rest(house):
    appraisal = to_manager(house)
    appraisal.scores[2].no_data = True
    fill(house, appraisal, "manager_points", "90", "80", None, "70")
    appraisal.score()

    # (40 × 90 + 30 × 80 + 10 × 70) / (40 + 30 + 10) = 6700 / 80; with a 0 for the missing one it were 67
    assert appraisal.total == Decimal("83.75")
    assert appraisal.grade is Grade.GOOD
    assert appraisal.scores[2].points() is None


def test_nothing_but_missing_data_gives_no_total_and_no_grade(house):
    appraisal = to_manager(house)
    for score in appraisal.scores:
        score.no_data = True
    appraisal.score()

    assert (appraisal.total, appraisal.grade) == (None, None)


def test_points_on_another_scale_count_by_their_share(house):
    # 8 of 10 is 80, 45 of 50 is 90: (60 × 80 + 40 × 90) / 100
    template = new_template(house, post=house.nurse_post)
    add_indicator(house, template, code="A", name="服务态度", weight=Decimal(60), full_score=Decimal(10))
    add_indicator(house, template, code="B", name="服务质量", weight=Decimal(40), full_score=Decimal(50))
    template.put_in_use()
    appraisal = to_manager(house)
    fill(house, appraisal, "manager_points", "8", "45")
    appraisal.score()

    assert appraisal.total == Decimal("84.00")


def test_a_row_without_data_has_no_points(house):
    appraisal = to_manager(house)
    appraisal.scores[0].no_data = True
    appraisal.scores[0].manager_points = Decimal(80)

    with pytest.raises(RuleBroken, match="has no data, so it has no points"):
        house.session.flush()


def test_computed_rows_take_what_the_records_show(house, monkeypatch):
    samples = {house.nurse: Sample(Decimal(18), Decimal(20), "18/20")}
    monkeypatch.setitem(MEASURES, KpiSource.KEPT_PROMISE, lambda _session, person, *_days: samples.get(person))
    template = new_template(house, post=house.nurse_post)
    add_indicator(house, template, code="A", name="服务态度", weight=Decimal(50))
    add_indicator(
        house, template, code="K", name="承诺兑现率", weight=Decimal(50), source=KpiSource.KEPT_PROMISE,
        target=Decimal(100), unit="%", min_sample=5,
    )  # fmt: skip
    template.put_in_use()
    appraisal = to_manager(house)
    manual, computed = appraisal.scores
    manual.manager_points = Decimal(80)
    house.session.flush()

    # (50 × 80 + 50 × 90) / 100
    assert (computed.computed_points, computed.evidence, computed.no_data) == (Decimal(90), "18/20", False)
    assert appraisal.total == Decimal(85)

    computed.manager_points = Decimal(100)
    with pytest.raises(RuleBroken, match="“承诺兑现率” is computed from records"):
        house.session.flush()


def test_a_quarter_counts_the_mean_of_its_months(house):
    months = [(date(2026, 4, 1), date(2026, 4, 30), "80"), (date(2026, 5, 1), date(2026, 5, 31), "90")]
    for start, end, total in months:
        cycle = AppraisalCycle(branch=house.branch, period_start=start, period_end=end, opens_on=end, closes_on=end)
        appraisal = Appraisal(cycle=cycle, staff=house.nurse)
        house.session.add_all([cycle, appraisal])
        set_state(house.session, appraisal, A.LOCKED, total=Decimal(total))

    sample = MEASURES[KpiSource.MONTHLY](house.session, house.nurse, date(2026, 4, 1), date(2026, 6, 30))

    assert sample == Sample(Decimal(170), Decimal(2))


def test_mandatory_courses_not_held_lower_the_training_figure(house):
    house.session.add_all(
        TrainingCourse(code=c, name=c, category=CourseCategory.LAW, is_mandatory=True, hours=Decimal(1)) for c in "XY"
    )

    sample = MEASURES[KpiSource.TRAINING](house.session, house.nurse, date(2026, 6, 1), date(2026, 6, 30))

    assert sample == Sample(Decimal(0), Decimal(2))


def test_no_parts_have_no_mean():
    assert weighted_mean([]) is None


@pytest.mark.parametrize(
    ("total", "grade"),
    [
        ("100", Grade.EXCELLENT), ("90", Grade.EXCELLENT), ("89.99", Grade.GOOD), ("75", Grade.GOOD),
        ("74.99", Grade.QUALIFIED), ("60", Grade.QUALIFIED), ("59.99", Grade.UNQUALIFIED), ("0", Grade.UNQUALIFIED),
    ],
)  # fmt: skip
def test_grades_begin_at_their_marks(total, grade):
    assert grade_of(Decimal(total)) is grade


# -- opening a cycle -------------------------------------------------------------------------------------------


def test_opening_gives_everybody_active_one_appraisal_with_a_row_per_indicator(house):
    house.cycle.open()

    assert [a.staff.name for a in house.cycle.appraisals] == ["赵明远", "沈国强", "许佳", "何静", "孙莉", "顾海燕"]
    assert [(s.indicator.name, s.weight) for s in appraisal_of(house, house.nurse).scores] == [
        ("服务态度", 40), ("问题解决", 30), ("服务质量", 20), ("工作效率", 10)
    ]  # fmt: skip
    assert appraisal_of(house, house.nurse).branch is house.branch


def test_opening_by_the_clock_can_be_repeated(house):
    assert open_cycles(house.session) == 1
    assert open_cycles(house.session) == 0
    assert len(house.cycle.appraisals) == 6

    late = Staff(branch=house.branch, name="陶然", hired_on=date(2026, 6, 1))
    house.session.add(late)
    house.session.flush()

    assert open_cycles(house.session) == 1
    assert open_cycles(house.session) == 0
    assert len(house.cycle.appraisals) == 7


def test_what_was_put_in_the_bin_is_not_created_again(house):
    house.cycle.open()
    appraisal_of(house, house.hr).deleted_at = clock.now()
    house.session.commit()

    assert house.cycle.add_missing_appraisals() == 0


@pytest.mark.parametrize(
    ("changes", "is_appraised"),
    [
        # from 15 June to the 30th there are 11 working days (the 19th is the Dragon-Boat holiday), from the 17th 9
        ({"hired_on": date(2026, 6, 15)}, True),
        ({"hired_on": date(2026, 6, 16)}, True),  # exactly ten
        ({"hired_on": date(2026, 6, 17)}, False),
        ({"status": StaffStatus.LEAVE}, False),
        ({"status": StaffStatus.PROBATION}, True),
        ({"status": StaffStatus.LEFT, "left_on": date(2026, 6, 29)}, False),
    ],
)
def test_ten_working_days_in_service_make_an_appraisal(house, changes, is_appraised):
    for name, value in changes.items():
        setattr(house.hr, name, value)
    house.session.flush()
    house.cycle.open()

    assert (house.hr in {a.staff for a in house.cycle.appraisals}) is is_appraised


def test_without_a_fitting_template_the_cycle_stays_planned_and_says_for_whom(house):
    house.template.retire()
    only_nurses = new_template(house, post=house.nurse_post)
    add_indicator(house, only_nurses, code="A", name="服务态度", weight=Decimal(100))
    only_nurses.put_in_use()

    assert open_cycles(house.session) == 0
    with pytest.raises(RuleBroken, match=r"No KPI template in use fits 赵明远 \(–\)"):
        house.cycle.open()


def test_a_post_has_its_own_template_before_the_general_one(house):
    mine = new_template(house, post=house.nurse_post)
    later = new_template(house, post=house.nurse_post, code="LATER")
    later.valid_from = date(2026, 7, 1)
    for template in (mine, later):
        add_indicator(house, template, code="A", name="服务态度", weight=Decimal(100))
        template.put_in_use()
    house.cycle.open()

    assert appraisal_of(house, house.nurse).template is mine
    assert appraisal_of(house, house.hr).template is house.template


def test_an_ad_hoc_cycle_is_for_those_entered_and_needs_its_occasion(house):
    cycle = AppraisalCycle(
        branch=house.branch, kind=CycleKind.AD_HOC, period_start=date(2026, 6, 1), period_end=date(2026, 6, 30),
        opens_on=date(2026, 7, 1), closes_on=date(2026, 7, 10),
    )  # fmt: skip
    house.session.add(cycle)
    with pytest.raises(RuleBroken, match="needs its occasion"):
        house.session.flush()
    cycle.occasion = "投诉：夜班态度"
    house.session.add(Appraisal(cycle=cycle, staff=house.nurse))
    house.session.flush()
    cycle.open()

    assert [(a.staff.name, len(a.scores)) for a in cycle.appraisals] == [("何静", 4)]


def test_an_empty_cycle_does_not_open(house):
    for person in house.session.query(Staff):
        person.status = StaffStatus.LEAVE

    with pytest.raises(RuleBroken, match="Nobody is to be appraised from 2026-06-01 to 2026-06-30"):
        house.cycle.open()


# -- the manager of the period ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("until", "manager"),
    [
        (date(2026, 6, 16), "顾海燕"),  # 16 of 30 days
        (date(2026, 6, 15), "许佳"),  # 15 of 30 days are not more than half; the other 15 have no posting
    ],
)
def test_whoever_managed_the_person_for_most_of_the_period_scores(house, until, manager):
    house.session.add(
        StaffPosting(
            staff=house.nurse, branch=house.branch, manager=house.service_manager, from_on=date(2025, 1, 1), to_on=until
        )
    )
    house.session.flush()
    house.cycle.open()

    assert appraisal_of(house, house.nurse).manager.name == manager


def test_only_the_manager_of_the_period_enters_points_and_hands_them_in(house):
    appraisal = to_manager(house)
    for other in (house.nurse, house.hr, house.director):
        with as_staff(house.session, other):
            appraisal.scores[0].manager_points = Decimal(80)
            with pytest.raises(RuleBroken, match="for 何静 that is 许佳"):
                house.session.flush()
            house.session.refresh(appraisal.scores[0])
            with pytest.raises(RuleBroken, match="for 何静 that is 许佳"):
                appraisal.score()


def test_nobody_manages_themselves_in_an_appraisal(house):
    house.session.add(
        StaffPosting(staff=house.director, branch=house.branch, manager=house.director, from_on=date(2025, 1, 1))
    )
    house.session.flush()
    house.cycle.open()
    house.cycle.start_scoring()
    appraisal = appraisal_of(house, house.director)

    assert appraisal.manager is None
    with as_staff(house.session, house.director), pytest.raises(RuleBroken, match="赵明远 has no manager on record"):
        appraisal.score()


def test_a_manager_entered_later_can_score(house):
    appraisal = to_manager(house)
    boss = appraisal_of(house, house.director)
    house.director.manager = owner = Staff(branch=house.branch, name="王立群", hired_on=date(2020, 1, 1))
    house.session.flush()
    with as_staff(house.session, owner):
        fill(house, boss, "manager_points", "80", "80", "80", "80")
        boss.score()

    assert (boss.manager, boss.total) == (owner, Decimal(80))
    assert appraisal.manager is house.head_nurse


def test_only_the_person_enters_their_own_points(house):
    house.cycle.open()
    appraisal = appraisal_of(house, house.nurse)
    with as_staff(house.session, house.head_nurse):
        appraisal.scores[0].self_points = Decimal(90)

        with pytest.raises(RuleBroken, match="This is for 何静 alone"):
            house.session.flush()


def test_self_scores_are_complete_when_handed_in(house):
    house.cycle.open()
    appraisal = appraisal_of(house, house.nurse)
    with as_staff(house.session, house.nurse):
        fill(house, appraisal, "self_points", "90", "90", "80", None)
        with pytest.raises(RuleBroken, match="“工作效率” has no points of your own yet"):
            appraisal.score_self()
        fill(house, appraisal, "self_points", "90", "90", "80", "70")
        appraisal.score_self()

    # (40 × 90 + 30 × 90 + 20 × 80 + 10 × 70) / 100
    assert appraisal.self_score == Decimal(86)
    appraisal.scores[0].self_points = Decimal(100)
    with pytest.raises(RuleBroken, match="“Own points” cannot be entered now: the appraisal is Self-scored"):
        house.session.flush()


def test_every_item_is_scored_before_the_managers_score_is_handed_in(house):
    appraisal = to_manager(house)
    fill(house, appraisal, "manager_points", "80", None, "80", "80")

    with pytest.raises(RuleBroken, match="“问题解决” has no manager's points yet"):
        appraisal.score()


@pytest.mark.parametrize(("points", "needs_evidence"), [("60", True), ("60.5", False), ("94.5", False), ("95", True)])
def test_very_low_and_very_high_points_need_evidence(house, points, needs_evidence):
    appraisal = to_manager(house)
    fill(house, appraisal, "manager_points", points, "80", "80", "80")

    if needs_evidence:
        with pytest.raises(RuleBroken, match=f"“服务态度” has {points} points: up to 60 and from 95 need evidence"):
            appraisal.score()
        appraisal.scores[0].evidence = "投诉 1，已核实"
    appraisal.score()

    assert appraisal.status is A.MANAGER_SCORED


def test_points_stay_within_the_full_score(house):
    appraisal = to_manager(house)
    appraisal.scores[0].manager_points = Decimal("100.5")

    with pytest.raises(RuleBroken, match="“服务态度” goes from 0 to 100 points"):
        house.session.flush()


def test_calibrated_points_count_and_the_managers_are_kept(house):
    appraisal = scored(house, "90", "80", "80", "80")
    appraisal.scores[0].calibrated_points = Decimal(70)
    house.session.flush()

    # (40 × 90 + 60 × 80) / 100, then (40 × 70 + 60 × 80) / 100
    assert (appraisal.manager_score, appraisal.total) == (Decimal(84), Decimal(76))


def test_nobody_calibrates_their_own_appraisal(house):
    appraisal = scored(house)
    with (
        as_staff(house.session, house.nurse),
        pytest.raises(RuleBroken, match="何静 cannot settle their own appraisal"),
    ):
        appraisal.calibrate()


# -- the cycle carries its appraisals along --------------------------------------------------------------------


def test_a_cycle_is_calibrated_when_all_are_scored_and_publishes_them(house):
    to_manager(house)
    *others, last = house.cycle.appraisals
    for appraisal in others:
        set_state(house.session, appraisal, A.MANAGER_SCORED)
    with pytest.raises(RuleBroken, match="顾海燕 has not been scored by the manager yet"):
        house.cycle.calibrate()
    set_state(house.session, last, A.MANAGER_SCORED)

    house.cycle.calibrate()
    house.cycle.publish()

    assert {(a.status, a.published_at) for a in house.cycle.appraisals} == {(A.PUBLISHED, clock.now())}


def test_a_cycle_does_not_close_without_its_analysis(house):
    set_state(house.session, house.cycle, C.PUBLISHED)

    with pytest.raises(RuleBroken, match="needs “Analysis”"):
        house.cycle.close(analysis="")


def test_managers_score_once_scoring_has_started(house):
    house.cycle.open()
    appraisal = appraisal_of(house, house.nurse)
    fill(house, appraisal, "self_points", "80", "80", "80", "80")
    appraisal.score_self()
    fill(house, appraisal, "manager_points", "80", "80", "80", "80")

    with pytest.raises(RuleBroken, match="managers score once scoring has started"):
        appraisal.score()


def test_nobody_is_added_once_scoring_has_started(house):
    house.cycle.open()
    house.cycle.start_scoring()
    house.session.add(
        Appraisal(cycle=house.cycle, staff=Staff(branch=house.branch, name="陶然", hired_on=date(2026, 6, 1)))
    )

    with pytest.raises(RuleBroken, match="people are added before scoring starts"):
        house.session.flush()


def test_the_bonus_comes_with_the_lock(house):
    appraisal = published(house, "92", "92", "92", "92")
    assert (appraisal.grade, appraisal.bonus_factor) == (Grade.EXCELLENT, None)

    with at("2026-07-09T00:05"):
        assert lock_appraisals(house.session) == 1
        assert lock_appraisals(house.session) == 0

    assert (appraisal.status, appraisal.bonus_factor) == (A.LOCKED, Decimal("1.2"))


def test_the_clock_does_not_lock_before_the_time_to_appeal_is_over(house):
    appraisal = published(house)
    appraisal.acknowledge(opinion="同意")
    with at("2026-07-08T23:50"):
        assert lock_appraisals(house.session) == 0
        with pytest.raises(RuleBroken, match="何静 may appeal until 2026-07-08"):
            appraisal.lock()


# -- appeals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "in_time"),
    [
        # published on Wednesday 1 July: 2, 3, 6, 7 and 8 July are the five working days
        ("2026-07-01T09:00", True),
        ("2026-07-08T23:59", True),
        ("2026-07-09T00:00", False),
    ],
)
def test_an_appeal_is_possible_for_five_working_days(house, moment, in_time):
    appraisal = published(house)

    with at(moment), as_staff(house.session, house.nurse):
        if in_time:
            appraisal.appeal(grounds="夜班人手不足")
        else:
            with pytest.raises(RuleBroken, match="An appeal was possible until 2026-07-08"):
                appraisal.appeal(grounds="夜班人手不足")

    assert appraisal.status is (A.APPEALED if in_time else A.PUBLISHED)


def test_holidays_do_not_count_in_the_time_to_appeal(house):
    appraisal = published(house)
    # 30 September 2026 is a Wednesday; 1 to 7 October are holidays, Saturday the 10th is worked
    appraisal.published_at = instant("2026-09-30T17:00")

    assert appraisal.appeal_deadline() == date(2026, 10, 13)


def test_only_the_person_appeals(house):
    appraisal = published(house)
    with as_staff(house.session, house.head_nurse), pytest.raises(RuleBroken, match="This is for 何静 alone"):
        appraisal.appeal(grounds="……")


def test_an_appeal_is_not_filed_by_hand(house):
    appraisal = published(house)
    house.session.add(AppraisalAppeal(appraisal=appraisal, filed_at=clock.now(), grounds="……"))

    with pytest.raises(RuleBroken, match="filed with the button “Appeal”"):
        house.session.flush()


def test_an_appeal_that_is_upheld_keeps_both_totals(house):
    appeal = appealed(house)
    appeal.accept()
    appeal.begin_review()
    with as_staff(house.session, house.nursing_manager):
        appeal.uphold(new_total=Decimal("91.5"), reason="排班记录证实人手不足")
    appraisal = appeal.appraisal

    assert (appeal.old_total, appeal.new_total) == (Decimal(80), Decimal("91.5"))
    assert (appraisal.total, appraisal.grade, appraisal.status) == (Decimal("91.5"), Grade.EXCELLENT, A.APPEAL_DECIDED)
    assert appraisal.manager_score == Decimal(80)
    assert appeal.decided_by is house.nursing_manager


def test_an_appeal_that_is_dismissed_leaves_the_total(house):
    appeal = appealed(house)
    appeal.accept()
    appeal.begin_review()
    appeal.dismiss(reason="记录不支持")

    assert (appeal.appraisal.total, appeal.appraisal.status) == (Decimal(80), A.APPEAL_DECIDED)


def test_telling_the_person_locks_the_appraisal(house):
    appeal = appealed(house)
    appeal.accept()
    appeal.begin_review()
    appeal.uphold(new_total=Decimal(90), reason="证据充分")
    with pytest.raises(RuleBroken, match="Tell 何静 the decision"):
        appeal.appraisal.lock()

    appeal.notify()

    assert (appeal.appraisal.status, appeal.appraisal.bonus_factor) == (A.LOCKED, Decimal("1.2"))


def test_whoever_scored_has_no_part_in_the_appeal(house):
    appeal = appealed(house)

    with pytest.raises(RuleBroken, match="许佳 scored this appraisal"):
        add_reviewers(house, appeal, house.head_nurse)


@pytest.mark.parametrize(
    ("who", "why"),
    [("head_nurse", "许佳 scored"), ("nurse", "何静 filed"), ("hr", "孙莉 is not a reviewer")],
)
def test_reviewers_alone_decide(house, who, why):
    appeal = appealed(house)
    appeal.accept()
    appeal.begin_review()

    with as_staff(house.session, getattr(house, who)):
        with pytest.raises(RuleBroken, match=why):
            appeal.uphold(new_total=Decimal(90), reason="……")
        with pytest.raises(RuleBroken, match=why):
            appeal.dismiss(reason="……")


def test_a_review_needs_two_reviewers(house):
    appeal = appealed(house)
    appeal.reviewers[0].deleted_at = clock.now()
    appeal.accept()

    with pytest.raises(RuleBroken, match="at least 2 reviewers and has 1"):
        appeal.begin_review()


@pytest.mark.parametrize(
    ("total", "why"), [("80", "The new total is the old one"), ("100.5", "enter one from 0 to 100")]
)
def test_an_upheld_appeal_brings_another_total_within_100(house, total, why):
    appeal = appealed(house)
    appeal.accept()
    appeal.begin_review()

    with pytest.raises(RuleBroken, match=why):
        appeal.uphold(new_total=Decimal(total), reason="……")


def test_points_stand_still_once_published(house):
    appraisal = published(house)
    appraisal.scores[0].manager_points = Decimal(90)

    with pytest.raises(RuleBroken, match="the appraisal is Published"):
        house.session.flush()


# -- SM-24 and SM-25: every state, every move --------------------------------------------------------------------

TEMPLATE_MOVES = {(T.DRAFT, "put_in_use"): T.IN_USE, (T.IN_USE, "retire"): T.RETIRED}
CYCLE_MOVES = {
    (C.PLANNED, "open"): C.OPEN,
    (C.OPEN, "start_scoring"): C.SCORING,
    (C.SCORING, "calibrate"): C.CALIBRATED,
    (C.CALIBRATED, "publish"): C.PUBLISHED,
    (C.PUBLISHED, "close"): C.CLOSED,
}
APPRAISAL_MOVES = {
    (A.NOT_STARTED, "score_self"): A.SELF_SCORED,
    (A.NOT_STARTED, "close_self_scoring"): A.SELF_SCORED,
    (A.SELF_SCORED, "score"): A.MANAGER_SCORED,
    (A.MANAGER_SCORED, "calibrate"): A.CALIBRATED,
    (A.CALIBRATED, "publish"): A.PUBLISHED,
    (A.PUBLISHED, "acknowledge"): A.ACKNOWLEDGED,
    (A.PUBLISHED, "appeal"): A.APPEALED,
    (A.APPEALED, "close_appeal"): A.APPEAL_DECIDED,
    (A.PUBLISHED, "lock"): A.LOCKED,
    (A.ACKNOWLEDGED, "lock"): A.LOCKED,
    (A.APPEAL_DECIDED, "lock"): A.LOCKED,
}
APPEAL_MOVES = {
    (P.FILED, "accept"): P.ACCEPTED,
    (P.ACCEPTED, "begin_review"): P.REVIEWING,
    (P.REVIEWING, "uphold"): P.UPHELD,
    (P.REVIEWING, "dismiss"): P.DISMISSED,
    (P.UPHELD, "notify"): P.NOTIFIED,
    (P.DISMISSED, "notify"): P.NOTIFIED,
}
GIVEN = {
    "close": {"analysis": "夜班人手不足"},
    "acknowledge": {"opinion": "同意"},
    "appeal": {"grounds": "夜班人手不足"},
    "uphold": {"new_total": Decimal(90), "reason": "证据充分"},
    "dismiss": {"reason": "记录不支持"},
}


def every_pair(model, states):
    return [(state, move.name) for state in states for move in transitions_of(model)]


def try_move(record, state, move, moves):
    """Try *move* on *record*, which is in *state*, and compare with the table."""
    if (state, move) in moves:
        getattr(record, move)(**GIVEN.get(move, {}))
        assert record.status is moves[state, move]
    else:
        with pytest.raises(RuleBroken, match=r"so “.*” is not possible"):
            getattr(record, move)(**GIVEN.get(move, {}))
        assert record.status is state


@pytest.mark.parametrize(("state", "move"), every_pair(KpiTemplate, T))
def test_moves_of_a_template(house, state, move):
    template = new_template(house)
    add_indicator(house, template, code="A", name="服务态度", weight=Decimal(100))
    set_state(house.session, template, state)

    try_move(template, state, move, TEMPLATE_MOVES)


@pytest.mark.parametrize(("state", "move"), every_pair(AppraisalCycle, C))
def test_moves_of_a_cycle(house, state, move):
    house.session.add(Appraisal(cycle=house.cycle, staff=house.nurse))
    house.session.flush()
    if move == "calibrate":
        set_state(house.session, house.cycle.appraisals[0], A.MANAGER_SCORED)
    set_state(house.session, house.cycle, state)

    try_move(house.cycle, state, move, CYCLE_MOVES)


@pytest.mark.parametrize(("state", "move"), every_pair(Appraisal, A))
def test_moves_of_an_appraisal(house, state, move):
    house.cycle.open()
    appraisal = appraisal_of(house, house.nurse)
    fill(house, appraisal, "self_points", "80", "80", "80", "80")
    set_state(house.session, house.cycle, C.SCORING)
    with by_rule(house.session):
        fill(house, appraisal, "manager_points", "80", "80", "80", "80")
    long_ago = move == "lock"
    set_state(house.session, appraisal, state, published_at=instant("2026-06-01T09:00") if long_ago else clock.now())

    try_move(appraisal, state, move, APPRAISAL_MOVES)


@pytest.mark.parametrize(("state", "move"), every_pair(AppraisalAppeal, P))
def test_moves_of_an_appeal(house, state, move):
    appeal = appealed(house)
    if state in {P.UPHELD, P.DISMISSED, P.NOTIFIED}:
        set_state(house.session, appeal.appraisal, A.APPEAL_DECIDED)
    set_state(house.session, appeal, state, new_total=Decimal(90) if state is P.UPHELD else None)

    try_move(appeal, state, move, APPEAL_MOVES)


def test_a_score_row_moves_by_no_button():
    assert transitions_of(AppraisalScore) == ()
