"""The cast: who works in the three houses, in which posts, with which licences and accounts."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from random import Random

from sqlalchemy import select
from sqlalchemy.orm import Session

from .. import importing
from ..access import RoleGrant, UserAccount
from ..clients import ClientLine
from ..organisation import Branch, Department
from ..staff import Credential, CredentialKind, Staff, StaffCategory, StaffPosting
from .files import load_table
from .timeline import At, Life, moment

DEMO_PASSWORD = "kanghu-demo-house"

_LONG_AGO = 760  # days: before anything else that the demo tells of


def load_people(session: Session, folder: Path) -> dict[str, Staff]:
    """Everybody who works here, with department heads and accounts; by name."""
    load_table(session, Staff, folder / "staff.csv")
    load_table(session, Department, folder / "department.csv", importing.Mode.UPDATE)
    staff = {person.name: person for person in session.scalars(select(Staff).order_by(Staff.id))}
    session.add_all(_posting(person) for person in staff.values())
    load_table(session, UserAccount, folder / "user_account.csv")
    _set_passwords(session.scalars(select(UserAccount).where(UserAccount.password_hash.is_(None))).all())
    session.flush()
    load_table(session, RoleGrant, folder / "role_grant.csv")
    return staff


def _set_passwords(accounts: Sequence[UserAccount]) -> None:
    """The demo password for all, hashed once: argon2 takes its time on purpose."""
    for account in accounts[:1]:
        account.set_password(DEMO_PASSWORD)
    for account in accounts[1:]:
        account.password_hash = accounts[0].password_hash


def _posting(person: Staff) -> StaffPosting:
    return StaffPosting(
        staff=person, branch=person.branch, department=person.department, post=person.post, manager=person.manager,
        from_on=person.hired_on,
    )  # fmt: skip


class Desk:
    """Who does what in one branch, found by post."""

    def __init__(self, branch: Branch, staff: dict[str, Staff]) -> None:
        self.branch, self.code, self.line = branch, branch.code, ClientLine.from_value(branch.line.value)
        self._by_post: dict[str, list[Staff]] = defaultdict(list)
        for person in staff.values():
            if person.branch is branch and person.post is not None:
                self._by_post[person.post.code].append(person)
        self.director = self.first("DIRECTOR")
        self.manager = self.first("CS_MANAGER")
        self.nursing = self.first("NURSING_MANAGER", "NURSE_LEAD")
        self.lead = self.first("NURSE_LEAD")
        self.doctor = self.first("LEAD_DOCTOR", "DOCTOR")
        self.accountant = self.first("ACCOUNTANT")
        self.consultants = self.all("CONSULTANT")
        self.officers = self.all("CS_OFFICER")
        self.nurses = [p for p in self.all("NURSE") if (p.name, CredentialKind.NURSE_LICENCE) not in _LAPSED]

    def all(self, post: str) -> list[Staff]:
        return self._by_post[post]

    def first(self, *posts: str) -> Staff:
        return next(p for post in posts for p in self._by_post[post])


# -- licences -------------------------------------------------------------------------------------------

_EVERY = {
    StaffCategory.NURSE: (CredentialKind.NURSE_LICENCE, CredentialKind.HEALTH_CERTIFICATE),
    StaffCategory.DOCTOR: (CredentialKind.DOCTOR_LICENCE,),
    StaffCategory.CAREGIVER: (CredentialKind.CAREGIVER_LEVEL, CredentialKind.HEALTH_CERTIFICATE),
    StaffCategory.LOGISTICS: (CredentialKind.HEALTH_CERTIFICATE,),
}
_LETTERS = {
    CredentialKind.NURSE_LICENCE: "2022310", CredentialKind.DOCTOR_LICENCE: "1103100",
    CredentialKind.AESTHETIC_LEAD_DOCTOR: "MZ5101", CredentialKind.CAREGIVER_LEVEL: "YHL",
    CredentialKind.HEALTH_CERTIFICATE: "JK", CredentialKind.FIRST_AID: "JJ",
}  # fmt: skip


def credential_lives(session: Session, staff: dict[str, Staff], today: date, rng: Random) -> list[Life]:
    """Every licence and certificate: most in force, some running out, run out, renewed or not yet verified."""
    office = _Office(session, staff["孙莉"], today, rng)
    lives = [
        office.certificate_yearly(person) if kind is CredentialKind.HEALTH_CERTIFICATE else office.licence(person, kind)
        for person in staff.values()
        for kind in _EVERY.get(person.category, ())
        if (person.name, kind) not in _LAPSED
    ]
    lives += [
        office.licence(staff[name], kind, until=today + timedelta(days=days)) for (name, kind), days in _LAPSED.items()
    ]
    lives.append(office.licence(staff["陈思远"], CredentialKind.AESTHETIC_LEAD_DOCTOR))
    lives.append(office.handed_in(staff["陆思琪"], CredentialKind.FIRST_AID))
    return lives


_LAPSED = {("史佳佳", CredentialKind.NURSE_LICENCE): -12, ("余小琴", CredentialKind.NURSE_LICENCE): 40}


class _Office:
    """Whoever registers licences and sees the originals."""

    def __init__(self, session: Session, hr: Staff, today: date, rng: Random) -> None:
        self.session, self.hr, self.today, self.rng = session, hr, today, rng

    def _register(self, person: Staff, kind: CredentialKind, issued: date, expires: date | None) -> Credential:
        number = f"{_LETTERS[kind]}{self.rng.randrange(10**8):08d}"
        credential = Credential(
            staff=person,
            kind=kind,
            number=number,
            issued_on=issued,
            expires_on=expires,
            place_of_practice=person.branch,
        )
        self.session.add(credential)
        self.session.flush()
        return credential

    def licence(self, person: Staff, kind: CredentialKind, until: date | None = None) -> Life:
        """One that was there when the person came; a nurse's holds for five years."""
        if until is None and kind is CredentialKind.NURSE_LICENCE:
            until = self.today + timedelta(days=self.rng.randrange(200, 1400))
        issued = (
            until - timedelta(days=5 * 365)
            if until
            else person.hired_on - timedelta(days=self.rng.randrange(200, 3000))
        )
        yield At(moment(self.today - timedelta(days=_LONG_AGO), 9), self.hr)
        self._register(person, kind, issued, until).verify()

    def certificate_yearly(self, person: Staff) -> Life:
        """Last year's certificate, and this year's in its place."""
        renewed = self.today - timedelta(days=self.rng.randrange(15, 340))
        issued = renewed - timedelta(days=355)
        yield At(moment(issued, 14), self.hr)
        old = self._register(person, CredentialKind.HEALTH_CERTIFICATE, issued, issued + timedelta(days=365))
        old.verify()
        yield At(moment(renewed, 14), self.hr)
        new = self._register(person, CredentialKind.HEALTH_CERTIFICATE, renewed, renewed + timedelta(days=365))
        new.verify()
        old.renew()

    def handed_in(self, person: Staff, kind: CredentialKind) -> Life:
        """One whose original nobody has seen yet."""
        issued = self.today - timedelta(days=6)
        yield At(moment(self.today - timedelta(days=1), 10), person)
        self._register(person, kind, issued, issued + timedelta(days=730))
