"""Clients: identity numbers, families, babies, allergies and consents."""

from datetime import UTC, date, datetime, timedelta

import pytest

from models import clock, values
from models.clients import (
    Allergy, AllergyKind, AllergyStatus, Client, ClientLine, Consent, ConsentKind, ConsentStatus, Newborn, expire_consents,
)  # fmt: skip
from models.errors import RuleBroken
from models.organisation import Branch, LineOfBusiness
from models.staff import Sex

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


@pytest.mark.parametrize("number", ["110101199003074425", "11010119900307442", "110101199013074426", "A10101199003074426"])
def test_an_identity_number_that_does_not_add_up_is_refused(session, branch, number):
    session.add(client_of(branch, id_number=number))

    with pytest.raises(RuleBroken) as refusal:
        session.flush()

    assert refusal.value.field == "id_number"


def test_a_resident_born_before_numbers_were_issued_is_accepted(session, branch):
    number = values.with_check_digit("51010419380101001")
    session.add(client_of(branch, id_number=number))

    session.flush()


def test_a_birth_date_that_contradicts_the_number_is_refused(session, branch):
    session.add(client_of(branch, id_number="110101199003074426", birth_date=date(1991, 3, 7)))

    with pytest.raises(RuleBroken, match="differs from the one in the identity number"):
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


def test_withdrawing_consent_to_marketing_stops_it_at_once(session, branch):
    client = client_of(branch, marketing_opt_in=True)
    consent = Consent(client=client, kind=ConsentKind.MARKETING, given_at=NOON)
    session.add(consent)
    session.flush()

    consent.withdraw(reason="不想再收到短信")

    assert consent.status is ConsentStatus.WITHDRAWN
    assert client.marketing_opt_in is False
    assert not client.has_consent(ConsentKind.MARKETING, clock.now())


def test_a_consent_is_not_changed_after_it_was_given(session, branch):
    consent = Consent(client=client_of(branch), kind=ConsentKind.PEER_VISIT, given_at=NOON)
    session.add(consent)
    session.commit()

    consent.kind = ConsentKind.MARKETING

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
