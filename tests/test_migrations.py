"""A migrated database is the one the models describe, on SQLite and on PostgreSQL."""

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from admin_views.extensions import db
from tests.admin_views.conftest import make_app

ROOT = Path(__file__).resolve().parents[1]
MAKE = "import sys, sqlalchemy, models; models.base.Base.metadata.create_all(sqlalchemy.create_engine(sys.argv[1]))"


def shape(engine: sa.Engine) -> dict[str, set[str]]:
    """Columns, constraints and indexes of every table, as plain words."""
    look = sa.inspect(engine)
    told = {}
    for table in look.get_table_names():
        if table == "alembic_version":
            continue
        words = {f"column {c['name']} {'' if c['nullable'] else 'not null'}" for c in look.get_columns(table)}
        words |= {f"check {c['name']} {c['sqltext']}" for c in look.get_check_constraints(table)}
        words |= {f"unique {sorted(u['column_names'])}" for u in look.get_unique_constraints(table)}
        words |= {f"index {i['name']} {i['column_names']}" for i in look.get_indexes(table)}
        words |= {f"key {f['constrained_columns']} to {f['referred_table']}" for f in look.get_foreign_keys(table)}
        told[table] = words
    return told


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_migrating_gives_what_the_models_describe(kind, tmp_path, request):
    if kind == "sqlite":
        migrated, made = f"sqlite:///{tmp_path / 'a.db'}", f"sqlite:///{tmp_path / 'b.db'}"
    else:
        from tests.postgres import fresh_database

        server = request.getfixturevalue("postgres_url")
        migrated, made = fresh_database(server), fresh_database(server)
    app = make_app(migrated, tmp_path)
    engine = sa.create_engine(made)
    # In a process of its own: making tables on PostgreSQL leaves marks on the metadata (SQLAlchemy 2.1.9,
    # AddConstraint) that take the foreign keys of a circle out of the tables made next.
    subprocess.run([sys.executable, "-c", MAKE, made], check=True, cwd=ROOT)

    result = app.test_cli_runner().invoke(args=["migrate-db"])

    assert result.exit_code == 0, result.output
    with app.app_context():
        assert shape(db.engine) == shape(engine)
        db.engine.dispose()
    engine.dispose()


def test_migrations_never_import_models():
    for path in (ROOT / "migrations" / "versions").glob("*.py"):
        assert "models" not in path.read_text(), path.name
