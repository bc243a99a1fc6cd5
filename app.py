"""Kanghu: read this first. The settings, the app, and the flask commands."""

import os
import secrets
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
from flask import Flask
from flask.cli import with_appcontext

import admin_views
from models import clock

ROOT = Path(__file__).resolve().parent


class BadSetting(SystemExit):
    """A setting that must not stand: the process does not start."""


@dataclass(frozen=True)
class Config:
    """What the environment says, once; see the table in README."""

    env: str
    instance: Path
    database_url: str
    secret_key: str
    host: str
    port: int
    workers: int
    demo: bool
    now: str | None

    @classmethod
    def from_environment(cls, given: Any = os.environ) -> "Config":
        env = given.get("KANGHU_ENV", "development")
        if env not in {"development", "production", "test"}:
            raise BadSetting(f"KANGHU_ENV is {env!r}: it is development, test or production")
        instance = Path(given.get("KANGHU_INSTANCE", ROOT / "instance")).resolve()
        if env == "production" and given.get("KANGHU_NOW"):
            raise BadSetting("KANGHU_NOW is for rehearsals: take it away in production")
        demo = given.get("KANGHU_DEMO", "0" if env == "production" else "1") == "1"
        if env == "production" and demo:
            raise BadSetting("KANGHU_DEMO brings accounts with a known password: not in production")
        return cls(
            env=env,
            instance=instance,
            database_url=given.get("KANGHU_DATABASE_URL") or f"sqlite:///{instance / 'kanghu.db'}",
            secret_key=_secret_key(given, env, instance),
            host=given.get("KANGHU_HOST", "127.0.0.1"),
            port=int(given.get("KANGHU_PORT", "5000")),
            workers=int(given.get("KANGHU_WORKERS", "2")),
            demo=demo,
            now=given.get("KANGHU_NOW"),
        )


def _secret_key(given: Any, env: str, instance: Path) -> str:
    """The key that signs cookies: required in production, made once and kept in development."""
    key: str | None = given.get("KANGHU_SECRET_KEY")
    if key is not None:
        if env == "production" and len(key) < 32:
            raise BadSetting("KANGHU_SECRET_KEY is too short: use 32 random characters or more")
        return key
    if env == "production":
        raise BadSetting("KANGHU_SECRET_KEY is required in production: 32 random characters or more")
    instance.mkdir(parents=True, exist_ok=True)
    kept = instance / "secret_key"
    if not kept.exists():
        kept.write_text(secrets.token_urlsafe(48))
        kept.chmod(0o600)
    return kept.read_text()


def create_app(config: Config | None = None) -> Flask:
    """The whole application for one configuration, by default the environment's."""
    config = config or Config.from_environment()
    config.instance.mkdir(parents=True, exist_ok=True)
    if config.now:
        clock.start_from(datetime.fromisoformat(config.now))
    secure = config.env == "production"
    app = Flask(__name__, instance_path=str(config.instance))
    app.config.update(
        SECRET_KEY=config.secret_key,
        SQLALCHEMY_DATABASE_URI=config.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=_engine_options(config.database_url),
        INSTANCE=config.instance,
        KANGHU=config,
        MAX_CONTENT_LENGTH=34 * 1024 * 1024,
        MAX_FORM_MEMORY_SIZE=2 * 1024 * 1024,
        MAX_FORM_PARTS=4000,
        PERMANENT_SESSION_LIFETIME=timedelta(hours=12),
        SESSION_COOKIE_NAME="__Host-kanghu" if secure else "kanghu",
        SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_TIME_LIMIT=None,  # a long form must not expire under somebody's hands; the session does
        TESTING=config.env == "test",
        PROPAGATE_EXCEPTIONS=False,
    )
    admin_views.mount(app)
    for command in (
        migrate_db,
        seed,
        import_file,
        export_file,
        tick,
        seal,
        verify_journal,
        create_admin,
        rebuild_search,
        worker,
    ):
        app.cli.add_command(command)
    return app


def _engine_options(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 10, "check_same_thread": False}}
    return {
        "pool_pre_ping": True,
        "connect_args": {"options": "-c statement_timeout=120000 -c lock_timeout=10000"},
    }


# -- commands ---------------------------------------------------------------------------------------------


@click.command("migrate-db")
@with_appcontext
def migrate_db() -> None:
    """Bring the database to the present schema."""
    from flask_migrate import upgrade

    upgrade()


@click.command("seed")
@click.option("--clients", type=int, default=0, help="also make this many believable clients, for benchmarks")
@with_appcontext
def seed(clients: int) -> None:
    """Load roles and reference data; in development the demo houses too, when the database is empty."""
    from flask import current_app

    from models import seeding

    config: Config = current_app.config["KANGHU"]
    with _work("seed") as session:
        seeding.load_house(session, ROOT / "seed")
        if config.demo:
            seeding.load_demo(session, ROOT / "seed")
        if clients:
            seeding.make_clients(session, clients)


@click.command("import")
@click.argument("table")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--as", "account", help="the account to act for; the system when left out")
@click.option("--map", "mapped", multiple=True, metavar="HEADER=FIELD")
@click.option("--set", "fixed", multiple=True, metavar="FIELD=VALUE")
@click.option("--create-missing", is_flag=True, help="make small look-up rows that the file names")
@click.option("--dry-run", is_flag=True, help="say what would happen and write nothing")
@with_appcontext
def import_file(
    table: str, file: Path, account: str | None, mapped: Any, fixed: Any, create_missing: bool, dry_run: bool
) -> None:
    """Import FILE into TABLE: all of it or nothing."""
    from admin_views import commands

    with _work("import", account) as session:
        code = commands.import_file(
            session, table, file, dict(_pair(m) for m in mapped), dict(_pair(f) for f in fixed), create_missing, dry_run
        )
    sys.exit(code)


def _pair(told: str) -> tuple[str, str]:
    name, sign, value = told.rpartition("=")
    if not sign:
        raise click.BadParameter(f"{told!r} is not NAME=VALUE")
    return name, value


@click.command("export")
@click.argument("table")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--as", "account", help="the account to act for; the system when left out")
@with_appcontext
def export_file(table: str, file: Path, account: str | None) -> None:
    """Write every record of TABLE into FILE, a .csv or .xlsx."""
    from admin_views import commands

    with _work("export", account) as session:
        click.echo(f"{commands.export_file(session, table, file)} rows written to {file.name}")


@click.command("tick")
@with_appcontext
def tick() -> None:
    """Do everything that is due because time passed, then seal the journal."""
    from admin_views import commands

    with _work("tick") as session:
        for name, moved in commands.tick(session).items():
            click.echo(f"{name}: {moved}")


@click.command("seal")
@with_appcontext
def seal() -> None:
    """Seal what the journal holds unsealed."""
    from models import sealing

    with _work("seal") as session:
        click.echo(f"{sealing.seal(session)} operations sealed")
        session.commit()


@click.command("verify-journal")
@with_appcontext
def verify_journal() -> None:
    """Prove that nobody altered the journal; exit 1 naming what does not hold."""
    from models import sealing

    with _work("verify") as session:
        verdict = sealing.verify(session)
    for problem in verdict.problems:
        click.echo(problem)
    unsealed = f", not yet sealed: {', '.join(map(str, verdict.unsealed[:20]))}" if verdict.unsealed else ""
    click.echo(f"{verdict.sealed} operations sealed{unsealed}; head {verdict.head}")
    sys.exit(0 if verdict.sound else 1)


@click.command("create-admin")
@click.argument("name")
@click.password_option()
@with_appcontext
def create_admin(name: str, password: str) -> None:
    """Make the account NAME with the role of technical administrator."""
    from admin_views import commands

    with _work("create-admin") as session:
        commands.create_admin(session, name, password)
    click.echo(f"{name} may sign in.")


@click.command("rebuild-search")
@with_appcontext
def rebuild_search() -> None:
    """Make the search's tokens anew for every record."""
    from models import fields, search

    with _work("rebuild-search") as session:
        for model in fields.models():
            click.echo(f"{model.__tablename__}: {search.rebuild(session, model)} tokens")
        session.commit()


@click.command("worker")
@with_appcontext
def worker() -> None:
    """Tick every minute until stopped: what `python app.py` does beside serving."""
    from flask import current_app

    from admin_views import commands

    commands.work_forever(current_app._get_current_object())  # type: ignore[attr-defined]


def _work(name: str, account: str | None = None) -> Any:
    from admin_views import commands

    return commands.session_for(name, account)


if __name__ == "__main__":
    from admin_views import commands

    commands.serve(Config.from_environment(), create_app)
