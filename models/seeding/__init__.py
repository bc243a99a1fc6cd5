"""What a house starts with: roles and reference data for every house, three demo houses to try it on."""

from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from .. import access, clock, journal
from ..clients import Client
from ..courses import CoursePost, TrainingCourse
from ..instrument_files import load_instruments
from ..kpi import KpiIndicator, KpiTemplate
from ..organisation import Branch, Department, Post
from ..services import Package, PackageItem, ServiceItem
from .demo import load_demo_houses
from .files import load_parts, load_table
from .people import DEMO_PASSWORD
from .rehearsal import make_clients

__all__ = ["DEMO_PASSWORD", "load_demo", "load_house", "make_clients"]

# In this order: a table comes after those its rows name.
REFERENCE = (Branch, Department, Post, clock.CalendarDay, ServiceItem, Package, TrainingCourse, KpiTemplate)


def load_house(session: Session, folder: Path) -> None:
    """Load the roles and the reference data of *folder* that are not there yet; what is there stays as it is.

    Creates no account: ``flask create-admin`` makes the first.
    """
    reference = folder / "reference"
    journal.begin(session, journal.Act.SEED, label="reference data")
    access.load_roles(session, folder / "roles.toml")
    known = {model: set(session.scalars(select(model.id))) for model in (Package, TrainingCourse, KpiTemplate)}
    for model in REFERENCE:
        load_table(session, model, reference / f"{model.__tablename__}.csv")
    load_parts(session, PackageItem, "package", reference / "package_item.csv", known[Package])
    load_parts(session, CoursePost, "course", reference / "course_post.csv", known[TrainingCourse])
    load_parts(session, KpiIndicator, "template", reference / "kpi_indicator.csv", known[KpiTemplate])
    for template in session.scalars(select(KpiTemplate)):
        if template.id not in known[KpiTemplate]:
            template.put_in_use()
    load_instruments(session, reference / "instruments")
    session.commit()


def load_demo(session: Session, folder: Path, now: datetime | None = None) -> bool:
    """Fill an empty house with three branches, their people and a year of their life; whether it did.

    Does nothing where there is a client already. The year ends at *now*, by default the present: the same
    instant and files give the same house.
    """
    if session.scalar(select(Client.id).limit(1)) is not None:
        return False
    load_demo_houses(session, folder / "demo", now or clock.now())
    return True
