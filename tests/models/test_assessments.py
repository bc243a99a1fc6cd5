"""Instruments, scoring and the life of an assessment (SM-5), on the instruments the house starts with."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from shutil import copy
from types import SimpleNamespace

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import clock
from models.assessment_answers import AssessmentAnswer
from models.assessments import (
    Assessment,
    AssessmentPurpose,
    AssessmentStatus,
    CapacityDecision,
    assessment_in_force,
    due_assessments,
)
from models.clients import Client, Newborn
from models.errors import RuleBroken
from models.instrument_files import load_instruments
from models.instruments import (
    Instrument,
    InstrumentBand,
    InstrumentItem,
    InstrumentOption,
    InstrumentSection,
    InstrumentStatus,
    ItemKind,
    ScoreDirection,
)
from models.journal import Operation
from models.organisation import Branch, LineOfBusiness
from models.policy import HeldRole, Level, Principal, Scope, acting
from models.scoring import Adjustment, adjust, band_of, coverage_problem, is_asked, recent_events
from models.staff import Credential, CredentialKind, Sex, Staff, StaffCategory
from models.undo import undo
from models.workflow import transitions_of
from tests.models.conftest import as_staff

SEED = Path(__file__).resolve().parents[2] / "seed" / "reference" / "instruments"
NOW = datetime(2026, 10, 21, 2, 0, tzinfo=UTC)  # 10:00 in the house


@pytest.fixture(autouse=True)
def _noon() -> Iterator[None]:
    with clock.at(NOW):
        yield


@pytest.fixture
def instruments(session: Session, tmp_path: Path) -> dict[str, Instrument]:
    """The instruments the house starts with by code, each loaded when it is first asked for."""

    class Shelf(dict[str, Instrument]):
        def __missing__(self, code: str) -> Instrument:
            (path,) = SEED.glob(f"{code}*.toml")
            copy(path, tmp_path)
            load_instruments(session, tmp_path)
            self[code] = session.scalars(select(Instrument).where(Instrument.code == code)).one()
            return self[code]

    return Shelf()


@pytest.fixture
def house(session: Session) -> SimpleNamespace:
    """HZ02 with 杜薇 who leads its nurses, 何静 a nurse, 方圆 a caregiver, 王建国 who lives there, and a mother."""
    branch = Branch(code="HZ02", name="杭州西湖颐养院", line=LineOfBusiness.ELDER)
    session.add(branch)
    people = SimpleNamespace(
        branch=branch,
        lead=_nurse(branch, "杜薇", "N1"),
        nurse=_nurse(branch, "何静", "N2"),
        caregiver=Staff(branch=branch, name="方圆", category=StaffCategory.CAREGIVER, hired_on=date(2024, 1, 1)),
        client=Client(branch=branch, name="王建国", line=LineOfBusiness.ELDER),
        mother=Client(branch=branch, name="李欣怡", line=LineOfBusiness.POSTPARTUM),
    )
    session.add_all(vars(people).values())
    session.flush()
    for one in (people.lead, people.nurse):
        one.credentials[0].verify()
    return people


def _nurse(branch: Branch, name: str, number: str) -> Staff:
    nurse = Staff(branch=branch, name=name, category=StaffCategory.NURSE, hired_on=date(2024, 1, 1))
    nurse.credentials.append(
        Credential(
            kind=CredentialKind.NURSE_LICENCE, number=number, issued_on=date(2023, 1, 1), expires_on=date(2028, 1, 1)
        )
    )
    return nurse


@pytest.fixture
def assess(session: Session, house: SimpleNamespace, instruments: dict[str, Instrument]) -> Callable[..., Assessment]:
    """assess("gbt42195", {"B2.4": "2"}, ...) -> a draft with every scored item at its full score, but for those told."""

    def make(code: str, told: dict[str, str] | None = None, **values: object) -> Assessment:
        instrument = instruments[code]
        given = {
            "branch": house.branch, "client": house.client, "instrument": instrument,
            "purpose": AssessmentPurpose.ROUTINE, "performed_at": NOW - timedelta(hours=1),
            "assessor": house.lead,
            "second_assessor": house.caregiver if instrument.assessors_required == 2 else None,
        }  # fmt: skip
        assessment = Assessment(**{**given, **values})
        session.add(assessment)
        if instrument.is_scored:
            for item in instrument.items:
                answer(assessment, item.code, (told or {}).get(item.code) or _fullest(item))
        session.flush()
        return assessment

    return make


def _fullest(item: InstrumentItem) -> str:
    return max(item.options, key=lambda option: option.score).code


def answer(assessment: Assessment, code: str, value: str | int | Decimal) -> AssessmentAnswer:
    item = next(item for item in assessment.instrument.items if item.code == code)
    if item.kind is ItemKind.CHOICE:
        chosen = {"option": next(option for option in item.options if option.code == value)}
    else:
        chosen = {"text": value} if item.kind is ItemKind.TEXT else {"number": Decimal(value)}
    given = AssessmentAnswer(item=item, **chosen)
    assessment.answers.append(given)
    return given


def total_of(instrument: Instrument, total: int) -> dict[str, str]:
    """Answers to *instrument* that come to *total*, losing points from the first item on."""
    told, over = {}, instrument.max_score - total
    for item in instrument.items:
        scores = sorted((option.score, option.code) for option in item.options if option.code != "coma")
        score, code = next((s, c) for s, c in scores if item.highest_score - s <= over)
        told[item.code] = code
        over -= item.highest_score - score
    assert over == 0
    return told


def confirmed(assessment: Assessment) -> Assessment:
    assessment.submit()
    assessment.review()
    assessment.confirm()
    return assessment


# -- the arithmetic -----------------------------------------------------------------------------------

GBT = [InstrumentBand(label=str(n), low=low, high=high) for n, low, high in
       [(0, 90, 90), (1, 66, 89), (2, 46, 65), (3, 30, 45), (4, 0, 29)]]  # fmt: skip


@pytest.mark.parametrize(
    ("total", "level"),
    [(90, "0"), (89, "1"), (66, "1"), (65, "2"), (46, "2"), (45, "3"), (30, "3"), (29, "4"), (0, "4")],
)
def test_the_bounds_of_the_ability_levels_are_those_of_the_standard(total: int, level: str) -> None:
    assert band_of(total, GBT).label == level


@pytest.mark.parametrize(
    ("initial", "holding", "stack", "final", "moved"),
    [
        (1, [Adjustment()], False, 2, [True]),
        (1, [Adjustment(), Adjustment()], False, 2, [True, False]),  # one rise only, the default
        (1, [Adjustment(), Adjustment()], True, 3, [True, True]),
        (4, [Adjustment()], False, 4, [False]),  # no level below the worst
        (3, [Adjustment(), Adjustment()], True, 4, [True, False]),
        (1, [Adjustment(4)], False, 4, [True]),
        (1, [Adjustment(), Adjustment(4)], False, 4, [True, True]),
        (3, [Adjustment(2)], False, 3, [False]),  # set outright, but never to a better level
        (2, [], False, 2, []),
    ],
)
def test_adjustments_move_the_level(
    initial: int, holding: list[Adjustment], stack: bool, final: int, moved: list[bool]
) -> None:
    assert adjust(initial, 4, holding, stack=stack) == (final, moved)


def test_events_of_the_last_thirty_days_are_recent_and_those_before_are_not() -> None:
    on = date(2026, 11, 20)
    days = [date(2026, 11, 20), date(2026, 10, 21), date(2026, 10, 20), date(2026, 11, 21)]

    assert recent_events(days, on) == [date(2026, 10, 21), date(2026, 11, 20)]


@pytest.mark.parametrize(
    ("condition", "asked"),
    [
        (None, True),
        ("mode=caesarean", False),
        ("mode=vaginal,assisted", True),
        ("mode = assisted", True),
        ("epds=done", False),
    ],
)
def test_an_item_is_asked_by_its_condition(condition: str | None, asked: bool) -> None:
    assert is_asked(condition, {"mode": "assisted"}) is asked


@pytest.mark.parametrize(
    ("bounds", "complaint"),
    [
        ([], "No level holds the scores 0 to 90"),
        ([(0, 29), (30, 45), (46, 65), (67, 90)], "No level holds the scores 66 to 66"),
        ([(1, 90)], "No level holds the scores 0 to 0"),
        ([(0, 60)], "No level holds the scores 61 to 90"),
        ([(0, 45), (45, 90)], "“0–45” and “45–90” both hold the scores 45 to 45"),
        ([(0, 80), (10, 20), (81, 90)], "“0–80” and “10–20” both hold the scores 10 to 20"),
        ([(0, 45), (46, 91)], "“46–91” reaches to 91, but the full score is 90"),
    ],
)
def test_levels_that_do_not_cover_every_score_are_named(bounds: list[tuple[int, int]], complaint: str) -> None:
    bands = [InstrumentBand(label=f"{low}–{high}", low=low, high=high) for low, high in bounds]

    assert str(coverage_problem(bands, 90)).startswith(complaint)


def test_levels_that_cover_every_score_once_are_accepted() -> None:
    assert coverage_problem(GBT, 90) is None


# -- instruments --------------------------------------------------------------------------------------


def test_the_house_starts_with_its_instruments_and_loading_again_changes_nothing(session: Session) -> None:
    first = load_instruments(session, SEED)
    again = load_instruments(session, SEED)

    assert first == len(list(SEED.glob("*.toml"))) >= 4
    assert again == 0
    assert set(session.scalars(select(Instrument.status))) == {InstrumentStatus.IN_USE}


def test_an_edition_already_there_is_left_alone(session: Session) -> None:
    session.add(Instrument(code="barthel", edition="1", name="本院版"))
    session.flush()

    load_instruments(session, SEED)

    kept = session.scalars(select(Instrument).where(Instrument.code == "barthel")).one()
    assert (kept.name, kept.status, kept.items) == ("本院版", InstrumentStatus.DRAFT, [])


def test_the_ability_assessment_has_the_items_and_maxima_of_the_standard(instruments: dict[str, Instrument]) -> None:
    gbt = instruments["gbt42195"]

    maxima = {section.code: [item.highest_score for item in section.items] for section in gbt.sections}

    # GB/T 42195-2022 B.1 to B.4, summing to 32, 15, 28 and 15
    assert maxima == {
        "B1": [4, 4, 4, 4, 4, 4, 4, 4],
        "B2": [4, 4, 4, 3],
        "B3": [4, 4, 4, 4, 4, 4, 1, 1, 2],
        "B4": [2, 2, 4, 3, 4],
    }
    assert [band.label for band in gbt.levels] == ["能力完好", "轻度失能", "中度失能", "重度失能", "完全失能"]
    assert (gbt.assessors_required, gbt.needs_clinical, gbt.stack_adjustments) == (2, True, False)


def test_barthel_and_morse_have_the_scores_in_use(instruments: dict[str, Instrument]) -> None:
    scores = {
        code: [sorted({option.score for option in item.options}, reverse=True) for item in instruments[code].items]
        for code in ("barthel", "morse")
    }

    assert scores["barthel"] == [
        [10, 5, 0], [5, 0], [5, 0], [10, 5, 0], [10, 5, 0], [10, 5, 0], [10, 5, 0], [15, 10, 5, 0], [15, 10, 5, 0],
        [10, 5, 0],
    ]  # fmt: skip
    assert scores["morse"] == [[25, 0], [15, 0], [30, 15, 0], [20, 0], [20, 10, 0], [15, 0]]


def test_no_wording_of_the_postnatal_depression_scale_is_shipped(instruments: dict[str, Instrument]) -> None:
    slots = [item for item in instruments["postpartum_mother"].items if item.code.startswith("epds_")]

    assert [(slot.kind, slot.options, int(slot.maximum)) for slot in slots] == [
        (ItemKind.SCORE_SLOT, [], 30), (ItemKind.SCORE_SLOT, [], 3),
    ]  # fmt: skip


def draft_instrument(session: Session, **values: object) -> Instrument:
    """A draft with one item scored 0 or 2."""
    instrument = Instrument(
        **{"code": "own", "edition": "1", "name": "自编", "max_score": 2,
           "direction": ScoreDirection.HIGHER_IS_BETTER, **values}
    )  # fmt: skip
    section = InstrumentSection(instrument=instrument, code="A", name="甲")
    item = InstrumentItem(section=section, code="A1", text="站立")
    item.options = [InstrumentOption(code="0", label="不能", score=0), InstrumentOption(code="2", label="能", score=2)]
    session.add(instrument)
    session.flush()
    return instrument


def test_an_instrument_whose_levels_leave_a_gap_is_not_put_in_use(session: Session) -> None:
    instrument = draft_instrument(session)
    instrument.bands = [
        InstrumentBand(code="a", label="好", low=2, high=2),
        InstrumentBand(code="b", label="差", low=0, high=0),
    ]

    with pytest.raises(RuleBroken, match="No level holds the scores 1 to 1"):
        instrument.put_in_use()

    assert instrument.status is InstrumentStatus.DRAFT


def test_an_instrument_whose_items_miss_the_full_score_is_not_put_in_use(session: Session) -> None:
    instrument = draft_instrument(session, max_score=3)
    instrument.bands = [InstrumentBand(code="a", label="全部", low=0, high=3)]

    with pytest.raises(RuleBroken, match="add up to 2, but its full score is 3"):
        instrument.put_in_use()


def test_an_item_asked_after_an_option_nobody_can_choose_is_refused(session: Session) -> None:
    instrument = draft_instrument(session)
    instrument.bands = [InstrumentBand(code="a", label="全部", low=0, high=2)]
    instrument.items[0].section.items.append(
        InstrumentItem(code="A2", text="搀扶人数", kind=ItemKind.NUMBER, shown_if="A1=1")
    )

    with pytest.raises(RuleBroken, match="“A2 · 搀扶人数” is asked only if “A1=1”"):
        instrument.put_in_use()


def test_an_empty_instrument_is_not_put_in_use(session: Session) -> None:
    instrument = Instrument(code="own", edition="1", name="自编")
    session.add(instrument)
    session.flush()

    with pytest.raises(RuleBroken, match="asks nothing yet"):
        instrument.put_in_use()


def test_a_choice_needs_two_options(session: Session) -> None:
    instrument = draft_instrument(session, max_score=None, direction=None)
    instrument.items[0].options[0].deleted_at = NOW

    with pytest.raises(RuleBroken, match="give it at least two options"):
        instrument.put_in_use()


def test_a_scored_instrument_says_which_way_is_better(session: Session) -> None:
    with pytest.raises(RuleBroken, match="say whether a higher score is better or worse"):
        draft_instrument(session, direction=None)


@pytest.mark.parametrize("part", ["itself", "section", "item", "option", "band", "adjustment"])
def test_nothing_in_an_instrument_in_use_can_be_changed(
    session: Session, instruments: dict[str, Instrument], part: str
) -> None:
    gbt = instruments["gbt42195"]
    changes = {
        "itself": (gbt, "max_score", 91),
        "section": (gbt.sections[0], "name", "自理"),
        "item": (gbt.items[0], "text", "吃饭"),
        "option": (gbt.items[0].options[0], "score", 5),
        "band": (gbt.bands[0], "high", 30),
        "adjustment": (gbt.adjustments[0], "label", "痴呆"),
    }
    record, name, value = changes[part]
    setattr(record, name, value)

    with pytest.raises(RuleBroken, match="is In use, so it stays as it is: draft a new edition"):
        session.flush()


def test_nothing_is_added_to_an_instrument_in_use(session: Session, instruments: dict[str, Instrument]) -> None:
    section = instruments["barthel"].sections[0]
    session.add(InstrumentItem(section=section, code="extra", text="多一项", kind=ItemKind.TEXT))

    with pytest.raises(RuleBroken, match="draft a new edition"):
        session.flush()


def test_an_unused_instrument_can_be_taken_back_and_changed(
    session: Session, instruments: dict[str, Instrument]
) -> None:
    morse = instruments["morse"]

    morse.take_back()
    _, moderate, high = morse.bands
    moderate.high, high.low = 50, 51
    morse.put_in_use()

    assert morse.status is InstrumentStatus.IN_USE


def test_an_instrument_with_assessments_is_not_taken_back(assess: Callable[..., Assessment]) -> None:
    used = assess("morse").instrument

    with pytest.raises(RuleBroken, match="Assessments were made with “Morse 跌倒风险评估 · 1”"):
        used.take_back()


def test_a_new_edition_copies_everything_and_replaces_the_old_when_put_in_use(
    session: Session, instruments: dict[str, Instrument]
) -> None:
    old = instruments["gbt42195"]

    old.revise(edition="2022a")
    new = session.scalars(select(Instrument).where(Instrument.edition == "2022a")).one()
    copied = (new.status, len(new.items), sum(len(item.options) for item in new.items), len(new.bands))
    new.stack_adjustments = True
    new.put_in_use()

    # 26 items; 8×5 + 3×5+4 + 6×5+2+2+4 + 3+3+5+4+5 options
    assert copied == (InstrumentStatus.DRAFT, 26, 40 + 19 + 38 + 20, 5)
    assert {a.rule: a.level.code if a.level else None for a in new.adjustments} == {
        "mental_disorder": None, "risk_events": None, "coma": "4",
    }  # fmt: skip
    assert new.adjustments[2].level.instrument is new
    assert (old.status, new.status) == (InstrumentStatus.RETIRED, InstrumentStatus.IN_USE)


def test_an_edition_is_not_drafted_twice(instruments: dict[str, Instrument]) -> None:
    with pytest.raises(RuleBroken, match="has an edition 1 already"):
        instruments["morse"].revise(edition="1")


# -- what answers come to -----------------------------------------------------------------------------

COMATOSE = {"B3.9": "coma"}


@pytest.mark.parametrize(
    ("total", "facts", "initial", "final"),
    [
        (90, {}, "0", "0"),
        (66, {}, "1", "1"),
        (65, {}, "2", "2"),
        (46, {}, "2", "2"),
        (45, {}, "3", "3"),
        (30, {}, "3", "3"),
        (29, {}, "4", "4"),
        (89, {"has_dementia": True}, "1", "2"),
        (89, {"has_mental_disorder": True}, "1", "2"),
        (46, {"recent_risk_events": 2}, "2", "3"),
        (46, {"recent_risk_events": 1}, "2", "2"),
        (89, {"has_dementia": True, "recent_risk_events": 2}, "1", "2"),  # one rise only
        (20, {"has_dementia": True}, "4", "4"),
    ],
)
def test_the_ability_level_follows_the_standard(
    assess: Callable[..., Assessment],
    instruments: dict[str, Instrument],
    total: int,
    facts: dict,
    initial: str,
    final: str,
) -> None:
    assessment = assess("gbt42195", total_of(instruments["gbt42195"], total), **facts)

    assert (assessment.total, assessment.initial_level.code, assessment.final_level.code) == (total, initial, final)


def test_one_point_lost_on_the_stairs_makes_the_ability_slightly_impaired(assess: Callable[..., Assessment]) -> None:
    assessment = assess("gbt42195", {"B2.4": "2"})

    assert (assessment.total, assessment.final_level.code) == (89, "1")


def test_a_coma_is_the_worst_level_whatever_the_total(
    session: Session, assess: Callable[..., Assessment], instruments: dict[str, Instrument]
) -> None:
    gbt = instruments["gbt42195"]
    # 72 with consciousness 2, so 70 with consciousness 0
    assessment = assess("gbt42195", total_of(gbt, 72) | COMATOSE)

    assert (assessment.total, assessment.initial_level.code, assessment.final_level.code) == (70, "1", "4")
    assert assessment.adjustments == [{"rule": "coma", "label": "处于昏迷状态", "moved": True}]


def test_a_deep_sleep_scores_as_a_coma_but_moves_no_level(
    assess: Callable[..., Assessment], instruments: dict[str, Instrument]
) -> None:
    assessment = assess("gbt42195", total_of(instruments["gbt42195"], 72) | {"B3.9": "0"})

    assert (assessment.total, assessment.final_level.code) == (70, "1")


def test_falls_of_thirty_one_days_ago_move_no_level(
    assess: Callable[..., Assessment], instruments: dict[str, Instrument]
) -> None:
    falls = [date(2026, 9, 20), date(2026, 10, 20)]  # the first is 31 days before 2026-10-21
    count = len(recent_events(falls, clock.today()))

    assessment = assess("gbt42195", total_of(instruments["gbt42195"], 46), recent_risk_events=count)

    assert assessment.final_level.code == "2"


def test_rises_add_up_where_the_house_says_so_and_the_others_are_kept_on_file(
    assess: Callable[..., Assessment], instruments: dict[str, Instrument]
) -> None:
    gbt = instruments["gbt42195"]
    facts = {"has_dementia": True, "recent_risk_events": 3}
    once = assess("gbt42195", {"B2.4": "2"}, **facts)
    gbt_moved = [(a["rule"], a["moved"]) for a in once.adjustments]

    gbt.revise(edition="本院")
    stacked = next(other for other in gbt._other_editions())
    stacked.stack_adjustments = True
    stacked.put_in_use()
    instruments["gbt42195"] = stacked
    twice = assess("gbt42195", {"B2.4": "2"}, **facts)

    assert (once.final_level.code, gbt_moved) == ("2", [("mental_disorder", True), ("risk_events", False)])
    assert (twice.final_level.code, [a["moved"] for a in twice.adjustments]) == ("3", [True, True])


@pytest.mark.parametrize(
    ("total", "level"),
    [
        (100, "独立"),
        (95, "轻度依赖"),
        (65, "轻度依赖"),
        (60, "中度依赖"),
        (45, "中度依赖"),
        (40, "重度依赖"),
        (0, "重度依赖"),
    ],
)
def test_barthel_levels(
    assess: Callable[..., Assessment], instruments: dict[str, Instrument], total: int, level: str
) -> None:
    assessment = assess("barthel", total_of(instruments["barthel"], total))

    assert (assessment.total, assessment.final_level.label) == (total, level)


@pytest.mark.parametrize(
    ("told", "total", "level"),
    [
        ({}, 125, "高风险"),
        (dict.fromkeys(["history", "diagnosis", "aid", "iv", "gait", "mental"], "0"), 0, "低风险"),
        ({"history": "0", "diagnosis": "0", "aid": "0", "iv": "20", "gait": "0", "mental": "0"}, 20, "低风险"),
        ({"history": "25", "diagnosis": "0", "aid": "0", "iv": "0", "gait": "0", "mental": "0"}, 25, "中风险"),
        ({"history": "25", "diagnosis": "15", "aid": "0", "iv": "0", "gait": "0", "mental": "0"}, 40, "中风险"),
        ({"history": "0", "diagnosis": "15", "aid": "30", "iv": "0", "gait": "0", "mental": "0"}, 45, "高风险"),
    ],
)  # fmt: skip
def test_morse_levels(assess: Callable[..., Assessment], told: dict[str, str], total: int, level: str) -> None:
    assessment = assess("morse", told)

    assert (assessment.total, assessment.final_level.label) == (total, level)


def test_there_is_no_total_before_every_scored_item_is_answered(
    session: Session, assess: Callable[..., Assessment]
) -> None:
    assessment = assess("barthel")
    assessment.answers[0].deleted_at = NOW
    session.flush()

    assert (assessment.total, assessment.initial_level, assessment.final_level) == (None, None, None)


def test_changing_one_answer_works_the_total_out_anew(session: Session, assess: Callable[..., Assessment]) -> None:
    assessment = assess("barthel")
    feeding = assessment.answers[0]

    feeding.option = next(option for option in feeding.item.options if option.score == 5)
    session.commit()

    assert (feeding.score, assessment.total, assessment.final_level.code) == (5, 95, "mild")


def test_answers_entered_by_keys_alone_come_to_the_same(
    session: Session, house: SimpleNamespace, instruments: dict[str, Instrument]
) -> None:
    """As an import does: the assessment first, its answers one by one, relations not loaded."""
    barthel = instruments["barthel"]
    assessment = Assessment(
        branch_id=house.branch.id, client_id=house.client.id, instrument_id=barthel.id, assessor_id=house.lead.id,
        purpose=AssessmentPurpose.ROUTINE, performed_at=NOW,
    )  # fmt: skip
    session.add(assessment)
    session.flush()
    best = [max(item.options, key=lambda option: option.score) for item in barthel.items]

    for option in best:
        session.add(AssessmentAnswer(assessment_id=assessment.id, item_id=option.item_id, option_id=option.id))
    session.flush()

    assert (assessment.total, assessment.final_level.code) == (100, "independent")


def test_the_score_of_an_answer_is_copied_from_its_option(assess: Callable[..., Assessment]) -> None:
    assert [a.score for a in assess("morse").answers] == [25, 15, 30, 20, 20, 15]


# -- the admission of a mother: conditions and alerts ---------------------------------------------------


def admission(assess: Callable[..., Assessment], house: SimpleNamespace, session: Session, told: dict) -> Assessment:
    """李欣怡's admission after a caesarean, every required item answered, but for what is *told*."""
    assessment = assess("postpartum_mother", client=house.mother, purpose=AssessmentPurpose.ADMISSION)
    answers = {
        "mode": "caesarean", "temperature": "36.8", "pulse": 82, "respiration": 18, "systolic": 118, "diastolic": 72,
        "pain": 2, "incision": "dry", "fundus": "firm", "lochia": "normal", "breasts": "full", "nipples": "normal",
        "feeding": "breast", "elimination": "normal", "legs": "normal", "sleep": "broken", "epds": "later", **told,
    }  # fmt: skip
    for code, value in answers.items():
        if value is not None:
            answer(assessment, code, value)
    session.flush()
    return assessment


def test_after_a_caesarean_the_incision_is_asked_and_the_perineum_is_not(
    assess: Callable[..., Assessment], house: SimpleNamespace, session: Session
) -> None:
    assessment = admission(assess, house, session, {"incision": None})

    with pytest.raises(RuleBroken, match=r"Still to be answered \(1\): 腹部切口\."):
        assessment.submit()


def test_after_a_vaginal_birth_the_perineum_is_asked_and_an_incision_is_stray(
    assess: Callable[..., Assessment], house: SimpleNamespace, session: Session
) -> None:
    assessment = admission(assess, house, session, {"mode": "vaginal", "perineum": "sutured"})

    with pytest.raises(RuleBroken, match="Not asked after the other answers: 腹部切口"):
        assessment.submit()


def test_an_admission_without_scores_has_no_total_and_goes_its_way(
    assess: Callable[..., Assessment], house: SimpleNamespace, session: Session
) -> None:
    assessment = confirmed(admission(assess, house, session, {}))

    assert (assessment.total, assessment.final_level, assessment.next_due_on) == (None, None, None)
    assert (assessment.self_harm_alert, assessment.needs_care) == (False, False)


@pytest.mark.parametrize(
    ("total", "item_10", "self_harm", "care"),
    [(11, 1, True, True), (1, 1, True, True), (3, 3, True, True), (10, 0, False, True), (9, 0, False, False)],
)
def test_any_thought_of_self_harm_is_an_alert_whatever_the_total(
    assess: Callable[..., Assessment], house: SimpleNamespace, session: Session,
    total: int, item_10: int, self_harm: bool, care: bool,
) -> None:  # fmt: skip
    assessment = admission(assess, house, session, {"epds": "done", "epds_total": total, "epds_10": item_10})

    assert (assessment.self_harm_alert, assessment.needs_care) == (self_harm, care)


def test_the_scores_of_a_screening_that_was_made_are_required(
    assess: Callable[..., Assessment], house: SimpleNamespace, session: Session
) -> None:
    assessment = admission(assess, house, session, {"epds": "done"})

    with pytest.raises(RuleBroken, match="EPDS 总分、EPDS 第 10 题得分"):
        assessment.submit()


@pytest.mark.parametrize(
    ("code", "value", "complaint"),
    [
        ("temperature", "46", "“体温” is 46, above 43"),
        ("temperature", "30", "“体温” is 30, below 34"),
        ("epds_10", "4", "“EPDS 第 10 题得分” is 4, above 3"),
        ("epds_total", "10.5", "“EPDS 总分” is a score: enter a whole number"),
        ("epds_total", "-1", "“EPDS 总分” is -1, below 0"),
    ],
)
def test_a_value_out_of_range_is_refused(
    assess: Callable[..., Assessment], session: Session, code: str, value: str, complaint: str
) -> None:
    answer(assess("postpartum_mother"), code, Decimal(value))

    with pytest.raises(RuleBroken, match=complaint):
        session.flush()


def test_an_answer_is_given_in_the_way_its_item_asks_for(
    assess: Callable[..., Assessment], session: Session, instruments: dict[str, Instrument]
) -> None:
    assessment = assess("postpartum_mother")
    mode, breasts = (next(i for i in assessment.instrument.items if i.code == code) for code in ("mode", "breasts"))

    for wrong in (
        {"text": "顺产"},
        {"option": breasts.options[0]},
        {},
        {"option": mode.options[0], "number": Decimal(1)},
    ):
        given = AssessmentAnswer(item=mode, **wrong)
        assessment.answers.append(given)
        with pytest.raises(RuleBroken, match="“分娩方式” is answered by one of its options, and by nothing else"):
            session.flush()
        assessment.answers.remove(given)
        session.expunge(given)


def test_an_answer_belongs_to_the_instrument_of_its_assessment(
    assess: Callable[..., Assessment], session: Session, instruments: dict[str, Instrument]
) -> None:
    item = instruments["morse"].items[0]
    assessment = assess("postpartum_mother")
    assessment.answers.append(AssessmentAnswer(item=item, option=item.options[0]))

    with pytest.raises(RuleBroken, match="“近三个月跌倒史” is no item of “产妇入所评估 · 1”"):
        session.flush()


def test_what_answers_come_to_does_not_depend_on_who_looks(
    session: Session, assess: Callable[..., Assessment], house: SimpleNamespace, instruments: dict[str, Instrument]
) -> None:
    """A nurse who was granted assessments alone sees no part of the form, no colleague and no licence."""
    whole = total_of(instruments["gbt42195"], 72) | COMATOSE
    number = assess("gbt42195", whole, assessor=house.nurse, second_assessor=house.lead).id
    branch_id, nurse_id = house.branch.id, house.nurse.id
    session.commit()
    session.expunge_all()
    verbs = ("assessment.view", "assessment.edit", "assessment.submit", "instrument.view", "client.view")
    verbs += ("assessment_answer.view", "assessment_answer.edit")
    role = HeldRole("NS", "Nurse", Scope.BRANCH, branch_id, None, dict.fromkeys(verbs, Scope.BRANCH), frozenset(),
                    {"assessment_answer.health": Level.PLAIN, "assessment.health": Level.PLAIN})  # fmt: skip
    nurse = Principal("hejing", "何静", 1, nurse_id, (role,))

    with acting(session, nurse):
        assessment = session.get_one(Assessment, number)
        assessment.has_dementia = True
        session.flush()
        levels = (assessment.initial_level_id, assessment.final_level_id)
        assessment.submit()
        moved = [(one["rule"], one["moved"]) for one in assessment.adjustments]

    bands = {band.id: band.code for band in session.scalars(select(InstrumentBand))}
    assert [bands[level] for level in levels] == ["1", "4"]
    assert moved == [("mental_disorder", True), ("coma", True)]


# -- who may assess -----------------------------------------------------------------------------------


def test_one_person_is_not_two_assessors(assess: Callable[..., Assessment], house: SimpleNamespace) -> None:
    with pytest.raises(RuleBroken, match="杜薇 cannot be both assessors: choose somebody else as the second"):
        assess("gbt42195", second_assessor=house.lead)


def test_the_ability_assessment_takes_two_assessors(assess: Callable[..., Assessment]) -> None:
    assessment = assess("gbt42195", second_assessor=None)

    with pytest.raises(RuleBroken, match="“老年人能力评估” takes two assessors: enter the second one"):
        assessment.submit()


def test_one_assessor_is_a_doctor_or_nurse(
    assess: Callable[..., Assessment], house: SimpleNamespace, session: Session
) -> None:
    other = Staff(branch=house.branch, name="郭敏", category=StaffCategory.CS, hired_on=date(2024, 1, 1))
    assessment = assess("gbt42195", assessor=house.caregiver, second_assessor=other)

    with pytest.raises(RuleBroken, match="needs a doctor or nurse among its assessors; 方圆、郭敏 are neither"):
        assessment.submit()


def test_a_nurse_whose_licence_was_not_in_force_does_not_assess(
    assess: Callable[..., Assessment], house: SimpleNamespace, session: Session
) -> None:
    house.nurse.credentials[0].expires_on = date(2026, 10, 20)
    assessment = assess("gbt42195", second_assessor=house.nurse)

    with pytest.raises(RuleBroken, match="何静 had no verified Nurse licence in force on 2026-10-21") as refused:
        assessment.submit()

    assert refused.value.field == "second_assessor"


def test_only_an_assessor_submits(assess: Callable[..., Assessment], house: SimpleNamespace, session: Session) -> None:
    assessment = assess("gbt42195")

    with (
        as_staff(session, house.nurse),
        pytest.raises(RuleBroken, match=r"何静 did not make this assessment.*杜薇、方圆"),
    ):
        assessment.submit()
    with as_staff(session, house.caregiver):
        assessment.submit()

    assert assessment.status is AssessmentStatus.SUBMITTED


def test_a_sole_assessor_does_not_review_her_own_work(
    assess: Callable[..., Assessment], house: SimpleNamespace, session: Session
) -> None:
    assessment = assess("barthel")
    assessment.submit()

    with as_staff(session, house.lead), pytest.raises(RuleBroken, match="杜薇 made this assessment alone"):
        assessment.review()
    with as_staff(session, house.nurse):
        assessment.review()

    assert (assessment.reviewer, assessment.reviewed_at) == (house.nurse, NOW)


def test_one_of_two_assessors_may_review(
    assess: Callable[..., Assessment], house: SimpleNamespace, session: Session
) -> None:
    assessment = assess("gbt42195")
    assessment.submit()

    with as_staff(session, house.lead):
        assessment.review()

    assert assessment.reviewer is house.lead


def test_a_doubted_result_is_reviewed_by_others(
    assess: Callable[..., Assessment], house: SimpleNamespace, session: Session
) -> None:
    doubted = confirmed(assess("gbt42195", performed_at=NOW - timedelta(days=9)))
    other = Staff(branch=house.branch, name="郭敏", category=StaffCategory.CAREGIVER, hired_on=date(2024, 1, 1))
    again = assess("gbt42195", purpose=AssessmentPurpose.DOUBT_REVIEW, assessor=house.nurse)

    with pytest.raises(RuleBroken, match="The result in doubt was made by 方圆: others must review it"):
        again.submit()
    again.second_assessor = other
    confirmed(again)

    assert (doubted.status, again.status) == (AssessmentStatus.SUPERSEDED, AssessmentStatus.CONFIRMED)


def test_without_a_result_there_is_nothing_to_doubt(assess: Callable[..., Assessment]) -> None:
    assessment = assess("barthel", purpose=AssessmentPurpose.DOUBT_REVIEW)

    with pytest.raises(
        RuleBroken, match=r"王建国.* has no confirmed result of “Barthel 日常生活活动能力评定” to doubt"
    ):
        assessment.submit()


# -- the life of an assessment --------------------------------------------------------------------------

MOVES = {
    "submit": ({"draft"}, "submitted"),
    "review": ({"submitted"}, "reviewed"),
    "confirm": ({"reviewed"}, "confirmed"),
    "send_back": ({"submitted", "reviewed"}, "returned"),
    "rework": ({"returned"}, "draft"),
    "supersede": ({"confirmed"}, "superseded"),
    "void": ({"draft"}, "void"),
}
REASON = {"send_back": {"reason": "第三项与记录不符"}, "void": {"reason": "录错了人"}}
ROAD = {
    "draft": [], "submitted": ["submit"], "reviewed": ["submit", "review"], "confirmed": ["submit", "review", "confirm"],
    "returned": ["submit", "send_back"], "superseded": ["submit", "review", "confirm", "supersede"], "void": ["void"],
}  # fmt: skip


def test_the_moves_are_those_of_the_state_machine() -> None:
    declared = {t.name: ({s.value for s in t.sources}, t.target.value) for t in transitions_of(Assessment)}

    assert declared == MOVES


def reach(assessment: Assessment, state: str) -> None:
    for step in ROAD[state]:
        getattr(assessment, step)(**REASON.get(step, {}))


@pytest.mark.parametrize(
    ("move", "state"), [(move, state) for move, (states, _) in MOVES.items() for state in sorted(states)]
)
def test_every_move_leads_where_it_should(assess: Callable[..., Assessment], move: str, state: str) -> None:
    assessment = assess("barthel")
    reach(assessment, state)

    getattr(assessment, move)(**REASON.get(move, {}))

    assert assessment.status.value == MOVES[move][1]


@pytest.mark.parametrize("state", ROAD)
def test_no_other_move_is_made_from_a_state(assess: Callable[..., Assessment], state: str) -> None:
    assessment = assess("barthel")
    reach(assessment, state)

    for move in (move for move, (states, _) in MOVES.items() if state not in states):
        with pytest.raises(RuleBroken, match="is not possible: it needs"):
            getattr(assessment, move)(**REASON.get(move, {}))

    assert assessment.status.value == state


@pytest.mark.parametrize("move", ["send_back", "void"])
def test_returning_and_voiding_need_a_reason(assess: Callable[..., Assessment], move: str) -> None:
    assessment = assess("barthel")
    if move == "send_back":
        assessment.submit()

    with pytest.raises(RuleBroken, match="needs “Reason”"):
        getattr(assessment, move)(reason=None)


def test_missing_answers_are_named(session: Session, assess: Callable[..., Assessment]) -> None:
    assessment = assess("barthel")
    for one in assessment.answers[:2]:
        one.deleted_at = NOW

    with pytest.raises(RuleBroken, match=r"Still to be answered \(2\): 进食、洗澡\."):
        assessment.submit()


def test_an_assessment_to_come_is_not_submitted(assess: Callable[..., Assessment]) -> None:
    assessment = assess("barthel", performed_at=NOW + timedelta(hours=2))

    with pytest.raises(RuleBroken, match="which is still to come"):
        assessment.submit()


def test_confirming_sets_the_day_of_the_next_one_and_supersedes_the_last(
    session: Session, assess: Callable[..., Assessment], house: SimpleNamespace
) -> None:
    first = confirmed(assess("gbt42195", performed_at=datetime(2026, 3, 1, 17, 0, tzinfo=UTC)))
    other_scale = confirmed(assess("barthel"))
    due_before = first.next_due_on
    second = confirmed(assess("gbt42195"))

    # 2026-03-01 17:00 UTC is 2026-03-02 in the house; 365 days later is 2027-03-02
    assert due_before == date(2027, 3, 2)
    assert (first.status, second.status) == (AssessmentStatus.SUPERSEDED, AssessmentStatus.CONFIRMED)
    assert other_scale.status is AssessmentStatus.CONFIRMED
    assert assessment_in_force(session, house.client, "gbt42195") is second
    assert due_assessments(session, date(2027, 4, 19)) == [other_scale]  # 2026-10-21 + 180 days = 2027-04-19
    assert due_assessments(session, date(2027, 10, 21)) == [other_scale, second]


def test_a_confirmation_is_taken_back_as_one_act(session: Session, assess: Callable[..., Assessment]) -> None:
    first = confirmed(assess("barthel"))
    second = assess("barthel", {"feeding": "5"})
    second.submit()
    second.review()
    session.commit()
    second.confirm()
    session.commit()

    undo(session, session.get_one(Operation, session.info["last_operation_id"]))
    session.commit()

    assert (first.status, second.status, second.next_due_on) == (
        AssessmentStatus.CONFIRMED, AssessmentStatus.REVIEWED, None,
    )  # fmt: skip


def test_an_older_assessment_does_not_replace_a_later_one(assess: Callable[..., Assessment]) -> None:
    late = assess("barthel", performed_at=NOW - timedelta(days=20))
    late.submit()
    late.review()
    confirmed(assess("barthel"))

    with pytest.raises(RuleBroken, match="A later assessment, A000002 of 2026-10-21, is in force already"):
        late.confirm()


def test_each_twin_has_a_result_of_their_own(
    session: Session, assess: Callable[..., Assessment], house: SimpleNamespace, twins: list[Newborn]
) -> None:
    results = []
    for twin in twins:
        one = assess("postpartum_newborn", client=house.mother, newborn=twin)
        for code, value in {
            "weight": 2350, "temperature": "36.7", "pulse": 140, "respiration": 42, "alertness": "good", "skin": "clear",
            "jaundice": "none", "cord": "dry", "eyes_mouth": "clear", "way": "mixed", "sucking": "good", "wet": 6, "stool": 3,
        }.items():  # fmt: skip
            answer(one, code, value)
        results.append(confirmed(one))

    assert {one.status for one in results} == {AssessmentStatus.CONFIRMED}
    assert assessment_in_force(session, house.mother, "postpartum_newborn", twins[0]) is results[0]


def test_a_newborn_is_assessed_with_their_own_mother(assess: Callable[..., Assessment], twins: list[Newborn]) -> None:
    with pytest.raises(RuleBroken, match="is not a child of 王建国"):
        assess("postpartum_newborn", newborn=twins[0])


@pytest.fixture
def twins(session: Session, house: SimpleNamespace) -> list[Newborn]:
    born = [
        Newborn(
            mother=house.mother, birth_order=order, multiple_count=2, sex=Sex.FEMALE, band_code=f"B{order}",
            birth_at=datetime(2026, 10, 17, 2, 0, tzinfo=UTC),
        )
        for order in (1, 2)
    ]  # fmt: skip
    session.add_all(born)
    session.flush()
    return born


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        (["submit"], "was submitted with .*: send that back to its assessors first"),
        (["submit", "review"], "was reviewed with .*: send that back to its assessors first"),
        (["submit", "send_back"], "was sent back: take it up again before"),
        (
            ["submit", "review", "confirm"],
            "is settled, so .* starts a new assessment with the purpose “Review of a doubted",
        ),
        (["void"], "is void, so .* start a new assessment"),
    ],
)
@pytest.mark.parametrize("what", ["answer", "fact"])
def test_answers_and_facts_change_in_a_draft_alone(
    session: Session, assess: Callable[..., Assessment], steps: list[str], complaint: str, what: str
) -> None:
    assessment = assess("barthel")
    for step in steps:
        getattr(assessment, step)(**REASON.get(step, {}))
    if what == "answer":
        feeding = assessment.answers[0]
        feeding.option = feeding.item.options[1]
    else:
        assessment.has_dementia = True

    with pytest.raises(RuleBroken, match=complaint):
        session.flush()


def test_a_note_may_be_added_to_a_settled_assessment(session: Session, assess: Callable[..., Assessment]) -> None:
    assessment = confirmed(assess("barthel"))

    assessment.note = "家属已签收"
    session.commit()

    assert assessment.note == "家属已签收"


def test_a_returned_assessment_is_taken_up_corrected_and_handed_in_again(
    session: Session, assess: Callable[..., Assessment]
) -> None:
    assessment = assess("barthel")
    assessment.submit()
    assessment.send_back(reason="进食与照护记录不符")
    assessment.rework()
    feeding = assessment.answers[0]
    feeding.option = feeding.item.options[1]
    confirmed(assessment)

    assert (assessment.return_reason, assessment.total) == ("进食与照护记录不符", 95)


def test_its_status_is_not_typed(session: Session, assess: Callable[..., Assessment]) -> None:
    assessment = assess("barthel")
    assessment.status = AssessmentStatus.CONFIRMED

    with pytest.raises(RuleBroken, match="it cannot be typed"):
        session.flush()


def test_an_assessment_starts_with_an_instrument_in_use(
    session: Session, assess: Callable[..., Assessment], instruments: dict[str, Instrument]
) -> None:
    under_way = assess("barthel")
    instruments["barthel"].retire()

    confirmed(under_way)
    with pytest.raises(
        RuleBroken, match="“Barthel 日常生活活动能力评定 · 1” is No longer used: choose an instrument in use"
    ):
        assess("barthel")


def test_refusing_a_client_needs_advice_to_them(assess: Callable[..., Assessment]) -> None:
    assessment = assess("barthel")
    assessment.submit()

    with pytest.raises(RuleBroken, match="“Cannot be cared for here” needs its conditions or advice"):
        assessment.review(capacity_decision=CapacityDecision.DECLINE)
    assessment.review(capacity_decision=CapacityDecision.DECLINE, advice_to_client="建议在医生指导下选择医疗机构")

    assert assessment.capacity_decision is CapacityDecision.DECLINE


def test_after_two_falls_the_level_moves_from_moderate_to_severe(
    session: Session, assess: Callable[..., Assessment], house: SimpleNamespace, instruments: dict[str, Instrument]
) -> None:
    """NL-3: 王建国, 46 and 中度 since March, falls on 12 and 20 October."""
    told = total_of(instruments["gbt42195"], 46)
    march = confirmed(assess("gbt42195", told, performed_at=datetime(2026, 3, 1, 2, 0, tzinfo=UTC)))
    falls = recent_events([date(2026, 10, 12), date(2026, 10, 20)], clock.today())

    with as_staff(session, house.lead):
        october = assess(
            "gbt42195", told, purpose=AssessmentPurpose.IMMEDIATE, second_assessor=house.nurse, recent_risk_events=len(falls)
        )  # fmt: skip
        october.submit()
    with as_staff(session, house.nurse):
        october.review()
        october.confirm()

    assert (march.final_level.label, march.status) == ("中度失能", AssessmentStatus.SUPERSEDED)
    assert (october.total, october.initial_level.label, october.final_level.label) == (46, "中度失能", "重度失能")
