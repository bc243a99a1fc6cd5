"""Signing in and out, and who is at work in each request."""

import logging
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, abort, flash, g, redirect, render_template, request, session, url_for
from flask_babel import gettext
from flask_login import UserMixin, current_user, login_user, logout_user
from sqlalchemy import select

from models import access, clock, database, journal
from models.policy import Principal, System

from . import language
from .extensions import db, login
from .shell import Shell

log = logging.getLogger("kanghu.access")
blueprint = Blueprint("access", __name__)

OPEN_ENDPOINTS = {"access.sign_in", "access.set_language", "static", "health.alive", "health.ready"}
SEEN_EVERY_SECONDS = 60


class Account(UserMixin):  # type: ignore[misc]
    """The signed-in person as Flask-Login knows them: its id is the token of the session, not of the person."""

    def __init__(self, principal: Principal, token: str) -> None:
        self.principal = principal
        self.token = token

    def get_id(self) -> str:
        return self.token


def init(app: Flask) -> None:
    login.login_view = "access.sign_in"
    login.session_protection = "basic"
    app.register_blueprint(blueprint)
    app.before_request(_refuse_foreign_origin)
    app.before_request(_go_to_work)
    app.teardown_request(_stop_reading)


def _system(name: str) -> database.HouseSession:
    """A session of the machine's own: rows loaded by it never mix with the person's."""
    return database.open_session(db.engine, System(name))


# -- every request --------------------------------------------------------------------------------------


def _refuse_foreign_origin() -> None:
    origin = request.headers.get("Origin")
    if request.method not in {"GET", "HEAD", "OPTIONS"} and origin and urlsplit(origin).netloc != request.host:
        abort(403)


def _go_to_work() -> Any:
    """Put the person at work into the request's session, or send them to sign in."""
    if request.method in {"GET", "HEAD"}:
        g.reading = database.reading()
        g.reading.__enter__()
    work = db.session()
    work.info["request"] = {"source": request.path[:255], "address": (request.remote_addr or "")[:60]}
    if current_user.is_authenticated:
        work.info["principal"] = g.principal = current_user.principal
        return None
    if request.endpoint in OPEN_ENDPOINTS:
        return None
    if request.method not in {"GET", "HEAD"} or request.headers.get("X-Requested-With") == "fetch":
        return Response(gettext("You are signed out: sign in again."), 401, mimetype="text/plain")
    return redirect(url_for("access.sign_in", next=request.full_path.rstrip("?")))


def _stop_reading(_error: BaseException | None) -> None:
    reading = g.pop("reading", None)
    if reading is not None:
        reading.__exit__(None, None, None)


_principals: dict[int, tuple[Any, Principal]] = {}


@login.user_loader  # type: ignore[untyped-decorator]
def load_account(token: str) -> Account | None:
    """The person whose living session *token* opens, with the rights of this moment."""
    # It only reads, and it ends before anything is written: SQLite has one writer, and it must not wait for itself.
    with database.reading(), _system("sign-in") as work:
        found = access.open_login(work, token)
        if found is None:
            return None
        principal = _principal(work, found.user_id)
    if (clock.now() - found.seen_at).total_seconds() > SEEN_EVERY_SECONDS:
        _note_seen(found.id)
    return Account(principal, token) if principal is not None else None


def _principal(work: database.HouseSession, user_id: int) -> Principal | None:
    stamp = (str(db.engine.url), access.access_stamp(work), clock.today())
    known = _principals.get(user_id)
    if known is not None and known[0] == stamp:
        return known[1]
    principal = access.load_principal(work, user_id, clock.today())
    if principal is not None:
        _principals[user_id] = (stamp, principal)
    return principal


def _note_seen(session_id: int) -> None:
    with database.writing(), _system("sign-in") as work:
        found = work.get(access.LoginSession, session_id)
        if found is not None:
            found.seen_at = clock.now()
            work.commit()


# -- the pages --------------------------------------------------------------------------------------------


@blueprint.route("/admin/login", methods=["GET", "POST"])
def sign_in() -> Any:
    """Ask for user name and password; answer and time are the same for known and unknown names."""
    if current_user.is_authenticated:
        return redirect(url_for("admin.index"))
    error, wait = None, 0
    if request.method == "POST":
        name, password = request.form.get("username", "")[:60], request.form.get("password", "")[:1024]
        wait = _seconds_to_wait(name)
        if not wait:
            token = _try(name, password)
            if token is not None:
                return redirect(_safe_next(request.values.get("next")))
            error = gettext("The user name or the password is not right.")
    page = {
        "error": error,
        "wait_seconds": wait,
        "next": request.values.get("next", ""),
        "username": request.form.get("username", "")[:60],
        "languages": Shell(None, None).languages,
    }
    return render_template("login.html", login=page), 429 if wait else 200


def _address() -> str:
    return (request.remote_addr or "unknown")[:60]


def _seconds_to_wait(name: str) -> int:
    with database.reading(), _system("sign-in") as work:
        return access.seconds_to_wait(work, name, _address())


def _try(name: str, password: str) -> str | None:
    """Begin a session when name and password are right; note the failure otherwise."""
    with _system("sign-in") as work:
        work.info["request"] = {"source": request.path, "address": _address()}
        account = access.verify_password(work, name, password)
        if account is None:
            access.note_failure(work, name, _address())
            journal.note(work, journal.Act.REFUSED, label="login", detail={"login": name})
            work.commit()
            return None
        token = access.start_session(work, account, _address(), request.user_agent.string)
        principal = access.load_principal(work, account.id, clock.today())
        assert principal is not None
        work.info["principal"] = principal
        journal.note(work, journal.Act.LOGIN, table="user_account", record_id=account.id)
        work.info["principal"] = System("sign-in")
        account.last_login_at = clock.now()
        work.commit()
    session.clear()  # nothing planted before sign-in lives on
    session.permanent = True
    login_user(Account(principal, token))
    return token


def _safe_next(target: str | None) -> str:
    """An address of this house, or the home page: nobody is sent elsewhere."""
    home = url_for("admin.index")
    if not target or not target.startswith("/") or target.startswith(("//", "/\\")) or "\\" in target:
        return home
    parts = urlsplit(target)
    return target if not parts.scheme and not parts.netloc and not any(ord(c) < 32 for c in target) else home


@blueprint.post("/admin/logout")
def sign_out() -> Any:
    """End this browser's session on the server and here."""
    token = current_user.get_id()
    with _system("sign-in") as work:
        work.info["principal"] = g.principal
        work.info["request"] = {"source": request.path, "address": _address()}
        access.end_session(work, token)
        journal.note(work, journal.Act.LOGOUT)
        work.commit()
    logout_user()
    session.clear()
    response = redirect(url_for("access.sign_in"))
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


@blueprint.post("/lang")
def set_language() -> Any:
    """Keep the language somebody chose, and go on where they were."""
    wanted = request.form.get("lang", "")
    if wanted not in {c for c, _, _ in language.LANGUAGES}:
        abort(400)
    response = redirect(_safe_next(request.form.get("next")))
    response.set_cookie(language.COOKIE, wanted, max_age=365 * 24 * 3600, samesite="Lax", httponly=True)
    return response


@blueprint.route("/admin/account/password", methods=["GET", "POST"])
def change_password() -> Any:
    """Let somebody choose their own password, with the old one; their other sessions end."""
    errors: list[str] = []
    if request.method == "POST":
        with _system("sign-in") as work:
            account = access.verify_password(work, g.principal.login, request.form.get("old", ""))
            if account is None:
                errors.append(gettext("The old password is not right."))
            elif request.form.get("new") != request.form.get("again"):
                errors.append(gettext("The two new passwords differ."))
            else:
                try:
                    account.set_password(request.form.get("new", ""))
                except access.RuleBroken as broken:
                    errors.append(language.tell(broken))
                else:
                    account.must_change_password = False
                    access.end_sessions(work, account.id)
                    token = access.start_session(work, account, _address(), request.user_agent.string)
                    work.commit()
                    session.clear()
                    login_user(Account(g.principal, token))
                    flash(gettext("Your password is changed; your other sessions have ended."), "success")
                    return redirect(url_for("admin.index"))
    return render_template("password.html", errors=errors), 422 if errors else 200


def account_count() -> int:
    with _system("sign-in") as work:
        return len(work.scalars(select(access.UserAccount.id).limit(1)).all())
