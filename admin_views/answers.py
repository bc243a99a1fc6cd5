"""How the house answers when something is refused or fails; and the headers of every answer."""

import logging
import secrets
from typing import Any

from flask import Flask, Response, g, jsonify, render_template, request
from flask_babel import gettext
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from models.choices import N_
from models.errors import Forbidden, RuleBroken

from . import language
from .extensions import db
from .listing import NotUnderstood

log = logging.getLogger("kanghu.answers")

CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "font-src 'self'",
        "connect-src 'self'", "object-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'",
    )
)  # fmt: skip


def init(app: Flask) -> None:
    app.after_request(_add_headers)
    app.register_error_handler(NotUnderstood, _not_understood)
    app.register_error_handler(Forbidden, _forbidden)
    app.register_error_handler(RuleBroken, _rule_broken)
    app.register_error_handler(CSRFError, _forged)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _failed)


def _add_headers(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("Content-Security-Policy", CONTENT_POLICY)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    if request.endpoint != "static":
        headers.setdefault("Cache-Control", "no-store")
    if request.is_secure:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
    return response


def _answer(code: int, title: str, hint: str, reference: str = "") -> Any:
    """The bare page of an error; plain JSON for scripts of our own pages."""
    if request.headers.get("X-Requested-With") == "fetch":
        return jsonify(error=hint), code
    return render_template("error.html", code=code, title=title, hint=hint, reference=reference), code


def _not_understood(broken: NotUnderstood) -> Any:
    return _answer(400, gettext("This address is not understood"), language.tell(broken))


def _forbidden(broken: Forbidden) -> Any:
    db.session.rollback()
    return _answer(403, gettext("Not permitted"), language.tell(broken))


def _rule_broken(broken: RuleBroken) -> Any:
    db.session.rollback()
    return _answer(422, gettext("Not possible"), language.tell(broken))


def _forged(_error: CSRFError) -> Any:
    return _answer(
        400,
        gettext("Send it again"),
        gettext("This form came from an earlier session: go back, reload the page and send it again."),
    )


_HTTP = {
    400: (N_("This request is not understood"), N_("Part of the address or the form does not make sense here.")),
    403: (N_("Not permitted"), N_("This request did not come from this site.")),
    404: (
        N_("Not here"),
        N_("There is no such page or record, or it is out of your sight. Search for it, or look in the recycle bin."),
    ),
    405: (N_("Not in this way"), N_("This address does not take this kind of request.")),
    413: (N_("Too large"), N_("What was sent is larger than this site takes.")),
}


def _http(error: HTTPException) -> Any:
    code = error.code or 500
    if code < 400:
        return error
    if code >= 500:
        return _failed(error)
    title, hint = _HTTP.get(code, _HTTP[400])
    return _answer(code, gettext(title), gettext(hint))


def _failed(error: Exception) -> Any:
    """Say nothing of what went wrong but a reference; write the rest into the log."""
    reference = secrets.token_hex(4)
    who = getattr(g.get("principal"), "login", "nobody")
    log.error("reference %s: %s %s by %s", reference, request.method, request.path, who, exc_info=error)
    try:
        db.session.rollback()
    except Exception:
        log.exception("reference %s: and the rollback failed", reference)
    return _answer(
        500,
        gettext("Something went wrong here"),
        gettext("Nothing was saved. Try again; if it stays, tell your administrator."),
        reference,
    )
