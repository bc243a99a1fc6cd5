"""The libraries the app is made of, each made once: database, sign-in, languages, forgery protection."""

from flask import Flask
from flask_babel import Babel
from flask_login import LoginManager
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as FlaskSession
from flask_wtf import CSRFProtect

from models import database
from models.base import Base


class WebSession(FlaskSession, database.HouseSession):
    """The session of a request: narrowed, permitted, checked and journaled like every other."""


db = SQLAlchemy(metadata=Base.metadata, session_options={"class_": WebSession})
login = LoginManager()
babel = Babel()
csrf = CSRFProtect()
migrate = Migrate()


def init(app: Flask) -> None:
    """Bind every library to *app* and make the database's connections safe."""
    db.init_app(app)
    login.init_app(app)
    csrf.init_app(app)
    migrate.init_app(app, db, directory="migrations", render_as_batch=True)
    with app.app_context():
        database.prepare(db.engine)
