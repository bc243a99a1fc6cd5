"""Two people, one record: nothing is overwritten in silence, and nothing typed is lost."""

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from models import fields, values
from models.base import Model
from models.clients import Client
from models.journal import Operation
from models.staff import Staff
from tests.admin_views import reading
from tests.admin_views.conftest import Browser, looking
from tests.cast import KEYHOLDER, LIN, VEILED, XU, ZHAO, ZHOU


def client_of(app: Flask, branch: str = "SH01") -> int:
    with looking(app) as session:
        found = sa.select(Client.id).where(Client.branch.has(code=branch), Client.occupation.is_not(None))
        return int(session.scalars(found.order_by(Client.id).limit(1)).one())


def kept(app: Flask, model: type[Model], record_id: int) -> Model:
    with looking(app) as session:
        return session.get(model, record_id)


def opened(browser: Browser, record_id: int, table: str = "client") -> tuple[str, reading.Form]:
    address = f"/admin/{table}/edit/?id={record_id}"
    return address, reading.main_form(browser.get(address).text)


def operations(app: Flask) -> int:
    with looking(app) as session:
        return int(session.scalar(sa.select(sa.func.count()).select_from(Operation)))


# -- forms ---------------------------------------------------------------------------------------------------


def test_the_second_of_two_saves_is_refused_and_shows_both_versions(demo_on_both: Flask) -> None:
    lin, zhou, number = Browser(demo_on_both, LIN), Browser(demo_on_both, ZHOU), client_of(demo_on_both)
    before = kept(demo_on_both, Client, number)
    (address, hers), (_, mine) = opened(zhou, number), opened(lin, number)

    first = zhou.post(address, hers.with_(occupation="小学老师"))
    second = lin.post(address, mine.with_(occupation="舞蹈老师"))

    said = reading.words(second.text)
    assert (first.status_code, second.status_code) == (302, 409)
    assert all(word in said for word in (before.occupation, "小学老师", "舞蹈老师", "周敏"))
    after = kept(demo_on_both, Client, number)
    assert (after.occupation, after.version) == ("小学老师", before.version + 1)


def test_what_was_typed_is_carried_along_and_saved_when_sent_again(demo_on_both: Flask) -> None:
    lin, zhou, number = Browser(demo_on_both, LIN), Browser(demo_on_both, ZHOU), client_of(demo_on_both)
    (address, hers), (_, mine) = opened(zhou, number), opened(lin, number)
    zhou.post(address, hers.with_(occupation="小学老师"))

    refused = lin.post(address, mine.with_(occupation="舞蹈老师", ethnicity="满族"))
    again = reading.main_form(refused.text)
    saved = lin.post(again.action, again.pairs)

    after = kept(demo_on_both, Client, number)
    assert refused.status_code == 409
    assert saved.status_code == 302
    assert (after.occupation, after.ethnicity) == ("舞蹈老师", "满族")


def test_sending_it_again_is_refused_once_more_when_somebody_saved_between(demo_on_both: Flask) -> None:
    lin, zhou, number = Browser(demo_on_both, LIN), Browser(demo_on_both, ZHOU), client_of(demo_on_both)
    (address, hers), (_, mine) = opened(zhou, number), opened(lin, number)
    zhou.post(address, hers.with_(occupation="小学老师"))
    again = reading.main_form(lin.post(address, mine.with_(occupation="舞蹈老师")).text)
    _, hers = opened(zhou, number)
    zhou.post(address, hers.with_(occupation="中学老师"))

    refused = lin.post(again.action, again.pairs)

    assert refused.status_code == 409
    assert kept(demo_on_both, Client, number).occupation == "中学老师"


def test_keeping_theirs_leaves_nothing_of_mine(demo: Flask) -> None:
    lin, zhou, number = Browser(demo, LIN), Browser(demo, ZHOU), client_of(demo)
    (address, hers), (_, mine) = opened(zhou, number), opened(lin, number)
    zhou.post(address, hers.with_(occupation="小学老师"))
    page = lin.post(address, mine.with_(occupation="舞蹈老师")).text

    done = operations(demo)
    answers = {
        lin.get(link).status_code
        for link in reading.links(reading.main(page))
        if link.startswith("/admin/client/details/")
    }

    assert answers == {200}
    assert operations(demo) == done
    assert kept(demo, Client, number).occupation == "小学老师"


def test_a_stale_form_that_changes_nothing_is_no_conflict(demo_on_both: Flask) -> None:
    lin, zhou, number = Browser(demo_on_both, LIN), Browser(demo_on_both, ZHOU), client_of(demo_on_both)
    (address, hers), (_, mine) = opened(zhou, number), opened(lin, number)
    zhou.post(address, hers.with_(occupation="小学老师"))
    done = operations(demo_on_both)

    answer = lin.post(address, mine.pairs)

    assert answer.status_code == 302
    assert operations(demo_on_both) == done
    assert kept(demo_on_both, Client, number).occupation == "小学老师"


def test_edits_of_different_fields_do_not_touch_and_are_both_kept(demo_on_both: Flask) -> None:
    lin, zhou, number = Browser(demo_on_both, LIN), Browser(demo_on_both, ZHOU), client_of(demo_on_both)
    (address, hers), (_, mine) = opened(zhou, number), opened(lin, number)
    zhou.post(address, hers.with_(occupation="小学老师", due_date="2026-05-01"))

    answer = lin.post(address, mine.with_(ethnicity="满族"))

    after = kept(demo_on_both, Client, number)
    assert answer.status_code == 302
    assert (after.occupation, str(after.due_date), after.ethnicity) == ("小学老师", "2026-05-01", "满族")


def test_only_the_fields_that_touch_are_asked_about_and_the_rest_of_theirs_is_kept(demo_on_both: Flask) -> None:
    lin, zhou, number = Browser(demo_on_both, LIN), Browser(demo_on_both, ZHOU), client_of(demo_on_both)
    (address, hers), (_, mine) = opened(zhou, number), opened(lin, number)
    zhou.post(address, hers.with_(occupation="小学老师", due_date="2026-05-01"))

    refused = lin.post(address, mine.with_(occupation="舞蹈老师", ethnicity="满族"))
    again = reading.main_form(refused.text)
    lin.post(again.action, again.pairs)

    after = kept(demo_on_both, Client, number)
    assert "2026-05-01" not in reading.words(refused.text)
    assert (after.occupation, str(after.due_date), after.ethnicity) == ("舞蹈老师", "2026-05-01", "满族")


def test_a_save_without_a_version_or_with_a_made_up_one_is_refused(demo: Flask) -> None:
    lin, number = Browser(demo, LIN), client_of(demo)
    address, mine = opened(lin, number)
    before = kept(demo, Client, number)

    for version in (None, "", "0", "999999", "-1", "1e3", "x", str(2**63), f" {before.version}"):
        assert lin.post(address, mine.with_(occupation="舞蹈老师", version=version)).status_code == 409, version

    assert kept(demo, Client, number).occupation == before.occupation


def test_the_colleagues_secret_is_not_shown_in_a_conflict(demo: Flask) -> None:
    veiled, xu, number = Browser(demo, VEILED), Browser(demo, KEYHOLDER), client_of(demo)
    (address, hers), (_, mine) = opened(xu, number), opened(veiled, number)
    xu.post(address, hers.with_(phone="13912345678"))

    answer = veiled.post(address, mine.with_(phone="13887654321"))

    said = reading.words(answer.text)
    assert answer.status_code == 409
    assert "13912345678" not in answer.text
    assert values.mask_phone("13912345678") in said
    assert "13887654321" in said


# -- cells ---------------------------------------------------------------------------------------------------


def test_the_second_of_two_cells_is_refused_and_shows_what_was_saved(demo_on_both: Flask) -> None:
    lin, zhou, number = Browser(demo_on_both, LIN), Browser(demo_on_both, ZHOU), client_of(demo_on_both)
    version = kept(demo_on_both, Client, number).version
    sent = {"pk": number, "name": "due_date", "version": version}

    first = zhou.post("/admin/client/ajax/update/", sent | {"value": "2026-05-01"})
    second = lin.post("/admin/client/ajax/update/", sent | {"value": "2026-06-01"})

    told = second.json
    assert (first.status_code, second.status_code) == (200, 409)
    assert "周敏" in told["error"]
    assert "2026-05-01" in told["theirs_html"]
    assert told["version"] == version + 1
    assert str(kept(demo_on_both, Client, number).due_date) == "2026-05-01"


def test_a_cell_is_saved_with_the_version_that_the_refusal_told(demo_on_both: Flask) -> None:
    lin, zhou, number = Browser(demo_on_both, LIN), Browser(demo_on_both, ZHOU), client_of(demo_on_both)
    version = kept(demo_on_both, Client, number).version
    sent = {"pk": number, "name": "due_date", "version": version}
    zhou.post("/admin/client/ajax/update/", sent | {"value": "2026-05-01"})
    told = lin.post("/admin/client/ajax/update/", sent | {"value": "2026-06-01"}).json

    answer = lin.post("/admin/client/ajax/update/", sent | {"value": "2026-06-01", "version": told["version"]})

    assert answer.status_code == 200
    assert answer.json["version"] == version + 2
    assert str(kept(demo_on_both, Client, number).due_date) == "2026-06-01"


def test_a_cell_and_a_form_do_not_overwrite_each_other(demo: Flask) -> None:
    lin, zhou, number = Browser(demo, LIN), Browser(demo, ZHOU), client_of(demo)
    address, mine = opened(lin, number)
    version = kept(demo, Client, number).version
    cell = {"pk": number, "name": "due_date", "value": "2026-05-01", "version": version}

    by_cell = zhou.post("/admin/client/ajax/update/", cell)
    by_form = lin.post(address, mine.with_(due_date="2026-06-01"))

    assert (by_cell.status_code, by_form.status_code) == (200, 409)
    assert str(kept(demo, Client, number).due_date) == "2026-05-01"


# -- what else can go under ----------------------------------------------------------------------------------


def test_saving_what_somebody_put_into_the_bin_is_answered_404(demo: Flask) -> None:
    zhao, lin = Browser(demo, ZHAO), Browser(demo, LIN)
    form = {"branch": 1, "line": "postpartum", "name": "查无此人", "id_type": "resident_id"}
    made = zhao.post("/admin/client/new/", form).headers["Location"]
    number = int(made.rpartition("=")[2])
    address, mine = opened(lin, number)
    zhao.post(f"/admin/client/delete/?id={number}")

    assert lin.post(address, mine.with_(name="查有此人")).status_code == 404
    assert (
        lin.post(
            "/admin/client/ajax/update/", {"pk": number, "name": "line", "value": "elder", "version": 1}
        ).status_code
        == 404
    )
    assert lin.post("/admin/client/action/", {"id": number, "name": "delete"}).status_code in {403, 404}


def test_of_two_who_press_one_button_the_second_is_told_so(demo_on_both: Flask) -> None:
    xu, he = Browser(demo_on_both, XU), Browser(demo_on_both, XU)
    with looking(demo_on_both) as session:
        from models.clients import Allergy, AllergyStatus

        found = sa.select(Allergy.id).join(Client).where(Client.branch.has(code="SH01"))
        number = session.scalars(found.where(Allergy.status == AllergyStatus.UNVERIFIED).limit(1)).one()
    done = operations(demo_on_both)

    xu.post("/admin/allergy/action/", {"id": number, "name": "verify"})
    he.post("/admin/allergy/action/", {"id": number, "name": "verify"})

    assert len(xu.told()) == len(he.told()) == 1
    assert operations(demo_on_both) == done + 1


@pytest.mark.parametrize("kind", ["name", "note", "choice", "day", "money", "relation", "bool"])
def test_a_conflict_shows_values_of_every_kind(demo: Flask, kind: str) -> None:
    one, two = Browser(demo, KEYHOLDER), Browser(demo, KEYHOLDER)
    model, field = _first_of(kind)
    with looking(demo) as session:
        number = session.scalar(sa.select(sa.func.min(model.id)).where(getattr(model, field.attr).is_not(None)))
    (address, hers), (_, mine) = opened(one, number, model.__tablename__), opened(two, number, model.__tablename__)
    first, second = _two_others(one, field, hers)

    saved = one.post(address, hers.with_(**{field.key: first}))
    refused = two.post(address, mine.with_(**{field.key: second}))

    assert (saved.status_code, refused.status_code) == (302, 409), reading.words(saved.text)[:400]


def _first_of(kind: str) -> tuple[type[Model], Any]:
    found = {
        "name": "name",
        "note": "note",
        "choice": "sex",
        "day": "probation_end",
        "money": "monthly_salary",
        "relation": "post",
    }
    if kind == "bool":
        return Client, fields.field(Client, "marketing_opt_in")
    return Staff, fields.field(Staff, found[kind])


def _two_others(browser: Browser, field: Any, form: reading.Form) -> tuple[Any, Any]:
    """Two values that differ from the present one and from each other; a box has but one, the second is the first."""
    present = form.value(field.key)
    if field.kind == "relation":
        rows = browser.get(f"/admin/staff/ajax/lookup/?name={field.key}").json
        others = [str(row["id"]) for row in rows if str(row["id"]) != present]
        return others[0], others[1]
    if field.kind == "choice":
        others = [value for value in form.options[field.key] if value not in {present, ""}]
        return others[0], ""
    if field.kind == "bool":
        return ("", "") if present == "y" else ("y", "y")
    return {
        "name": ("甲", "乙"),
        "note": ("第一行\r\n第二行", "第三行"),
        "day": ("2031-01-01", "2031-01-02"),
        "money": ("8888.88", "9999.99"),
    }[field.kind]
