"""Who gets in, for how long, and what nobody gets without: seen from outside, over every address of the app."""

import re
import statistics
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from admin_views import listing
from app import BadSetting, Config, create_app
from models import clock, fields
from models.access import RoleGrant, UserAccount
from models.journal import Act, Operation
from tests.admin_views.conftest import NOW, Browser, looking, make_app, token_in
from tests.cast import ADMIN, KEYHOLDER, LIN, PASSWORD, SUN, ZHAO, ZHOU, Person

OPEN = {"/admin/login", "/healthz", "/readyz", "/lang"}


def attempt(client: FlaskClient, person: Person, password: str, **kw: Any) -> Any:
    token = token_in(client.get("/admin/login").text)
    sent = {"csrf_token": token, "username": person.login, "password": password}
    return client.post("/admin/login", data=sent, **kw)


def is_in(client: FlaskClient) -> bool:
    """Whether this browser's cookie opens the house."""
    return client.get("/admin/").status_code == 200


# -- guessing ------------------------------------------------------------------------------------------------


def test_guessing_is_slowed_by_the_tenth_try_over_a_restart_too_and_nobody_else_is_locked_out(
    demo: Flask, tmp_path: Path
) -> None:
    with clock.at(NOW):
        client = demo.test_client()
        guesses = [attempt(client, LIN, f"wrong guess number {n}").status_code for n in range(10)]
        again = make_app(demo.config["SQLALCHEMY_DATABASE_URI"], tmp_path)
        after_restart = attempt(again.test_client(), LIN, PASSWORD).status_code
        colleague = attempt(again.test_client(), ZHOU, PASSWORD).status_code
    with clock.at(NOW + timedelta(minutes=16)):
        later = attempt(again.test_client(), LIN, PASSWORD).status_code

    assert guesses[0] == 200
    assert 429 in guesses
    assert guesses[-1] == after_restart == 429
    assert colleague == later == 302


def test_a_forged_address_does_not_let_anybody_guess_faster(demo: Flask) -> None:
    client = demo.test_client()

    with clock.at(NOW):
        guesses = [
            attempt(
                client, LIN, "wrong guess", headers={"X-Forwarded-For": f"10.0.0.{n}", "Forwarded": f"for=10.1.0.{n}"}
            )
            for n in range(10)
        ]
    with looking(demo) as session:
        addresses = set(session.scalars(sa.select(Operation.address).where(Operation.kind == Act.REFUSED)))

    assert guesses[-1].status_code == 429
    assert addresses == {"127.0.0.1"}


def test_the_answer_does_not_tell_which_accounts_exist(demo: Flask) -> None:
    nobody = Person("nobody-of-that-name", "", "", None, "")
    client, taken = demo.test_client(), {LIN: [], nobody: []}

    pages = {}
    for _ in range(3):
        for person, times in taken.items():
            began = time.perf_counter()
            answer = attempt(client, person, "not the password")
            times.append(time.perf_counter() - began)
            token = re.compile(r'(csrf_token" value|csrf-token" content)="[^"]+"')
            pages[person] = answer.status_code, token.sub("", answer.text).replace(person.login, "…")

    known, unknown = statistics.median(taken[LIN]), statistics.median(taken[nobody])
    assert pages[LIN] == pages[nobody]
    assert 0.4 < known / unknown < 2.5, f"{known:.3f} s against {unknown:.3f} s"


# -- how long a session lives ----------------------------------------------------------------------------------


def test_a_session_dies_on_the_server_at_signing_out(demo: Flask) -> None:
    browser = Browser(demo, LIN)
    cookie = browser.client.get_cookie("kanghu")
    thief = demo.test_client()
    thief.set_cookie("kanghu", cookie.value)
    was_in = is_in(thief)

    answer = browser.post("/admin/logout")

    assert was_in
    assert answer.status_code == 302
    assert "cache" in answer.headers["Clear-Site-Data"]
    assert not is_in(thief)
    assert not is_in(browser.client)


def test_a_session_dies_when_the_account_is_disabled(demo: Flask) -> None:
    lin, admin = Browser(demo, LIN), Browser(demo, ADMIN)
    with looking(demo) as session:
        account = session.scalars(sa.select(UserAccount).where(UserAccount.login == LIN.login)).one()

    admin.post("/admin/user_account/action/", {"name": "disable", "id": account.id})

    assert not is_in(lin.client)
    assert lin.get("/admin/client/").status_code == 302
    assert attempt(demo.test_client(), LIN, PASSWORD).status_code == 200


def test_a_right_that_is_taken_away_is_gone_with_the_next_click(demo: Flask) -> None:
    lin, admin = Browser(demo, LIN), Browser(demo, ADMIN)
    before = lin.get("/admin/client/").status_code
    with looking(demo) as session:
        held = sa.select(RoleGrant.id).join(UserAccount, UserAccount.id == RoleGrant.user_id)
        grant = session.scalars(held.where(UserAccount.login == LIN.login)).one()

    admin.post("/admin/role_grant/delete/", {"id": grant})

    assert before == 200
    assert lin.get("/admin/client/").status_code == 403


def test_a_right_that_is_added_is_there_with_the_next_click(demo: Flask) -> None:
    lin, admin = Browser(demo, LIN), Browser(demo, ADMIN)
    before = lin.get("/admin/assessment/").status_code
    with looking(demo) as session:
        account = session.scalars(sa.select(UserAccount.id).where(UserAccount.login == LIN.login)).one()
    role = admin.get("/admin/role_grant/ajax/lookup/?name=role&q=NL").json[0]["id"]
    branch = admin.get("/admin/role_grant/ajax/lookup/?name=branch&q=SH01").json[0]["id"]

    granted = {"user": account, "role": role, "scope": "branch", "branch": branch, "department": ""}
    answer = admin.post("/admin/role_grant/new/", granted)

    assert answer.status_code == 302
    assert before == 403
    assert lin.get("/admin/assessment/").status_code == 200


@pytest.mark.parametrize(
    ("steps", "alive"),
    [
        ([29, 58, 87], True),
        ([31], False),
        ([29 * n for n in range(1, 24)], True),
        ([29 * n for n in range(1, 26)], False),
    ],
    ids=["used all the time", "idle for half an hour", "for eleven hours", "for twelve hours"],
)
def test_a_session_ends_after_half_an_hour_idle_and_after_twelve_hours(
    demo: Flask, steps: list[int], alive: bool
) -> None:
    with clock.at(NOW):
        browser = Browser(demo, LIN)

    for minutes in steps:
        with clock.at(NOW + timedelta(minutes=minutes)):
            found = is_in(browser.client)

    assert found is alive


def test_a_cookie_planted_before_signing_in_never_becomes_signed_in(demo: Flask) -> None:
    victim, attacker = demo.test_client(), demo.test_client()
    attacker.get("/admin/login")
    planted = attacker.get_cookie("kanghu").value
    victim.set_cookie("kanghu", planted)

    attempt(victim, LIN, PASSWORD)

    assert is_in(victim)
    assert victim.get_cookie("kanghu").value != planted
    assert not is_in(attacker)


def test_every_sign_in_has_a_token_of_its_own(demo: Flask) -> None:
    tokens = set()
    for _ in range(3):
        with Browser(demo, LIN).client.session_transaction() as kept:
            tokens.add(kept["_user_id"])

    assert len(tokens) == 3
    assert min(map(len, tokens)) >= 43  # 256 bits


def test_changing_the_password_needs_the_old_one_and_ends_the_other_sessions(demo: Flask) -> None:
    here, elsewhere = Browser(demo, LIN), Browser(demo, LIN)
    new = "correct horse battery staple"

    wrong = here.post("/admin/account/password", {"old": "guess", "new": new, "again": new})
    short = here.post("/admin/account/password", {"old": PASSWORD, "new": "short", "again": "short"})
    right = here.post("/admin/account/password", {"old": PASSWORD, "new": new, "again": new})

    assert (wrong.status_code, short.status_code, right.status_code) == (422, 422, 302)
    assert is_in(here.client)
    assert not is_in(elsewhere.client)
    assert attempt(demo.test_client(), LIN, PASSWORD).status_code == 200
    assert attempt(demo.test_client(), LIN, new).status_code == 302


def test_signing_in_and_out_and_failing_to_stand_in_the_journal(demo: Flask) -> None:
    attempt(demo.test_client(), LIN, "not the password")
    Browser(demo, LIN).post("/admin/logout")

    with looking(demo) as session:
        kinds = [Act.REFUSED, Act.LOGIN, Act.LOGOUT]
        found = session.scalars(sa.select(Operation.kind).where(Operation.kind.in_(kinds)).order_by(Operation.id)).all()
    assert found == kinds


# -- every address -------------------------------------------------------------------------------------------


def addresses(app: Flask, method: str) -> Iterator[str]:
    """Every address of the app that takes *method*, with a record to speak of where it needs one."""
    for rule in app.url_map.iter_rules():
        if method in rule.methods and "/static/" not in rule.rule:
            yield rule.rule.replace("<export_type>", "csv").replace("<path:path>", "x") + "?id=1&name=name"


def test_nothing_is_shown_without_signing_in(house: Flask) -> None:
    client = house.test_client()
    problems = []

    for address in addresses(house, "GET"):
        answer = client.get(address)
        allowed = urlsplit(address).path in OPEN
        if not allowed and not (answer.status_code == 302 and "/admin/login" in answer.headers["Location"]):
            problems.append(f"GET {address}: {answer.status_code}")

    assert not problems, "\n".join(problems)


def test_nothing_is_done_without_signing_in(house: Flask) -> None:
    client = house.test_client()
    token = token_in(client.get("/admin/login").text)
    before = _state(house)
    problems = []

    for address in addresses(house, "POST"):
        answer = client.post(address, data={"csrf_token": token, "id": "1"})
        if urlsplit(address).path not in OPEN and answer.status_code != 401:
            problems.append(f"POST {address}: {answer.status_code}")

    assert not problems, "\n".join(problems)
    assert _state(house) == before


def test_no_write_is_done_without_its_token_nor_for_another_site(house: Flask) -> None:
    browser = Browser(house, KEYHOLDER)
    before = _state(house)
    problems = []

    for address in addresses(house, "POST"):
        bare = browser.client.post(address, data={"id": "1"}).status_code
        forged = browser.client.post(address, data={"id": "1", "csrf_token": browser.token + "x"}).status_code
        elsewhere = browser.post(address, {"id": "1"}, headers={"Origin": "https://evil.example"}).status_code
        framed = browser.post(address, {"id": "1"}, headers={"Origin": "null"}).status_code
        if (bare, forged, elsewhere, framed) != (400, 400, 403, 403):
            problems.append(
                f"{address}: {bare} without, {forged} with a forged token, {elsewhere} and {framed} from elsewhere"
            )

    assert not problems, "\n".join(problems)
    assert _state(house) == before
    assert is_in(browser.client)


def test_looking_writes_nothing(house: Flask) -> None:
    browser = Browser(house, KEYHOLDER)
    problems = []

    for address in addresses(house, "GET"):
        before = _state(house)
        browser.get(address)
        after = _state(house)
        told = 1 if "/export/" in address else 0
        if after[1:] != before[1:] or after[0] not in {before[0], before[0] + told}:
            problems.append(f"GET {address}: operations {before[0]} -> {after[0]}")

    assert not problems, "\n".join(problems)


def test_what_writes_is_not_reached_by_looking(house: Flask) -> None:
    browser = Browser(house, KEYHOLDER)
    only_posts = set(addresses(house, "POST")) - set(addresses(house, "GET"))

    codes = {browser.get(address).status_code for address in only_posts}

    assert codes == {405}


def _state(app: Flask) -> tuple[Any, ...]:
    """The number of operations, then for every table how many rows it has and how often they were written."""
    with looking(app) as session:
        connection = session.connection()
        counts = [connection.execute(sa.select(sa.func.count()).select_from(Operation.__table__)).scalar_one()]
        for model in fields.models():
            t = model.__table__
            counts.append(tuple(connection.execute(sa.select(sa.func.count(), sa.func.sum(t.c.version))).one()))
    return tuple(counts)


HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
POLICY = {
    "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "object-src": "'none'",
    "base-uri": "'none'", "frame-ancestors": "'none'", "form-action": "'self'",
}  # fmt: skip


def test_every_answer_carries_the_headers_that_keep_it_safe_errors_too(
    house: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, nobody = Browser(house, SUN), house.test_client()
    asked = [
        browser.get("/admin/"), browser.get("/admin/staff/"), browser.get("/admin/staff/export/csv/"),
        browser.get("/admin/staff/?nonsense=1"), browser.get("/admin/staff/details/?id=99999"), browser.get("/nowhere"),
        browser.get("/admin/client/"), browser.get("/admin/staff/delete/"), nobody.get("/admin/"), nobody.get("/admin/login"),
        browser.client.post("/admin/staff/new/"), browser.post("/admin/staff/new/", {"name": ""}),
        browser.post("/admin/staff/new/", {"name": "x" * (3 * 1024 * 1024)}), nobody.get("/healthz"),
    ]  # fmt: skip
    monkeypatch.setattr(listing, "read", lambda *_: 1 / 0)
    asked.append(browser.get("/admin/staff/"))

    assert {a.status_code for a in asked} >= {200, 302, 400, 403, 404, 405, 413, 422, 500}
    for answer in asked:
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
        assert POLICY.items() <= policy.items(), answer.request.path
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert HEADERS.items() <= dict(answer.headers).items(), (answer.request.path, dict(answer.headers))
        assert "Werkzeug" not in answer.headers.get("Server", "")


def test_an_error_says_nothing_of_what_went_wrong_but_a_reference(
    house: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser(house, SUN)

    def fail(*_: Any) -> None:
        raise RuntimeError("SELECT secret FROM staff")

    monkeypatch.setattr(listing, "read", fail)
    answer = browser.get("/admin/staff/")

    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "RuntimeError" not in answer.text
    assert re.search(r"\b[0-9a-f]{8}\b", answer.text)


ELSEWHERE = (
    "//evil.example", "https://evil.example/", "http:evil.example", "https:/evil.example", "///evil.example", "////evil.example",
    "/\\evil.example", "\\\\evil.example", "\\/evil.example", "/\t/evil.example", "/\n/evil.example", "/\r\n/evil.example",
    "\t//evil.example", " //evil.example", "javascript:alert(1)", "data:text/html,x", "evil.example", "@evil.example",
    "//localhost@evil.example", "//evil.example\\@localhost", "https://localhost.evil.example/", "/admin/\\..\\..\\\\evil.example",
    "http://[::1", "//%0d%0aSet-Cookie:x=1", "/\x0b/evil.example", "\u3000//evil.example", "/\u2028/evil.example",
)  # fmt: skip


def test_nobody_is_sent_elsewhere_by_a_link_to_the_sign_in_page(demo: Flask) -> None:
    problems = []

    for target in ELSEWHERE:
        client = demo.test_client()
        token = token_in(client.get("/admin/login", query_string={"next": target}).text)
        sent = {"csrf_token": token, "username": ZHAO.login, "password": PASSWORD, "next": target}
        signed_in = client.post("/admin/login", data=sent)
        spoken = client.post("/lang", data={"csrf_token": token, "lang": "en", "next": target})
        for answer in (signed_in, spoken):
            place = answer.headers.get("Location", "")
            stays = urlsplit(urljoin("http://localhost/", place)).netloc == "localhost"
            if not stays or "\\" in place or re.search(r"[\x00-\x20]", place) or answer.status_code not in {302, 400}:
                problems.append(f"{target!r}: {answer.status_code} {place!r}")
        if len(problems) > 3:
            break

    assert not problems, "\n".join(problems)


def test_one_comes_back_to_where_one_wanted_to_go(demo: Flask) -> None:
    client = demo.test_client()
    sent_away = client.get("/admin/client/?name=%E6%9E%97").headers["Location"]

    page = client.get(sent_away).text
    wanted = re.search(r'name="next" value="([^"]+)"', page)
    sent = {
        "csrf_token": token_in(page),
        "username": LIN.login,
        "password": PASSWORD,
        "next": wanted.group(1) if wanted else "",
    }
    answer = client.post("/admin/login", data=sent)

    assert answer.headers["Location"].startswith("/admin/client/?name=")


# -- settings --------------------------------------------------------------------------------------------------

GOOD = {"KANGHU_ENV": "production", "KANGHU_SECRET_KEY": "s" * 48, "KANGHU_DATABASE_URL": "sqlite://"}


@pytest.mark.parametrize(
    "unsafe",
    [
        {"KANGHU_SECRET_KEY": None}, {"KANGHU_SECRET_KEY": "short"}, {"KANGHU_SECRET_KEY": ""}, {"KANGHU_DEMO": "1"},
        {"KANGHU_NOW": "2026-03-02T09:00+08:00"}, {"KANGHU_ENV": "prod"},
    ],
    ids=str,
)  # fmt: skip
def test_production_does_not_start_with_settings_made_for_trying_out(
    unsafe: dict[str, str | None], tmp_path: Path
) -> None:
    settings = {k: v for k, v in {**GOOD, "KANGHU_INSTANCE": str(tmp_path), **unsafe}.items() if v is not None}

    with pytest.raises(BadSetting):
        Config.from_environment(settings)


def test_production_keeps_its_cookie_to_itself(demo: Flask, tmp_path: Path) -> None:
    settings = {**GOOD, "KANGHU_INSTANCE": str(tmp_path), "KANGHU_DATABASE_URL": demo.config["SQLALCHEMY_DATABASE_URI"]}
    app = create_app(Config.from_environment(settings))
    client = app.test_client()

    page = client.get("/admin/login", base_url="https://house.example")
    sent = {"csrf_token": token_in(page.text), "username": LIN.login, "password": PASSWORD}
    answer = client.post(
        "/admin/login",
        data=sent,
        base_url="https://house.example",
        headers={"Referer": "https://house.example/admin/login"},
    )

    cookie = answer.headers["Set-Cookie"]
    assert answer.status_code == 302
    assert cookie.startswith("__Host-kanghu=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert "max-age=31536000" in answer.headers["Strict-Transport-Security"]


def test_an_empty_house_has_no_account_that_anybody_knows(tmp_path: Path) -> None:
    app = make_app(f"sqlite:///{tmp_path / 'empty.db'}", tmp_path)
    with app.app_context():
        from admin_views.extensions import db
        from models.base import Base

        Base.metadata.create_all(db.engine)

    assert attempt(app.test_client(), ADMIN, PASSWORD).status_code == 200
    assert attempt(app.test_client(), ADMIN, "admin").status_code == 200
