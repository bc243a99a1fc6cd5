"""For machines that watch: whether the process lives, and whether it can serve."""

from typing import Any

import sqlalchemy as sa
from flask import Blueprint

from models import database

from .extensions import db

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def alive() -> Any:
    return "ok", 200, {"Content-Type": "text/plain"}


@blueprint.get("/readyz")
def ready() -> Any:
    """200 when the database answers, 503 otherwise."""
    try:
        with database.reading(), db.engine.connect() as connection:
            connection.execute(sa.text("SELECT 1 FROM serial LIMIT 1"))
    except sa.exc.SQLAlchemyError:
        return "database unavailable", 503, {"Content-Type": "text/plain"}
    return "ready", 200, {"Content-Type": "text/plain"}
