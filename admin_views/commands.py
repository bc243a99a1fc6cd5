"""The command line's work: what the flask commands of app.py and its server do."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from flask import Flask
from sqlalchemy import select

from models import access, clock, database, exporting, importing, journal, sealing, sheets
from models import fields as declared
from models.base import Model
from models.errors import RuleBroken
from models.policy import Scope, Subject, System

from . import language, listing
from .extensions import db

log = logging.getLogger("kanghu.worker")

TICK_SECONDS = 60
BATCH = 1000


def session_for(name: str, login: str | None = None) -> database.HouseSession:
    """A session for the system under *name*, or for the account *login*."""
    who: Subject = System(name)
    if login is not None:
        with database.open_session(db.engine, who) as session:
            user_id = session.scalar(select(access.UserAccount.id).where(access.UserAccount.login == login))
            found = access.load_principal(session, user_id, clock.today()) if user_id is not None else None
        if found is None:
            raise click.ClickException(f"there is no active account {login!r}")
        who = found
    return database.open_session(db.engine, who)


def _model(table: str) -> type[Model]:
    try:
        return declared.model_named(table)
    except KeyError:
        raise click.ClickException(f"there is no table {table!r}: {', '.join(sorted(declared.by_table()))}") from None


class _EverySpelling(language.Spellings):
    def show(self, msgid: str) -> str:
        return msgid


def import_file(
    session: database.HouseSession,
    table: str,
    file: Path,
    mapped: dict[str, str],
    fixed: dict[str, str],
    create_missing: bool,
    dry_run: bool,
) -> int:
    """Import one file and say what happened; returns the exit code."""
    model, labels = _model(table), _EverySpelling()
    try:
        plan = _plan(session, model, file, labels, mapped, fixed, create_missing)
        counts = plan.counts
        for error in plan.errors[:20]:
            click.echo(str(error))
        click.echo(f"new {counts.new}, changed {counts.changed}, unchanged {counts.unchanged}, errors {counts.errors}")
        if plan.errors or dry_run:
            return 1 if plan.errors else 0
        journal.begin(
            session,
            journal.Act.IMPORT,
            table=table,
            detail={"file": file.name, "new": counts.new, "changed": counts.changed},
        )
        importing.apply(session, plan)
        session.commit()
    except RuleBroken as broken:
        session.rollback()
        click.echo(str(broken))
        return 1
    return 0


def _plan(
    session: Any,
    model: type[Model],
    file: Path,
    labels: Any,
    mapped: dict[str, str],
    fixed: dict[str, str],
    create_missing: bool,
) -> Any:
    sheet = next(s for s in sheets.read(file.read_bytes(), file.name) if s.rows)
    header = sheets.find_header(sheet, [*importing.known_titles(model, labels), *mapped])
    mapping = importing.guess_mapping(model, header.titles, labels)
    mapping = importing.merged_mapping(mapping, importing.named_mapping(model, header.titles, mapped).items())
    return importing.make_plan(
        session,
        model,
        header.titles,
        sheets.body(sheet, header),
        mapping,
        labels=labels,
        fixed=fixed,
        create_missing=create_missing,
    )


def export_file(session: database.HouseSession, table: str, file: Path) -> int:
    """Write a whole table as the subject sees it; returns the number of rows."""
    from .exports import export_rows

    model, labels = _model(table), _EverySpelling()
    columns, rows = export_rows(session, listing.Query(model, session.info["principal"]), labels)
    counted = _Counted(rows)
    with file.open("wb") as out:
        if file.suffix.lower() == ".xlsx":
            exporting.write_xlsx(columns, counted, out, labels)
        else:
            out.writelines(exporting.write_csv(columns, counted, labels))
    return counted.number


class _Counted:
    """Rows, counted as they pass."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self.rows, self.number = rows, 0

    def __iter__(self) -> Iterator[Any]:
        for row in self.rows:
            self.number += 1
            yield row


def tick(session: database.HouseSession) -> dict[str, int]:
    """Every duty in a transaction of its own, then the seal."""
    moved = {}
    for duty in clock.DUTIES:
        journal.begin(session, journal.Act.CLOCK, label=duty.name)
        try:
            moved[duty.name] = duty.run(session)
            session.commit()
        except RuleBroken as broken:
            session.rollback()
            log.warning("duty %s was refused: %s", duty.name, broken)
    moved["journal.seal"] = sealing.seal(session)
    session.commit()
    return moved


def create_admin(session: database.HouseSession, login: str, password: str) -> None:
    role = session.scalars(select(access.Role).where(access.Role.code == "ADMIN")).one()
    account = access.UserAccount(login=login.strip().lower())
    try:
        account.set_password(password)
        session.add_all([account, access.RoleGrant(user=account, role=role, scope=Scope.GROUP)])
        session.commit()
    except RuleBroken as broken:
        raise click.ClickException(str(broken)) from None


# -- serving ------------------------------------------------------------------------------------------------


def work_forever(app: Flask, stop: threading.Event | None = None) -> None:
    """Tick every minute until *stop* is set."""
    stop = stop or threading.Event()
    while not stop.is_set():
        with app.app_context():
            try:
                with session_for("tick") as session:
                    tick(session)
            except Exception:
                log.exception("a tick failed; the next one tries again")
        stop.wait(TICK_SECONDS)


def serve(config: Any, create_app: Callable[[Any], Flask]) -> None:
    """Load what is missing, say where the house is, and serve it with the worker beside."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    app = create_app(config)
    started = time.monotonic()
    runner = app.test_cli_runner()
    loaded = runner.invoke(args=["seed"])
    if loaded.exit_code:
        raise SystemExit(f"loading the house failed: {loaded.output}{loaded.exception}")
    click.echo(
        f"Kanghu 康护 is at http://{config.host}:{config.port}/admin/ (ready in {time.monotonic() - started:.0f} s)"
    )
    if config.demo:
        _tell_accounts(app)
    threading.Thread(target=work_forever, args=(app,), daemon=True).start()
    _granian(config)


def _tell_accounts(app: Flask) -> None:
    from models.seeding import DEMO_PASSWORD

    with app.app_context(), session_for("start") as session:
        found = session.execute(
            select(access.UserAccount.login, access.Role.name, access.RoleGrant.scope)
            .join(access.RoleGrant, access.RoleGrant.user_id == access.UserAccount.id)
            .join(access.Role, access.Role.id == access.RoleGrant.role_id)
            .order_by(access.UserAccount.id)
        ).all()
    click.echo(f"Demo accounts, all with the password {DEMO_PASSWORD}:")
    for login, role, _ in found:
        click.echo(f"  {login:<14} {role}")


def _granian(config: Any) -> None:
    from granian import Granian
    from granian.constants import Interfaces

    Granian(
        "app:create_app", factory=True, interface=Interfaces.WSGI, address=config.host, port=config.port, workers=config.workers,
        blocking_threads=2, log_access=False,
    ).serve()  # fmt: skip
