"""What every model gets by being declared: each test walks all models, with a record of each kind of value."""

import io
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.datastructures import MultiDict

from admin_views import listing
from admin_views.commands import session_for
from models import clock, fields, workflow
from models.base import Model
from models.errors import RuleBroken
from models.fields import Field
from models.journal import Change, Operation
from models.policy import System
from models.recycling import recycle
from tests.admin_views import reading
from tests.admin_views.conftest import Browser, arranging, looking
from tests.cast import KEYHOLDER, VEILED, WANG

RECORDS = 4
MOST_ROWS = 250


def every_model() -> tuple[type[Model], ...]:
    return fields.models()


def telling_records(session: Any, model: type[Model]) -> list[int]:
    """A few records that between them have a value in every column that any record has one in."""
    attrs = [f.attr for f in fields.fields_of(model)]
    columns = [getattr(model, attr) for attr in attrs]
    found = session.execute(sa.select(*columns).order_by(model.id).limit(400)).all()
    chosen: list[int] = []
    seen: set[tuple[str, Any]] = set()
    for _ in range(RECORDS):
        best, worth = None, 0
        for row in found:
            news = len(_told(attrs, row) - seen)
            if news > worth:
                best, worth = row, news
        if best is None:
            break
        seen |= _told(attrs, best)
        chosen.append(best[attrs.index("id")])
    return chosen


def _told(attrs: list[str], row: Any) -> set[tuple[str, Any]]:
    """What a row shows of the columns: that there is a value, and which of a few."""
    return {
        (a, v if isinstance(v, bool) or hasattr(v, "label") else True)
        for a, v in zip(attrs, row, strict=True)
        if v is not None
    }


@pytest.fixture
def everyones(house_on_both: Flask) -> Iterator[tuple[Browser, Any]]:
    """Somebody who may do everything, and a session beside to check with."""
    browser = Browser(house_on_both, KEYHOLDER)
    with looking(house_on_both) as session:
        yield browser, session


# -- lists ---------------------------------------------------------------------------------------------------


def test_every_list_opens_for_the_owner_of_the_group(house_on_both: Flask) -> None:
    owner = Browser(house_on_both, WANG)

    answers = {m.__tablename__: owner.get(f"/admin/{m.__tablename__}/").status_code for m in every_model()}

    assert set(answers.values()) == {200}, answers


def test_every_list_shows_every_row_once_whatever_it_is_sorted_by(house_on_both: Flask) -> None:
    problems: list[str] = []

    with looking(house_on_both) as session:
        for model in every_model():
            orders = [f for f in fields.fields_of(model) if f.sortable or f.attr == "updated_at"]
            if session.scalar(sa.select(sa.func.count()).select_from(model)) > 500:
                orders = orders[:3]  # a long list takes long and differs from the others in nothing else
            for f in orders:
                for args in ({"sort": f.key}, {"sort": f.key, "desc": "1"}):
                    problems += _walk(session, model, f, args)

    assert not problems, "\n".join(problems)


def _walk(session: Any, model: type[Model], f: Field, args: dict[str, str]) -> Iterator[str]:
    """What is wrong with the pages of one order: read forwards to the end, and back again."""
    column = getattr(model, f.attr)
    keys = [column.desc(), model.id.desc()] if "desc" in args else [column.asc(), model.id.asc()]
    expected = list(session.scalars(sa.select(model.id).order_by(*keys)))
    size = listing.SIZES[0] if len(expected) < 80 else listing.SIZES[-1]
    page = _page(session, model, args, size)
    forth, back = [_numbers(page)], [_numbers(page)]
    while page.following is not None and len(forth) < 100:
        page = _page(session, model, args | {"after": page.following}, size)
        forth.append(_numbers(page))
        back = [_numbers(page)]
    while page.previous is not None and "desc" not in args:
        page = _page(session, model, args | {"before": page.previous}, size)
        back.append(_numbers(page))
    shown = [number for numbers in forth for number in numbers]
    if shown != expected:
        yield f"{model.__tablename__} by {args}: {shown} instead of {expected}"
    if "desc" not in args and list(reversed(back)) != forth:
        yield f"{model.__tablename__} by {args}: read backwards the pages differ"


def _numbers(page: listing.Page) -> list[int]:
    return [row[0] for row in page.rows]


def _page(session: Any, model: type[Model], args: dict[str, str], size: int) -> listing.Page:
    query = listing.read(model, session.info["principal"], MultiDict({**args, "size": str(size)}))
    return listing.page(session, query, listing.Selection(model, ()))


def test_the_links_of_every_list_lead_through_all_of_its_rows(house_on_both: Flask) -> None:
    browser = Browser(house_on_both, KEYHOLDER)
    problems: list[str] = []

    with looking(house_on_both) as session:
        for model in every_model():
            expected = session.scalar(sa.select(sa.func.count()).select_from(model))
            if expected > 120:
                continue
            address: str | None = f"/admin/{model.__tablename__}/?size=20&cols={fields.own_fields(model)[0].key}"
            seen: list[int] = []
            while address is not None:
                page = browser.get(address).text
                seen += reading.rows(page)
                address = reading.next_page(page)
            if len(seen) != expected or len(set(seen)) != expected:
                problems.append(f"{model.__tablename__}: {len(seen)} rows, {len(set(seen))} records of {expected}")

    assert not problems, "\n".join(problems)


def test_every_list_can_be_sorted_by_the_links_in_its_head(house: Flask) -> None:
    browser = Browser(house, KEYHOLDER)
    problems: list[str] = []

    for model in every_model():
        page = browser.get(f"/admin/{model.__tablename__}/?size=20").text
        head = page[page.find("<thead") : page.find("</thead")]
        for link in [link for link in reading.links(head) if "sort=" in link]:
            once = browser.get(link)
            if once.status_code != 200 or "aria-sort" not in once.text:
                problems.append(f"{link}: {once.status_code}")

    assert not problems, "\n".join(problems)


# -- filters and search --------------------------------------------------------------------------------------


def test_every_filter_finds_the_records_whose_value_it_asks_for(house_on_both: Flask) -> None:
    problems: list[str] = []

    with looking(house_on_both) as session:
        for model in every_model():
            for f in listing.open_fields(model, session.info["principal"]).values():
                record = _with_a_value(session, model, f)
                for args, found in _questions(f, record) if record is not None else ():
                    shown = [row[0] for row in _page(session, model, {"id": str(record.id), **args}, 20).rows]
                    if shown != ([record.id] if found else []):
                        problems.append(f"{model.__tablename__}?{args} of #{record.id} shows {shown}")

    assert not problems, "\n".join(problems)


def test_every_filter_shows_as_a_chip(house: Flask) -> None:
    browser = Browser(house, KEYHOLDER)
    problems: list[str] = []

    with looking(house) as session:
        for model in every_model():
            for record_id in telling_records(session, model):
                record = session.get(model, record_id)
                asked = {"id": str(record_id), "cols": fields.own_fields(model)[0].key} | _all_questions(
                    session, record
                )
                page = browser.get(f"/admin/{model.__tablename__}/", query_string=asked)
                chips = page.text.count('<span class="chip">')
                if page.status_code != 200 or reading.rows(page.text) != [record_id] or chips != len(asked) - 1:
                    problems.append(f"{page.request.url}: {page.status_code}, {reading.rows(page.text)}, {chips} chips")

    assert not problems, "\n".join(problems)


def _all_questions(session: Any, record: Model) -> dict[str, str]:
    known = listing.open_fields(type(record), session.info["principal"]).values()
    there = (f for f in known if getattr(record, f.attr) is not None)
    return {k: v for f in there for args, passes in _questions(f, record) if passes for k, v in args.items()}


def _with_a_value(session: Any, model: type[Model], f: Field) -> Model | None:
    column = getattr(model, f.attr)
    return session.scalars(sa.select(model).where(column.is_not(None)).order_by(model.id.desc()).limit(1)).first()


def _questions(f: Field, record: Model) -> Iterator[tuple[dict[str, str], bool]]:
    """Filters that the record's own value must pass, and such that it must not."""
    value = getattr(record, f.attr)
    raw = _as_asked(value)
    if f.key != "id":
        yield {f.key: raw}, True
        yield {f"{f.key}.empty": "no"}, True
        yield {f"{f.key}.empty": "yes"}, False
    if isinstance(value, bool):
        yield {f.key: "no" if value else "yes"}, False
    elif f.choices is not None and len(f.choices) > 1:
        others = [m.value for m in f.choices if m is not value]
        yield {f.key: ",".join(others[:3])}, False
        yield {f.key: f"{raw},{others[0]}"}, True
    elif f.kind in listing._RANGE_KINDS and f.key != "id":
        yield {f"{f.key}.min": raw, f"{f.key}.max": raw}, True
        yield {f"{f.key}.min": _as_asked(_more(value))}, False
    elif isinstance(value, str):
        yield {f.key: value[len(value) // 3 :][:20].strip() or raw}, True
        yield {f.key: raw[:100] + "不在其中"}, False


def _as_asked(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return clock.local_day(value).isoformat()
    if isinstance(value, str) and not hasattr(value, "label"):
        return value[:200]
    return str(getattr(value, "value", value))


def _more(value: Any) -> Any:
    if isinstance(value, date):
        return date(value.year + 1, 1, 1)
    return value + 1


def test_a_filter_that_is_not_understood_is_answered_400_never_with_a_wider_list(house: Flask) -> None:
    browser = Browser(house, KEYHOLDER)
    problems: list[str] = []

    for model in every_model():
        asked = [
            {"no_such_field": "1"}, {"sort": "no_such_field"}, {"cols": "no_such_field"}, {"size": "37"},
            {"after": "\0"}, {"before": "bm90IGpzb24"},
        ]  # fmt: skip
        last = fields.fields_of(model)[-1]
        asked += [{f"{last.key}.empty": "perhaps"}, {f"{last.key}.like": "1"}]
        for args in asked:
            code = browser.get(f"/admin/{model.__tablename__}/", query_string=args).status_code
            problems += [f"{model.__tablename__}?{args}: {code}"] if code != 400 else []
        problems += _understood(model)

    assert not problems, "\n".join(problems)


def _understood(model: type[Model]) -> Iterator[str]:
    """What the list of *model* takes for an answer, though it is none."""
    asked: list[dict[str, str]] = []
    for f in fields.fields_of(model):
        asked += [{f.key: raw} for raw in _nonsense(f)] + [{f"{f.key}.empty": "perhaps"}, {f"{f.key}.like": "1"}]
        if not f.sortable and f.attr not in {"created_at", "updated_at"}:
            asked.append({"sort": f.key})
    for args in asked:
        with suppress(listing.NotUnderstood):
            listing.read(model, System("tests"), MultiDict(args))
            yield f"{model.__tablename__}?{args}"


def _nonsense(f: Field) -> list[str]:
    if f.kind in {"secret", "json"} or (f.system and f.attr not in {"id", "created_at", "updated_at"}):
        return ["1"]
    if f.choices is not None:
        return ["perhaps"]
    return {
        "bool": ["perhaps"],
        "day": ["2026-02-30", "yesterday"],
        "instant": ["2026-02-30", "25:00"],
        "relation": ["one", "99999999999", "1.5"],
        "number": ["many", "NaN", "1e400"],
        "money": ["much", "Infinity"],
        "percent": ["half"],
    }.get(f.kind, [])


def test_every_record_is_found_by_its_title(house_on_both: Flask) -> None:
    browser = Browser(house_on_both, KEYHOLDER)
    problems: list[str] = []

    with looking(house_on_both) as session:
        for model in every_model():
            record = session.scalars(sa.select(model).order_by(model.id.desc()).limit(1)).first()
            word = _word_of(record) if record is not None else None
            if word is None:
                continue
            answer = browser.get(f"/admin/{model.__tablename__}/", query_string={"search": word, "id": str(record.id)})
            if answer.status_code != 200 or reading.rows(answer.text) != [record.id]:
                problems.append(f"{model.__tablename__}?search={word}: {answer.status_code} without #{record.id}")

    assert not problems, "\n".join(problems)


def _word_of(record: Model) -> str | None:
    """Something one would type to find a record: a name of its title, or of a record that its title begins with."""
    for name in type(record).__title__:
        f, value = fields.field(type(record), name), getattr(record, name)
        if value is not None and (f.target is not None or f.searchable):
            return _word_of(value) if f.target is not None else str(value)
    return None


# -- one record ----------------------------------------------------------------------------------------------


def test_every_record_page_opens_with_each_of_its_tabs(everyones: tuple[Browser, Any]) -> None:
    browser, session = everyones
    problems: list[str] = []

    for model in every_model():
        at = f"/admin/{model.__tablename__}/details/"
        for record_id in telling_records(session, model)[:2]:
            page = browser.get(f"{at}?id={record_id}")
            tabs = {link for link in reading.links(page.text) if link.startswith(at) and "tab=" in link}
            asked = {f"{at}?id={record_id}": page.status_code} | {tab: browser.get(tab).status_code for tab in tabs}
            problems += [f"{address}: {code}" for address, code in asked.items() if code != 200]
            if not any("tab=history" in tab for tab in tabs):
                problems.append(f"{at}?id={record_id}: no history")

    assert not problems, "\n".join(problems)


def test_a_record_page_says_the_value_of_every_field(everyones: tuple[Browser, Any]) -> None:
    browser, session = everyones
    problems: list[str] = []

    for model in every_model():
        for record_id in telling_records(session, model)[:2]:
            record = session.get(model, record_id)
            said = reading.words(browser.get(f"/admin/{model.__tablename__}/details/?id={record_id}").text)
            for f in fields.own_fields(model):
                value = getattr(record, f.attr)
                if f.kind in {"code", "name", "text"} and value and " ".join(str(value).split()) not in said:
                    problems.append(f"{model.__tablename__} #{record_id} does not say {f.key} {value!r}")

    assert not problems, "\n".join(problems)


def test_every_form_asks_for_every_writable_column(everyones: tuple[Browser, Any]) -> None:
    browser, session = everyones
    problems: list[str] = []

    for model in every_model():
        wanted = {f.key for f in fields.own_fields(model) if f.writable}
        kept = {f.key for f in fields.own_fields(model)} - wanted
        first = session.scalar(sa.select(model.id).limit(1))
        pages = [f"/admin/{model.__tablename__}/new/"]
        pages += [f"/admin/{model.__tablename__}/edit/?id={first}"] if first is not None else []
        for address in pages:
            answer = browser.get(address)
            asked = reading.main_form(answer.text).names if answer.status_code == 200 else set()
            if answer.status_code != 200 or not wanted <= asked:
                problems.append(f"{address}: {answer.status_code}, lacks {sorted(wanted - asked)}")
            if asked & kept:
                problems.append(f"{address}: asks for {sorted(asked & kept)}, which nobody may type")

    assert not problems, "\n".join(problems)


def test_a_save_without_an_edit_changes_nothing_and_journals_nothing(everyones: tuple[Browser, Any]) -> None:
    browser, session = everyones
    _plant_what_a_form_cannot_hold(browser.app)
    problems: list[str] = []

    for model in every_model():
        for record_id in telling_records(session, model):
            address = f"/admin/{model.__tablename__}/edit/?id={record_id}"
            form = reading.main_form(browser.get(address).text)
            before = _row(session, model, record_id), _operations(session)
            answer = browser.post(address, form.pairs)
            after = _row(session, model, record_id), _operations(session)
            if answer.status_code != 302 or before != after:
                problems.append(f"{address}: {answer.status_code}, {_differences(before, after)}")

    assert not problems, "\n".join(problems)


def test_a_save_without_an_edit_keeps_what_stands_behind_a_mask(house_on_both: Flask) -> None:
    browser = Browser(house_on_both, VEILED)
    problems: list[str] = []

    with looking(house_on_both) as session:
        for model in every_model():
            if not any(f.secrecy for f in fields.fields_of(model)):
                continue
            for record_id in telling_records(session, model)[:2]:
                address = f"/admin/{model.__tablename__}/edit/?id={record_id}"
                form = reading.main_form(browser.get(address).text)
                before = _row(session, model, record_id), _operations(session)
                answer = browser.post(address, form.pairs)
                after = _row(session, model, record_id), _operations(session)
                if answer.status_code != 302 or before != after:
                    problems.append(f"{address}: {answer.status_code}, {_differences(before, after)}")

    assert not problems, "\n".join(problems)


def _plant_what_a_form_cannot_hold(app: Flask) -> None:
    """Values below a form's grain: microseconds, and line ends, blanks and marks that HTML treats as its own."""
    with arranging(app) as session:
        for model in every_model():
            table = model.__table__
            planted = {f.column.name: value for f in fields.own_fields(model) if (value := _awkward(f)) is not None}
            last = sa.select(sa.func.max(table.c.id)).scalar_subquery()
            for name, value in planted.items():
                try:
                    with session.begin_nested():
                        session.connection().execute(sa.update(table).where(table.c.id == last).values({name: value}))
                except sa.exc.IntegrityError:
                    continue


def _awkward(f: Field) -> Any:
    if not f.writable or f.column.unique:
        return None
    if f.kind == "instant":
        return datetime.fromisoformat("2026-02-03T04:05:06.789012+00:00")
    if f.kind == "note":
        return "\n  第一行 <b>&amp;</b>\n\n\t“third” 'line' \U0001f469\u200d\U0001f37c\u3000\n"
    return " 两边 \u3000有空格 & <i>\u00a0"[: f.length] if f.kind == "text" and f.column.nullable else None


def _row(session: Any, model: type[Model], record_id: int) -> dict[str, Any]:
    table = model.__table__
    found = session.connection().execute(sa.select(table).where(table.c.id == record_id)).mappings().one()
    return dict(found)


def _operations(session: Any) -> tuple[int, int]:
    """How many operations and changes the journal holds."""
    operations, changes = (sa.select(sa.func.count()).select_from(t.__table__) for t in (Operation, Change))
    return session.connection().execute(operations).scalar_one(), session.connection().execute(changes).scalar_one()


def _differences(before: Any, after: Any) -> str:
    told = [f"{k}: {v!r} -> {after[0][k]!r}" for k, v in before[0].items() if v != after[0][k]]
    return ", ".join(told) + f" operations and changes {before[1]} -> {after[1]}"


def test_every_row_has_a_menu_of_what_may_be_done_with_it(everyones: tuple[Browser, Any]) -> None:
    browser, session = everyones
    problems: list[str] = []

    for model in every_model():
        for record_id in telling_records(session, model):
            record = session.get(model, record_id)
            page = browser.get(f"/admin/{model.__tablename__}/menu/?id={record_id}")
            expected = sum(t.starts_from(record) and not t.by_clock for t in workflow.transitions_of(model)) + 3
            if page.status_code != 200 or page.text.count('role="menuitem"') != expected:
                problems.append(
                    f"{model.__tablename__} #{record_id}: {page.status_code}, {page.text.count('role=menuitem')}"
                )

    assert not problems, "\n".join(problems)


def test_every_button_that_asks_for_something_has_its_form(everyones: tuple[Browser, Any]) -> None:
    browser, session = everyones
    problems: list[str] = []

    for model in every_model():
        first = session.scalar(sa.select(model.id).limit(1))
        for t in workflow.transitions_of(model):
            asked = {p.name for p in workflow.parameters_of(model, t.name)}
            if t.by_clock or not asked or first is None:
                continue
            page = browser.get(f"/admin/{model.__tablename__}/act/?id={first}&name={t.name}")
            form = reading.main_form(page.text)
            if page.status_code != 200 or not asked <= form.names or form.value("name") != t.name:
                problems.append(f"{model.__tablename__}.{t.name}: {page.status_code}, asks for {form.names}")

    assert not problems, "\n".join(problems)


def test_every_picker_finds_the_record_that_stands_in_it(everyones: tuple[Browser, Any]) -> None:
    browser, session = everyones
    problems: list[str] = []

    for model in every_model():
        for f in fields.relations_of(model):
            record = _with_a_value(session, model, f)
            if record is None:
                continue
            word = _word_of(getattr(record, f.key))
            at = f"/admin/{model.__tablename__}/ajax/lookup/?name={f.key}"
            for address in [at] + [f"{at}&q={word}"] * (word is not None):
                answer = browser.get(address)
                if answer.status_code != 200 or not answer.json:
                    problems.append(f"{address}: {answer.status_code} {answer.text[:80]}")

    assert not problems, "\n".join(problems)


# -- files ---------------------------------------------------------------------------------------------------


def test_what_was_exported_is_read_back_without_a_change(house: Flask) -> None:
    browser = Browser(house, KEYHOLDER)
    problems: list[str] = []

    for model in every_model():
        for kind in ("csv", "xlsx"):
            problems += _round_trip(browser, model, kind)

    assert not problems, "\n".join(problems)


def test_what_was_exported_with_masks_is_read_back_without_a_change(house: Flask) -> None:
    browser = Browser(house, VEILED)
    secretive = [m for m in every_model() if any(f.secrecy for f in fields.fields_of(m))]
    problems: list[str] = []

    for model in secretive:
        problems += _round_trip(browser, model, "csv")

    assert not problems, "\n".join(problems)


def test_what_was_exported_on_postgresql_is_read_back_without_a_change(house_on_postgres: Flask) -> None:
    browser = Browser(house_on_postgres, KEYHOLDER)
    problems: list[str] = []

    for model in every_model():
        problems += _round_trip(browser, model, "csv")

    assert not problems, "\n".join(problems)


def _round_trip(browser: Browser, model: type[Model], kind: str) -> Iterator[str]:
    """What is wrong after a list was exported and the file offered for import, up to the preview."""
    at, name = f"/admin/{model.__tablename__}", f"{model.__tablename__} {kind}"
    # Long lists differ from the others in nothing but their length.
    exported = browser.get(f"{at}/export/{kind}/?id.max={MOST_ROWS}")
    if exported.status_code != 200:
        yield f"{name}: export {exported.status_code}"
        return
    page = upload(browser, model, exported.data, f"round.{kind}")
    if page.status_code != 200:
        yield f"{name}: mapping {page.status_code} {reading.words(page.text)[:200]}"
        return
    form = reading.main_form(page.text)
    left_out = [n for n, value in form.pairs if n.startswith("map.") and not value]
    if left_out:
        yield f"{name}: columns not recognised {left_out}"
    preview = browser.post(f"{at}/import/map/", form.pairs)
    counts = tally(preview.text)
    if (
        preview.status_code != 200
        or counts[:2] != [0, 0]
        or counts[-1] != 0
        or counts[2] != _exported_rows(browser, model)
    ):
        yield f"{name}: {preview.status_code} new, changed, unchanged, with problems {counts} {reading.words(preview.text)[:600]}"


def _exported_rows(browser: Browser, model: type[Model]) -> int:
    with looking(browser.app) as session:
        return int(session.scalar(sa.select(sa.func.count()).select_from(model).where(model.id <= MOST_ROWS)))


def upload(browser: Browser, model: type[Model], data: bytes, name: str) -> Any:
    """Send a file for import; the answer is the page that maps its columns."""
    at = f"/admin/{model.__tablename__}/import/"
    sent = browser.client.post(at, data={"csrf_token": browser.token, "file": (io.BytesIO(data), name)}, buffered=True)
    return browser.get(sent.headers["Location"]) if sent.status_code == 302 else sent


def tally(page: str) -> list[int]:
    """The numbers of a preview or a result: new, changed, unchanged, [left out,] with problems."""
    found = re.search(r'<dl class="tally">.*?</dl>', page, re.DOTALL)
    return [int(n) for n in re.findall(r'<dd class="num">(\d+)</dd>', found.group(0))] if found else []


# -- the bin -------------------------------------------------------------------------------------------------


def test_a_record_nobody_needs_goes_to_the_bin_and_is_seen_nowhere(demo_on_both: Flask) -> None:
    browser = Browser(demo_on_both, KEYHOLDER)
    problems: list[str] = []

    for model in every_model():
        number = _unneeded(demo_on_both, model)
        if number is None:
            continue
        at = f"/admin/{model.__tablename__}"
        answer = browser.post(f"{at}/delete/?id={number}")
        seen = reading.rows(browser.get(f"{at}/?id={number}").text)
        pages = [f"{at}/{page}/?id={number}" for page in ("details", "edit", "menu")]
        with looking(demo_on_both) as session:
            gone = _row(session, model, number)["deleted_at"] is not None
        if answer.status_code != 302 or not gone or seen or any(browser.get(page).status_code != 404 for page in pages):
            problems.append(f"{at} #{number}: {answer.status_code}, gone {gone}, still seen {seen}, {browser.told()}")

    assert not problems, "\n".join(problems)


def _unneeded(app: Flask, model: type[Model]) -> int | None:
    """A record that can be recycled, found by trying and taking it back."""
    with app.app_context(), session_for("tests", KEYHOLDER.login) as session:
        for record in session.scalars(sa.select(model).order_by(model.id.desc()).limit(200)).all():
            number = record.id
            with suppress(RuleBroken):
                recycle(record)
                session.flush()
                session.rollback()
                return int(number)
            session.rollback()
    return None
