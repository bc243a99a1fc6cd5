"""Rows -> CSV and XLSX: readable by Excel, inert, typed, and read back the same."""

import csv
import io
import re
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal

import openpyxl
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from models import exporting, references, sheets
from models.errors import RuleBroken
from models.exporting import Column
from models.fields import models as all_models
from models.fields import own_fields
from models.organisation import Branch, Department, LineOfBusiness, Post
from models.parsing import parse
from models.spelling import PLAIN, inert, live
from models.staff import Credential, CredentialKind, Sex, Staff

COLUMNS = [
    Column("姓名", "name"), Column("身份证号", "id_number"), Column("手机号", "phone"), Column("月薪", "money"), Column("比例", "percent"),
    Column("入职日期", "day"), Column("登记时间", "instant"), Column("在册", "bool"), Column("人数", "number"), Column("备注", "note"),
]  # fmt: skip
ROW = [
    "林晓雯", "110101199003071233", "13800138000", Decimal("1234.50"), Decimal("12.5"), date(2024, 3, 5),
    datetime(2024, 3, 5, 6, 5, 33, 999_999, tzinfo=UTC), True, 12, "第一行\n第二行",
]  # fmt: skip


class Chinese:
    def of(self, msgid):
        return [msgid, self.show(msgid)]

    def show(self, msgid):
        return {"Yes": "是", "No": "否", "Female": "女"}.get(msgid, msgid)


def as_csv(columns, rows, labels=PLAIN):
    return b"".join(exporting.write_csv(columns, rows, labels))


def as_xlsx(columns, rows, labels=PLAIN, **how):
    stream = io.BytesIO()
    exporting.write_xlsx(columns, rows, stream, labels, **how)
    return stream.getvalue()


def opened(data):
    return openpyxl.load_workbook(io.BytesIO(data)).worksheets[0]


def sheet_xml(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read("xl/worksheets/sheet1.xml").decode()


# -- CSV ---------------------------------------------------------------------------------------------------


def test_csv_is_what_excel_expects():
    data = as_csv(COLUMNS, [ROW, [None] * 10], Chinese())

    assert data.startswith(b"\xef\xbb\xbf")
    assert data.decode("utf-8-sig") == (
        "姓名,身份证号,手机号,月薪,比例,入职日期,登记时间,在册,人数,备注\r\n"
        '林晓雯,110101199003071233,13800138000,1234.50,12.5%,2024-03-05,2024-03-05 14:05:33,是,12,"第一行\n第二行"\r\n'
        ",,,,,,,,,\r\n"
    )


def test_csv_comes_in_pieces():
    pieces = list(exporting.write_csv([Column("号")], ([str(n)] for n in range(1200))))

    assert len(pieces) == 4  # the mark, two full pieces, the rest
    assert len(b"".join(pieces).splitlines()) == 1201


# -- XLSX ----------------------------------------------------------------------------------------------------


def test_workbook_cells_are_what_they_are():
    row = list(opened(as_xlsx(COLUMNS, [ROW], Chinese())).rows)[1]

    assert [(c.data_type, c.number_format) for c in row] == [
        ("s", "@"), ("s", "@"), ("s", "@"), ("n", "#,##0.00"), ("n", "0.00%"), ("d", "yyyy-mm-dd"), ("d", "yyyy-mm-dd hh:mm:ss"),
        ("s", "General"), ("n", "General"), ("s", "@"),
    ]  # fmt: skip
    assert [c.value for c in row] == [
        "林晓雯", "110101199003071233", "13800138000", 1234.5, 0.125, datetime(2024, 3, 5), datetime(2024, 3, 5, 14, 5, 33), "是", 12,
        "第一行\n第二行",
    ]  # fmt: skip


def test_the_header_stays_in_sight_and_filters():
    sheet = opened(as_xlsx(COLUMNS, [ROW, ROW], name="客户/台账:2024"))

    assert (sheet.freeze_panes, sheet.auto_filter.ref, sheet.title) == ("A2", "A1:J3", "客户 台账 2024")


def test_columns_are_wide_enough_for_chinese():
    sheet = opened(
        as_xlsx([Column("姓名"), Column("地址")], [["林", "上海市浦东新区张江路一百二十三号"], ["许", "x" * 500]])
    )

    assert sheet.column_dimensions["A"].width < sheet.column_dimensions["B"].width
    assert 32 < sheet.column_dimensions["B"].width <= 60  # sixteen characters take two columns each


def test_an_empty_export_has_its_header():
    for data in (as_csv(COLUMNS, []), as_xlsx(COLUMNS, [])):
        assert len(sheets.read(data, "a")[0].rows) == 1


def test_days_before_spreadsheets_counted_are_text():
    data = as_xlsx([Column("日", "day")], [[date(1899, 5, 6)], [date(1900, 2, 28)], [date(1900, 3, 1)]])

    assert [cells for _, cells in sheets.read(data, "a")[0].rows[1:]] == [
        ["1899-05-06"],
        ["1900-02-28"],
        [date(1900, 3, 1)],
    ]


def test_more_rows_than_a_sheet_holds_are_refused(monkeypatch):
    monkeypatch.setattr(exporting, "_XLSX_ROWS", 2)

    with pytest.raises(RuleBroken, match="at most 2 rows"):
        as_xlsx([Column("号")], [["1"]] * 3)


# -- inert -----------------------------------------------------------------------------------------------------

LIVE = ["=1+1", "=HYPERLINK(\"http://x\")", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "＝1+1", "＋1", "－1", "＠a"]  # fmt: skip


@pytest.mark.parametrize("text", LIVE)
def test_no_cell_and_no_title_is_a_formula(text):
    columns, rows = [Column(text)], [[text]]

    told = list(csv.reader(io.StringIO(as_csv(columns, rows).decode("utf-8-sig"), newline="")))
    xml = sheet_xml(as_xlsx(columns, rows))

    assert told == [["'" + text], ["'" + text]]
    assert not re.search(r"<f[ >]|<hyperlink", xml, re.IGNORECASE)
    assert 't="inlineStr"' in xml


def test_amounts_below_zero_stay_numbers():
    assert as_csv([Column("额", "money")], [[Decimal("-12.50")]]).endswith(b"-12.50\r\n")


@given(st.text())
@example("'=1")
@example("'")
@example("''+")
def test_the_quote_comes_and_goes(text):
    assert live(inert(text)) == text


def test_what_cannot_be_printed_spoils_no_workbook():
    rows = [["a\x00b\x0b\ud800c\uffff"]]

    assert [cells for _, cells in sheets.read(as_xlsx([Column("文")], rows), "a")[0].rows] == [["文"], ["abc"]]
    assert as_csv([Column("文")], rows).decode("utf-8-sig") == "文\r\nabc\r\n"


# -- records ------------------------------------------------------------------------------------------------------


@pytest.fixture
def people(session):
    branch = Branch(code="SH01", name="上海店", line=LineOfBusiness.POSTPARTUM)
    department = Department(branch=branch, code="N1", name="护理部")
    xu = Staff(no="001", name="许佳", branch=branch, department=department, sex=Sex.FEMALE, hired_on=date(2024, 3, 5))
    licence = Credential(staff=xu, kind=CredentialKind.NURSE_LICENCE, number="A1", issued_on=date(2024, 3, 5))
    session.add_all([branch, department, xu, licence, Post(code="护士", name="护士")])
    session.commit()
    return session


def test_a_record_is_named_by_title_and_key(people):
    told = {
        type(r).__name__: references.reference(r)
        for m in (Branch, Department, Post, Staff, Credential)
        for r in people.scalars(sa.select(m))
    }

    assert told == {
        "Branch": "上海店 (SH01)", "Department": "护理部 (SH01 / N1)", "Post": "护士", "Staff": "许佳 (001)",
        "Credential": "许佳 · nurse_licence (nurse_licence / A1)",
    }  # fmt: skip


def test_a_key_is_written_the_same_from_values(people):
    department = people.scalars(sa.select(Department)).one()

    assert references.key_paths(Department) == ("branch.code", "code")
    assert exporting.key_text(department) == exporting.key_text_of(Department, ["SH01", "N1"]) == "SH01 / N1"
    paths = references.paths_to_text(Department)
    found = references.fetch_paths(people, Department, paths)
    assert {id_: references.text_from_paths(Department, v) for id_, v in found.items()} == {
        department.id: references.reference(department)
    }


def test_cells_hold_labels_and_references(people):
    xu = people.scalars(sa.select(Staff)).one()

    told = {f.key: exporting.cell_value(f, getattr(xu, f.key), Chinese()) for f in exporting.exported_fields(Staff)}

    assert (told["id"], told["sex"], told["department"], told["manager"]) == (xu.id, "女", "护理部 (SH01 / N1)", None)


# -- every field of every model, there and back --------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=30)
VALUES = {
    "code": TEXT, "name": TEXT, "text": TEXT, "note": st.lists(TEXT, min_size=1, max_size=3).map("\n".join),
    "email": st.emails(domains=st.just("example.org")), "id_number": st.sampled_from(["110101199003071233", "E1234567"]),
    "phone": st.sampled_from(["13800138000", "+8613800138000", "02161234567x8001", "0013800138000"]),
    "day": st.dates(date(1850, 1, 1), date(2200, 12, 31)), "bool": st.booleans(),
    "instant": st.datetimes(datetime(1992, 1, 1), datetime(2200, 12, 30), timezones=st.just(UTC)).map(lambda t: t.replace(microsecond=0)),
    "json": st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | TEXT, lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXT, v, max_size=3))
    .filter(lambda v: isinstance(v, (dict, list))),
}  # fmt: skip


def values_of(f):
    if f.choices is not None:
        return st.sampled_from(f.choices)
    if isinstance(f.column.type, sa.Integer):
        return st.integers(-(2**31) + 1, 2**31 - 1)
    if isinstance(f.column.type, sa.Numeric):
        largest = 10 ** (f.column.type.precision - f.column.type.scale) - 1
        return st.decimals(-largest, largest, places=f.column.type.scale)
    return VALUES[f.kind]


FIELDS = [
    pytest.param(f, id=f"{m.__tablename__}.{f.key}") for m in all_models() for f in own_fields(m) if f.target is None and f.kind != "file"
]  # fmt: skip


@pytest.mark.parametrize("f", FIELDS)
@given(data=st.data())
@settings(max_examples=4, suppress_health_check=list(HealthCheck))
def test_every_field_survives_both_files(f, data):
    value = data.draw(values_of(f))
    try:
        plain = parse(f, inert(value), Chinese()) if isinstance(value, str) and f.choices is None else value
    except RuleBroken:
        return  # no form would take it either
    columns, row = [Column("a", "code"), *exporting.columns_of([f])], ["x", exporting.cell_value(f, value, Chinese())]

    for written in (as_csv(columns, [row], Chinese()), as_xlsx(columns, [row], Chinese())):
        cells = sheets.read(written, "a")[0].rows[1][1]
        assert parse(f, cells[1] if len(cells) > 1 else None, Chinese()) == plain
