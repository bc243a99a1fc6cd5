"""Clients: identity numbers, families, babies, allergies and consents."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from models import clock, values
from models.clients import (
    Allergy,
    AllergyKind,
    AllergyStatus,
    Client,
    ClientLine,
    ClientRelation,
    Consent,
    ConsentKind,
    ConsentStatus,
    IdType,
    LifecycleStage,
    Newborn,
    RelationKind,
    expire_consents,
)  # fmt: skip
from models.errors import RuleBroken
from models.flush import restoring
from models.organisation import Branch, LineOfBusiness
from models.staff import Sex
from models.workflow import transition_named

NOON = datetime(2026, 6, 1, 4, 0, tzinfo=UTC)


@pytest.fixture
def branch(session):
    branch = Branch(code="SH01", name="上海静安月子会所", line=LineOfBusiness.POSTPARTUM)
    session.add(branch)
    session.flush()
    return branch


def client_of(branch, **given):
    return Client(branch=branch, line=ClientLine.POSTPARTUM, **{"name": "陈雨婷", **given})


@pytest.mark.parametrize(
    ("number", "born", "sex"),
    [
        ("110101199003074426", date(1990, 3, 7), Sex.FEMALE),
        ("310105199308120027", date(1993, 8, 12), Sex.FEMALE),
        ("44030619880229004X", date(1988, 2, 29), Sex.FEMALE),
        ("320102194706150010", date(1947, 6, 15), Sex.MALE),
        ("330106194502030022", date(1945, 2, 3), Sex.FEMALE),
    ],
)
def test_birth_date_and_sex_follow_from_a_sound_identity_number(session, branch, number, born, sex):
    client = client_of(branch, id_number=number)
    session.add(client)

    session.flush()

    assert (client.birth_date, client.sex) == (born, sex)


@pytest.mark.parametrize(
    "number", ["110101199003074425", "11010119900307442", "110101199013074426", "A10101199003074426"]
)
def test_an_identity_number_that_does_not_add_up_is_refused(session, branch, number):
    session.add(client_of(branch, id_number=number))

    with pytest.raises(RuleBroken) as refusal:
        session.flush()

    assert refusal.value.field == "id_number"
    assert number not in str(refusal.value)  # it is masked in what people are told


def test_a_passport_number_is_not_judged_as_a_resident_one(session, branch):
    client = client_of(branch, id_type=IdType.PASSPORT, id_number="E12345678")
    session.add(client)

    session.flush()

    assert (client.birth_date, client.sex) == (None, None)


def test_a_resident_born_before_numbers_were_issued_is_accepted(session, branch):
    number = values.with_check_digit("51010419380101001")
    session.add(client_of(branch, id_number=number))

    session.flush()


def test_a_birth_date_that_contradicts_the_number_is_refused(session, branch):
    session.add(client_of(branch, id_number="110101199003074426", birth_date=date(1991, 3, 7)))

    with pytest.raises(RuleBroken, match="differs from the one in the identity number"):
        session.flush()


def test_a_sex_that_contradicts_the_number_is_refused(session, branch):
    session.add(client_of(branch, id_number="110101199003074426", sex=Sex.MALE))

    with pytest.raises(RuleBroken, match="The sex “Male” differs"):
        session.flush()


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"birth_date": date(2999, 1, 1)}, "birth_date", "birth date 2999-01-01 lies ahead"),
        ({"is_deceased": True}, "deceased_on", "marked as deceased: enter the day"),
        ({"deceased_on": date(2026, 1, 2)}, "is_deceased", "tick “Deceased” too"),
        ({"is_deceased": True, "deceased_on": date(2999, 1, 1)}, "deceased_on", "day of death 2999-01-01 lies ahead"),
        (
            {"is_deceased": True, "deceased_on": date(1980, 1, 1), "birth_date": date(1990, 1, 1)},
            "deceased_on",
            "1980-01-01 comes before the birth date 1990-01-01",
        ),
    ],
)
def test_the_days_of_a_life_fit_each_other(session, branch, given, field, words):
    session.add(client_of(branch, **given))

    with pytest.raises(RuleBroken, match=words) as refusal, clock.at(NOON):
        session.flush()

    assert refusal.value.field == field


def test_marketing_ends_with_death(session, branch):
    client = client_of(branch, marketing_opt_in=True)
    session.add(client)
    session.flush()

    client.is_deceased, client.deceased_on = True, date(2026, 1, 2)
    with clock.at(NOON):
        session.flush()

    assert client.marketing_opt_in is False


@pytest.mark.parametrize(("day", "age", "minor"), [(date(2008, 3, 6), 17, True), (date(2008, 3, 7), 18, False)])
def test_age_counts_completed_years(day, age, minor):
    client = Client(birth_date=date(1990, 3, 7))

    assert client.age_on(day) == age
    assert client.is_minor(day) is minor


def test_a_client_starts_as_interested(session, branch):
    client = client_of(branch)
    session.add(client)
    session.flush()

    assert client.stage is LifecycleStage.LEAD
    assert client.file_no == "C000001"


def test_nobody_is_referred_by_themselves(session, branch):
    client = client_of(branch)
    session.add(client)
    session.flush()

    client.referred_by = client

    with pytest.raises(RuleBroken, match="陈雨婷 cannot be referred by themselves"):
        session.flush()


def test_a_ring_of_referrals_kept_from_elsewhere_does_not_hang_the_check(session, branch):
    first, second = client_of(branch), client_of(branch, name="李欣怡")
    session.add_all([first, second])
    session.flush()
    table = Client.__table__
    for one, other in ((first, second), (second, first)):
        session.connection().execute(table.update().where(table.c.id == one.id).values(referred_by_id=other.id))
    session.expire_all()

    session.add(client_of(branch, name="黄嘉敏", referred_by=first))

    session.flush()


def test_nobody_is_referred_by_themselves_through_others(session, branch):
    first, second = client_of(branch), client_of(branch, name="李欣怡")
    session.add_all([first, second])
    session.flush()
    first.referred_by = second
    session.flush()

    second.referred_by = first

    with pytest.raises(RuleBroken, match="not even through others"):
        session.flush()


def test_an_apgar_below_seven_asks_for_the_one_at_ten_minutes(session, branch):
    mother = client_of(branch)
    session.add(Newborn(mother=mother, sex=Sex.MALE, birth_at=NOON, band_code="B1", apgar_5=6))

    with pytest.raises(RuleBroken, match="below 7"), clock.at(NOON + timedelta(hours=1)):
        session.flush()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"birth_at": NOON + timedelta(hours=2)}, "time of birth .* lies ahead"),
        ({"birth_order": 2}, "baby 2 of 1: enter how many were born"),
        ({"mother": {"name": "王建国", "sex": Sex.MALE}}, "王建国 is entered as male"),
    ],
)
def test_a_newborn_that_cannot_be_is_refused(session, branch, given, words):
    mother = client_of(branch, **given.pop("mother", {}))
    session.add(Newborn(**{"mother": mother, "sex": Sex.MALE, "birth_at": NOON, "band_code": "B1", **given}))

    with pytest.raises(RuleBroken, match=words), clock.at(NOON + timedelta(hours=1)):
        session.flush()


@pytest.mark.parametrize(
    "given",
    [
        {"birth_order": 0}, {"birth_weight_g": 299}, {"birth_weight_g": 7001}, {"gestational_days": 7},
        {"gestational_weeks": 19}, {"apgar_1": 11}, {"apgar_5": -1, "apgar_10": 3}, {"apgar_10": 11}, {"length_cm": 71},
    ],
)  # fmt: skip
def test_the_table_itself_refuses_a_measure_out_of_range(session, branch, given):
    session.add(Newborn(mother=client_of(branch), sex=Sex.MALE, birth_at=NOON, band_code="B1", **given))

    with pytest.raises(IntegrityError, match="ck_newborn_"), clock.at(NOON + timedelta(hours=1)):
        session.flush()


def test_twins_are_told_apart_by_their_order_and_a_third_with_the_same_is_refused(session, branch):
    mother = client_of(branch)
    with clock.at(NOON + timedelta(hours=1)):
        session.add_all(twin(mother, order, code) for order, code in ((1, "B1"), (2, "B2")))
        session.flush()
        session.add(twin(mother, 2, "B3"))

        with pytest.raises(IntegrityError, match="birth_order"):
            session.flush()


def twin(mother, order, code):
    return Newborn(mother=mother, sex=Sex.MALE, birth_at=NOON, birth_order=order, multiple_count=2, band_code=code)


def test_the_day_of_birth_is_the_one_in_the_house(session, branch):
    late = datetime(2026, 6, 1, 16, 30, tzinfo=UTC)  # half past midnight of 2 June in Shanghai
    baby = Newborn(mother=client_of(branch), sex=Sex.FEMALE, birth_at=late, band_code="B1")
    session.add(baby)
    with clock.at(late + timedelta(hours=1)):
        session.flush()

    assert baby.birth_day == date(2026, 6, 2)


def test_a_baby_born_before_thirty_seven_weeks_is_preterm(session, branch):
    early = Newborn(gestational_weeks=36, gestational_days=6)
    term = Newborn(gestational_weeks=37, gestational_days=0)

    assert early.is_preterm()
    assert not term.is_preterm()
    assert Newborn().is_preterm() is None


def test_an_allergy_is_unverified_until_somebody_asks_face_to_face(session, branch):
    allergy = Allergy(client=client_of(branch), kind=AllergyKind.DRUG, substance="青霉素")
    session.add(allergy)
    session.flush()

    allergy.verify()

    assert allergy.status is AllergyStatus.VERIFIED
    assert allergy.verified_at is not None


def test_a_verified_allergy_is_changed_only_after_it_is_set_to_not_verified(session, branch):
    allergy = Allergy(client=client_of(branch), kind=AllergyKind.DRUG, substance="青霉素")
    session.add(allergy)
    session.flush()
    allergy.verify()
    session.commit()

    allergy.substance = "头孢"
    with pytest.raises(RuleBroken, match="set it to not verified before you change “Substance”"):
        session.flush()
    session.rollback()
    allergy.unverify()
    allergy.substance = "头孢"
    session.flush()

    assert (allergy.status, allergy.verified_at) == (AllergyStatus.UNVERIFIED, None)


def test_an_allergy_of_a_baby_is_kept_with_its_own_mother(session, branch):
    baby = Newborn(mother=client_of(branch), sex=Sex.MALE, birth_at=NOON, band_code="B1")
    session.add(baby)
    session.add(Allergy(client=client_of(branch, name="李欣怡"), newborn=baby, kind=AllergyKind.FOOD, substance="牛奶"))

    with pytest.raises(RuleBroken, match="is not a child of 李欣怡"), clock.at(NOON + timedelta(hours=1)):
        session.flush()


def test_somebody_to_call_in_an_emergency_is_an_emergency_contact(session, branch):
    relation = ClientRelation(
        client=client_of(branch), person_name="刘伟", relation=RelationKind.EMERGENCY, phone="13800000000"
    )
    session.add(relation)
    session.flush()

    assert relation.is_emergency_contact


def test_the_consent_of_a_minor_is_signed_by_a_parent_or_guardian(session, branch):
    girl = client_of(branch, name="苏小满", birth_date=date(2010, 3, 1))
    aunt = ClientRelation(client=girl, person_name="苏梅", relation=RelationKind.OTHER, phone="13800000001")
    mother = ClientRelation(client=girl, person_name="周兰", relation=RelationKind.PARENT, phone="13800000002")
    session.add_all([girl, aunt, mother])
    session.commit()
    refusals = []

    with clock.at(datetime(2026, 7, 1, 4, tzinfo=UTC)):
        for signer in (None, aunt):
            session.add(Consent(client=girl, kind=ConsentKind.MINOR, signer_relation=signer))
            with pytest.raises(RuleBroken) as refusal:
                session.flush()
            refusals.append(str(refusal.value))
            session.rollback()
        consent = Consent(client=girl, kind=ConsentKind.MINOR, signer_relation=mother)
        session.add(consent)
        session.flush()

    assert "signed by a parent or guardian" in refusals[0]
    assert refusals[1] == "苏小满 is under age: a parent or guardian signs, and 苏梅 is neither."
    assert consent.status is ConsentStatus.GIVEN


def test_withdrawing_consent_to_marketing_stops_it_at_once(session, branch):
    client = client_of(branch, marketing_opt_in=True)
    consent = Consent(client=client, kind=ConsentKind.MARKETING, given_at=NOON)
    session.add(consent)
    session.flush()

    consent.withdraw(reason="不想再收到短信")

    assert consent.status is ConsentStatus.WITHDRAWN
    assert client.marketing_opt_in is False
    assert not client.has_consent(ConsentKind.MARKETING, clock.now())


@pytest.mark.parametrize("moved", [None, "withdraw", "expire"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("kind", ConsentKind.MARKETING), ("document", "V4"), ("signer", "刘伟"), ("expires_on", date(2030, 1, 1))],
)
def test_a_consent_is_not_changed_after_it_was_given(session, branch, moved, name, value):
    consent = Consent(client=client_of(branch), kind=ConsentKind.PEER_VISIT, given_at=NOON)
    session.add(consent)
    session.flush()
    if moved is not None:
        getattr(consent, moved)(**({"reason": "不同意了"} if moved == "withdraw" else {}))
    session.commit()

    setattr(consent, name, value)

    with pytest.raises(RuleBroken, match="withdraw it and enter a new one"):
        session.flush()


def test_a_consent_expires_the_day_after_its_last_day_and_only_once(session, branch):
    consent = Consent(client=client_of(branch), kind=ConsentKind.GENERAL, given_at=NOON, expires_on=date(2026, 6, 30))
    session.add(consent)
    session.flush()

    with clock.at(datetime(2026, 6, 30, 12, tzinfo=UTC)):
        on_the_day = expire_consents(session)
    with clock.at(datetime(2026, 7, 1, 12, tzinfo=UTC)):
        after, again = expire_consents(session), expire_consents(session)

    assert (on_the_day, after, again) == (0, 1, 0)
    assert consent.status is ConsentStatus.EXPIRED


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"given_at": NOON + timedelta(days=1)}, "which lies ahead"),
        ({"given_at": NOON, "expires_on": date(2026, 5, 31)}, "run out on 2026-05-31, before it was given"),
    ],
)
def test_a_consent_with_days_that_cannot_be_is_refused(session, branch, given, words):
    session.add(Consent(client=client_of(branch), kind=ConsentKind.GENERAL, **given))

    with pytest.raises(RuleBroken, match=words), clock.at(NOON):
        session.flush()


# -- every move and every refusal of the two state machines ---------------------------------------------

MOVES = {
    (Consent, ConsentStatus.GIVEN, "withdraw"): ConsentStatus.WITHDRAWN,
    (Consent, ConsentStatus.GIVEN, "expire"): ConsentStatus.EXPIRED,
    (Allergy, AllergyStatus.UNVERIFIED, "verify"): AllergyStatus.VERIFIED,
    (Allergy, AllergyStatus.VERIFIED, "unverify"): AllergyStatus.UNVERIFIED,
}
CASES = [
    (model, state, move)
    for model, states, moves in (
        (Consent, ConsentStatus, ("withdraw", "expire")),
        (Allergy, AllergyStatus, ("verify", "unverify")),
    )
    for state in states
    for move in moves
]


@pytest.mark.parametrize(("model", "state", "move"), CASES)
def test_consents_and_allergies_move_as_the_table_says_and_not_otherwise(session, branch, model, state, move):
    record = (
        Consent(client=client_of(branch), kind=ConsentKind.GENERAL, status=state)
        if model is Consent
        else Allergy(client=client_of(branch), kind=AllergyKind.FOOD, substance="花生", status=state)
    )
    session.add(record)
    with restoring(session):
        session.flush()
    given = {"reason": "不同意了"} if move == "withdraw" else {}
    target = MOVES.get((model, state, move))

    if target is not None:
        getattr(record, move)(**given)
    else:
        with pytest.raises(
            RuleBroken, match=f"is {state.label}, so “{transition_named(model, move).label}” is not possible"
        ):
            getattr(record, move)(**given)

    assert record.status is (target or state)
