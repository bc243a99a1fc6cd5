"""Screens: what the models declare, as pages. ``mount(app)`` puts every one of them on the app."""

from flask import Flask
from flask_admin import Admin
from flask_admin.theme import Theme

from models import fields as declared

from . import access, answers, extensions, finding, health, language, shell, ui
from .generated import GeneratedView
from .home import HomeView


def mount(app: Flask) -> None:
    """Put the libraries, the sign-in, and one view per model on *app*."""
    extensions.init(app)
    language.init(app)
    ui.register(app)
    access.init(app)
    shell.init(app)
    answers.init(app)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(finding.blueprint)
    # A theme folder that does not exist: a template we forgot raises instead of showing Flask-Admin's own.
    admin = Admin(
        app, name="Kanghu", theme=Theme(folder="none", base_template="admin/base.html"), index_view=HomeView()
    )
    for model in declared.models():
        admin.add_view(GeneratedView(model))
