"""Files of rows -> records: nothing guessed, nothing half written, the same file twice adds nothing."""

import csv
import io
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import models
from models import clock, exporting, importing, journal, sheets, values
from models.base import Base
from models.errors import Forbidden, RuleBroken
from models.fields import own_fields
from models.importing import ImportRefused, Mode
from models.organisation import Branch, Department, DepartmentKind, LineOfBusiness, Post
from models.policy import HeldRole, Level, Principal, Scope, System
from models.recycling import recycle
from models.staff import Credential, CredentialKind, CredentialStatus, Sex, Staff, StaffPosting, StaffStatus

MARCH = datetime(2026, 3, 2, 1, tzinfo=UTC)
HEAD = "工号,姓名,部门,入职日期"


class Chinese:
    """Labels in English and Chinese, as the catalogues give them."""

    WORDS = {
        "Staff no.": "员工编号",
        "Full name": "姓名",
        "Hired on": "入职日期",
        "Status": "状态",
        "Yes": "是",
        "No": "否",
    }

    def of(self, msgid):
        return [msgid, *filter(None, [self.WORDS.get(msgid)])]

    def show(self, msgid):
        return self.WORDS.get(msgid, msgid)


@pytest.fixture(autouse=True)
def _in_march_2026():
    with clock.at(MARCH):
        yield


@pytest.fixture
def house(session):
    """Two branches; in each a department called 护理部."""
    sh, hz = (
        Branch(code="SH01", name="上海店", line=LineOfBusiness.POSTPARTUM),
        Branch(code="HZ02", name="杭州院", line=LineOfBusiness.ELDER),
    )
    session.add_all([sh, hz])
    session.add_all([Department(branch=b, code="N1", name="护理部", kind=DepartmentKind.NURSING) for b in (sh, hz)])
    session.add(Post(code="RN", name="护士"))
    session.commit()
    return session


def read(text, model=Staff, **how):
    data = text if isinstance(text, bytes) else text.encode()
    return importing.open_table(sheets.read(data, "名单.csv"), model, Chinese(), **how)


def plan_for(session, text, model=Staff, fixed=None, named=None, **how):
    table = read(text, model, named=named)
    fixed = {"branch": "SH01"} if fixed is None and model is Staff else fixed
    return importing.make_plan(
        session, model, table.header.titles, table.rows, table.mapping, labels=Chinese(), fixed=fixed, **how
    )


def bring(session, text, model=Staff, **how):
    plan = plan_for(session, text, model, **how)
    importing.apply(session, plan)
    session.commit()
    return plan


def problems(plan):
    return [(e.row_no, e.column, str(e.reason)) for e in plan.errors]


def staff(session, no):
    return session.scalars(sa.select(Staff).where(Staff.no == no)).one()


# -- which column is which field ----------------------------------------------------------------------------


def test_the_headers_of_a_stranger_are_understood():
    titles = [
        "员工ID",
        "员工姓名",
        "员工性别",
        "员工电话",
        "员工邮箱",
        "员工状态",
        "员工职位",
        "员工部门",
        "员工入职时间",
        "员工离职时间",
        "备注",
    ]

    mapping = importing.guess_mapping(Staff, titles, importing.PlainLabels())

    assert list(mapping.values()) == [
        "no", "name", "sex", "phone", "email", "status", "post", "department", "hired_on", "left_on", "note",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("title", "key"),
    [
        ("Staff no.", "no"), ("员工编号", "no"), ("工号", "no"), ("STAFF NO", "no"), ("ID", "no"), ("hired_on", "hired_on"),
        ("入职日期（必填）", "hired_on"), ("姓名*", "name"), ("手机号", "phone"), ("身份证号", "id_number"), ("基本信息/性别", "sex"),
        ("Direct manager", "manager"), ("department_id", "department"), ("Confidentiality signed-on", "confidentiality_signed_on"),
        ("Confidentialty signed on", "confidentiality_signed_on"), ("Record no.", "id"), ("Version", "version"),
        ("星座", None), ("错误原因", None), ("Reason of refusal", None), ("", None),
    ],
)  # fmt: skip
def test_titles_are_compared_without_their_trimmings(title, key):
    assert importing.guess_mapping(Staff, [title], Chinese()).get(0) == key


def test_a_field_is_given_to_one_column():
    assert importing.guess_mapping(Staff, ["电话", "手机号", "姓名"], Chinese()) == {0: "phone", 2: "name"}


def test_what_a_person_chose_overrules_the_guess():
    table = read("电话,手机号,姓名\n1,2,许佳", named={"手机号": "phone"})

    assert table.mapping == {1: "phone", 2: "name"}


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"座机": "phone"}, "has no column “座机”"),
        ({"电话": "shoe_size"}, "is no column that can be read in"),
        ({"电话": "created_at"}, "no column"),
    ],
)
def test_a_wrong_choice_is_refused(named, said):
    with pytest.raises(RuleBroken, match=said):
        read("电话,姓名\n1,许佳", named=named)


def test_two_columns_for_one_field_are_refused(house):
    table = read("电话,手机号,姓名\n1,2,许佳")

    with pytest.raises(RuleBroken, match="“电话” and “手机号” cannot both be"):
        importing.make_plan(house, Staff, table.header.titles, table.rows, {0: "phone", 1: "phone"})


def test_columns_nobody_reads_are_named(house):
    assert plan_for(house, "工号,姓名,入职日期,星座\n1,许佳,2024-03-05,白羊").unused == ["星座"]


def test_the_sheet_whose_titles_are_known_best_is_taken():
    stream = io.BytesIO()
    with xlsxwriter.Workbook(stream) as book:
        book.add_worksheet("说明").write_row(0, 0, ["怎样填写", "例子"])
        book.add_worksheet("数据").write_row(0, 0, ["工号", "姓名"])

    assert read(stream.getvalue()).sheet.name == "数据"


# -- adding and updating -----------------------------------------------------------------------------------------


def test_a_file_adds_records(house):
    plan = bring(
        house,
        f"{HEAD},性别,手机号,月薪,身份证号\n007,许佳,护理部,2024年3月5日,女,138 0013 8000,1.2万,110101199003071233",
    )

    xu = staff(house, "007")
    assert plan.counts == importing.Counts(new=1, changed=0, unchanged=0, skipped=0, errors=0)
    assert (xu.name, xu.sex, xu.phone, xu.hired_on) == ("许佳", Sex.FEMALE, "13800138000", date(2024, 3, 5))
    assert (xu.monthly_salary, xu.branch.code, xu.department.branch.code) == (Decimal(12000), "SH01", "SH01")
    assert xu.status is StaffStatus.ACTIVE  # what the file does not say starts as the model says


def test_the_same_file_again_changes_nothing(house):
    text = f"{HEAD}\n1,许佳,护理部,2024-03-05\n2,孙莉,,2023/1/2"
    bring(house, text)

    plan = plan_for(house, text)

    assert plan.counts == importing.Counts(new=0, changed=0, unchanged=2, skipped=0, errors=0)


def test_a_file_without_numbers_read_twice_adds_nothing(house):
    text = "姓名,手机号,入职日期\n许佳,13800138000,2024-03-05\n许佳,13900139000,2024-03-05"
    assert bring(house, text).counts.new == 2

    assert plan_for(house, text).counts.unchanged == 2


def test_only_changed_cells_are_written(house):
    bring(house, f"{HEAD},备注\n1,许佳,护理部,2024-03-05,早班\n2,孙莉,,2023-01-02,")

    plan = bring(house, f"{HEAD},备注\n1,许佳,,2024-03-05,早班\n2,孙莉,,2023-01-02,晚班")

    assert [(row.row_no, row.before, row.values) for row in plan.changed] == [
        (2, {"department": 1}, {"department": None}),
        (3, {"note": None}, {"note": "晚班"}),
    ]
    assert staff(house, "1").department is None
    last_two = house.scalars(sa.select(journal.Change).order_by(journal.Change.id.desc()).limit(2))
    assert {c.title: c.after for c in last_two} == {"许佳": {"department_id": None}, "孙莉": {"note": "晚班"}}


def test_an_import_is_one_operation(house):
    bring(house, f"{HEAD}\n1,许佳,护理部,2024-03-05\n2,孙莉,,2023-01-02")

    operation = house.scalars(sa.select(journal.Operation).order_by(journal.Operation.id.desc())).first()
    assert (operation.kind, operation.table, operation.changed) == (journal.Act.IMPORT, "staff", 2)


@pytest.mark.parametrize(("mode", "counts"), [(Mode.BOTH, (1, 1, 0)), (Mode.ADD, (1, 0, 1)), (Mode.UPDATE, (0, 1, 1))])
def test_the_mode_leaves_rows_out(house, mode, counts):
    bring(house, f"{HEAD}\n1,许佳,,2024-03-05")

    plan = plan_for(house, f"{HEAD}\n1,许佳佳,,2024-03-05\n2,孙莉,,2023-01-02", mode=mode)

    assert (plan.counts.new, plan.counts.changed, plan.counts.skipped) == counts


def test_a_blank_cell_leaves_what_cannot_be_blank(house):
    bring(
        house,
        "编码,名称,业务线,床位数\nBJ03,北京店,mixed,30",
        Branch,
        named={"业务线": "line", "床位数": "bed_capacity"},
    )

    plan = plan_for(
        house, "编码,名称,业务线,床位数\nBJ03,,mixed,", Branch, named={"业务线": "line", "床位数": "bed_capacity"}
    )

    assert problems(plan) == [(2, "名称", "“Name” is missing: fill it in.")]


def test_fixed_values_fill_what_the_file_lacks(house):
    bring(
        house,
        "工号,姓名,入职日期,状态\n1,许佳,,\n2,孙莉,2023-01-02,probation",
        fixed={"branch": "HZ02", "hired_on": "2024.3.5", "status": "leave"},
    )

    assert [(s.hired_on, s.status.value, s.branch.code) for s in (staff(house, "1"), staff(house, "2"))] == [
        (date(2024, 3, 5), "leave", "HZ02"), (date(2023, 1, 2), "probation", "HZ02"),
    ]  # fmt: skip


@pytest.mark.parametrize("fixed", [{"shoe_size": "38"}, {"id": "1"}, {"hired_on": "3/5/24"}])
def test_a_wrong_fixed_value_is_refused_at_once(house, fixed):
    with pytest.raises(RuleBroken):
        plan_for(house, f"{HEAD}\n1,许佳,,2024-03-05", fixed=fixed)


def test_a_row_is_matched_by_record_number_first(house):
    bring(house, f"{HEAD}\n1,许佳,,2024-03-05")

    plan = bring(house, f"Record no.,{HEAD}\n{staff(house, '1').id},E01,许佳,,2024-03-05")

    assert [row.values for row in plan.changed] == [{"no": "E01"}]


def test_record_numbers_that_do_not_fit_are_refused(house):
    bring(house, f"{HEAD}\n1,许佳,,2024-03-05\n2,孙莉,,2024-03-05")
    first = staff(house, "1").id

    plan = plan_for(house, f"Record no.,{HEAD}\n999,3,王,,2024-03-05\n{first},2,许佳,,2024-03-05")

    assert [(row_no, column) for row_no, column, _ in problems(plan)] == [(2, "Record no."), (3, "工号")]
    assert [said.partition(",")[0] for _, _, said in problems(plan)] == [
        "There is no record no. 999", f"Record no. {staff(house, '2').id} has this Staff no. already.",
    ]  # fmt: skip


def test_an_older_version_does_not_overwrite_a_newer_record(house):
    bring(house, f"{HEAD}\n1,许佳,,2024-03-05")
    exported = staff(house, "1").version
    staff(house, "1").note = "换了班"
    house.commit()

    plan = plan_for(house, f"{HEAD},Version\n1,许佳佳,,2024-03-05,{exported}")
    same = plan_for(house, f"{HEAD},Version\n1,许佳,,2024-03-05,{exported}")

    assert "after the file was exported" in problems(plan)[0][2]
    assert same.counts.unchanged == 1


def test_a_record_changed_after_the_preview_is_not_overwritten(house):
    bring(house, f"{HEAD}\n1,许佳,,2024-03-05\n2,孙莉,,2024-03-05")
    plan = plan_for(house, f"{HEAD}\n1,许佳佳,,2024-03-05\n2,孙丽,,2024-03-05")
    staff(house, "2").note = "换了班"
    house.commit()

    with pytest.raises(ImportRefused) as refused:
        importing.apply(house, plan)

    assert [(e.row_no, "since the import was checked" in str(e.reason)) for e in refused.value.errors] == [(3, True)]
    assert staff(house, "1").name == "许佳"


def test_a_plan_is_recognised_by_its_digest(house):
    text = f"{HEAD}\n1,许佳,护理部,2024-03-05"

    assert plan_for(house, text).digest() == plan_for(house, text).digest()
    assert plan_for(house, text).digest() != plan_for(house, text.replace("许佳", "徐佳")).digest()


# -- relations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell", ["N1", "护理部", "SH01 / N1", "SH01/N1", "护理部 (SH01 / N1)", "护理部（SH01/N1）", "护理部 (N1)"]
)
def test_a_department_is_named_in_many_ways_and_found_in_the_rows_branch(house, cell):
    bring(house, f"{HEAD}\n1,许佳,{cell},2024-03-05")

    assert staff(house, "1").department.branch.code == "SH01"


def test_a_name_that_contradicts_its_code_is_refused(house):
    plan = plan_for(house, f"{HEAD}\n1,许佳,市场部 (SH01 / N1),2024-03-05")

    assert problems(plan) == [(2, "部门", "“SH01 / N1” is the code of “护理部”, not of “市场部”: correct one of them.")]


def test_a_title_that_several_bear_is_refused(house):
    bring(house, f"{HEAD}\n1,许佳,,2024-03-05\n2,许佳,,2024-03-05")

    plan = plan_for(house, f"{HEAD},直接上级\n3,孙莉,,2024-03-05,许佳\n4,王,,2024-03-05,没有这人")

    assert [said.partition(":")[0] for _, _, said in problems(plan)] == [
        "Several of “Staff” are called “许佳”", "There is no Staff “没有这人”, or you may not see it",
    ]  # fmt: skip


def test_missing_look_ups_are_made_once_when_asked(house):
    text = "工号,姓名,部门,职位,入职日期\n1,许佳,市场部,经理,2024-03-05\n2,孙莉,市场部,经理,2024-03-05\n3,王,护理部,护士,2024-03-05"
    assert len(plan_for(house, text).errors) == 4

    plan = bring(house, text, create_missing=True)

    assert [(n.model, n.text) for n in plan.look_ups] == [(Post, "经理"), (Department, "市场部")]
    assert staff(house, "1").department is staff(house, "2").department
    assert (staff(house, "1").department.name, staff(house, "1").department.branch.code) == ("市场部", "SH01")
    assert staff(house, "3").post.code == "RN"


def test_branches_and_people_are_no_small_look_ups(house):
    plan = plan_for(house, f"{HEAD},分店,直接上级\n1,许佳,,2024-03-05,XX99,没有这人", create_missing=True)

    assert [column for _, column, _ in problems(plan)] == ["分店"]
    assert plan.look_ups == []


def test_rows_may_name_each_other_in_any_order(house):
    bring(
        house,
        f"{HEAD},直接上级\n1,许佳,,2024-03-05,3\n2,孙莉,,2024-03-05,1\n3,赵明远,,2024-03-05,\n4,王,,2024-03-05,赵明远 (3)",
    )

    assert [staff(house, n).manager.no for n in "124"] == ["3", "1", "3"]


def test_rows_that_name_each_other_in_a_ring_are_refused(house):
    plan = plan_for(house, f"{HEAD},直接上级\n1,许佳,,2024-03-05,2\n2,孙莉,,2024-03-05,1")

    assert [(row_no, column, said[:21]) for row_no, column, said in problems(plan)] == [
        (2, "直接上级", "This row names itself"), (3, "直接上级", "This row names itself"),
    ]  # fmt: skip


def test_a_record_that_would_stand_above_itself_is_refused(house):
    bring(house, f"{HEAD},直接上级\n1,许佳,,2024-03-05,\n2,孙莉,,2024-03-05,1")
    plan = plan_for(house, f"{HEAD},直接上级\n1,许佳,,2024-03-05,2")

    assert problems(importing.rehearse(house, plan))[0][:2] == (2, "直接上级")


def test_parts_of_a_record_are_brought_with_its_key(house):
    bring(house, f"{HEAD}\n1,许佳,,2024-03-05")

    bring(house, "员工,分店,开始日期,结束日期\n1,SH01,2024-03-05,2024-12-31\n许佳 (1),HZ02,2025-01-01,", StaffPosting)
    clash = plan_for(house, "员工,分店,开始日期,结束日期\n1,SH01,2024-06-01,", StaffPosting)

    assert [p.branch.code for p in sorted(staff(house, "1").postings, key=lambda p: p.from_on)] == ["SH01", "HZ02"]
    assert problems(importing.rehearse(house, clash))[0][:2] == (2, "开始日期")


# -- refusals -----------------------------------------------------------------------------------------------------


def test_what_is_wrong_is_told_by_row_column_value_and_reason(house):
    plan = plan_for(house, f"{HEAD},性别\n1,许佳,护理部,2024年3月,女\n,,护理部,2024-03-05,不详\n3,孙莉,,2024-03-05,女")

    told = [(e.row_no, e.column, e.raw, str(e.reason).partition(":")[0]) for e in plan.errors]
    assert told == [
        (2, "入职日期", "2024年3月", "“2024年3月” gives no day"),
        (3, "性别", "不详", "“不详” is not among the choices"),
        (3, "姓名", None, "“Full name” is missing"),
    ]
    assert plan.counts.errors == 2
    with pytest.raises(ImportRefused, match=r"Nothing was imported: 3 problems\. The first is in row 2: “2024年3月”"):
        importing.apply(house, plan)


def test_a_missing_column_is_told_by_the_fields_label(house):
    assert problems(plan_for(house, "工号,姓名\n1,许佳")) == [(2, "Hired on", "“Hired on” is missing: fill it in.")]


def test_two_rows_for_one_record_are_refused(house):
    plan = plan_for(house, f"{HEAD}\n1,许佳,,2024-03-05\n2,孙莉,,2024-03-05\n１,许佳,,2024-03-05")

    assert problems(plan) == [(4, "工号", "Row 2 speaks of the same record: keep one of the two.")]


def test_a_record_in_the_recycle_bin_is_not_added_again(house):
    bring(house, f"{HEAD}\n1,许佳,,2024-03-05")
    recycle(staff(house, "1"))
    house.commit()

    plan = plan_for(house, f"{HEAD}\n1,许佳,,2024-03-05")

    assert "lies in the recycle bin" in problems(plan)[0][2]


def test_rules_of_the_record_and_of_the_table_are_found_by_a_rehearsal(house):
    rows = [f"{n},员工{n},,2024-03-05,,在职" for n in range(1, 1501)]
    rows[699] = "700,员工700,,2024-03-05,2023-01-01,在职"  # left before being hired: a CHECK of the table
    rows[1299] = "1300,员工1300,,2024-03-05,,离职"  # has left, without a day: the record's own check
    plan = plan_for(house, "\n".join([f"{HEAD},离职日期,状态", *rows]))
    assert plan.errors == []

    importing.rehearse(house, plan)

    assert problems(plan) == [
        (701, None, "The values do not fit together (Leaves after being hired): correct the row."),
        (1301, "离职日期", "员工1300 has left: enter the last day."),
    ]
    assert house.scalar(sa.select(sa.func.count(Staff.id))) == 0


def test_refusals_are_located_on_both_databases(database_url):
    engine = models.database.connect(database_url)
    Base.metadata.create_all(engine)
    with models.database.open_session(engine, System("tests")) as session:
        session.add(Branch(code="SH01", name="上海店", line=LineOfBusiness.POSTPARTUM))
        session.commit()
        rows = [f"{n},员工{n},,2024-03-05,{'2020-01-01' if n == 7 else ''}" for n in range(20)]
        plan = plan_for(session, "\n".join([f"{HEAD},离职日期", *rows]))
        bring(session, f"{HEAD}\n12,许佳,,2024-03-05")

        importing.rehearse(session, plan)

        assert [(row_no, said[:40]) for row_no, _, said in problems(plan)] == [
            (9, "The values do not fit together (Leaves a"),
            (14, "Another record has the same Staff no. al"),
        ]
        assert session.scalar(sa.select(sa.func.count(Staff.id))) == 1
    engine.dispose()


def test_a_rehearsal_leaves_no_trace_and_the_plan_as_it_was(house):
    plan = plan_for(house, f"{HEAD},职位\n1,许佳,市场部,2024-03-05,经理", create_missing=True)

    importing.rehearse(house, plan)

    assert (plan.errors, house.scalar(sa.select(sa.func.count(Department.id)))) == ([], 2)
    importing.apply(house, plan)
    house.commit()
    assert staff(house, "1").department.name == "市场部"
    assert len(house.scalars(sa.select(journal.Change).where(journal.Change.table == "staff")).all()) == 1


def test_a_key_taken_where_one_cannot_see_is_explained(house):
    credential = "员工,类型,证号,发证日期\n1,nurse_licence,A1,2024-03-05"
    bring(house, f"{HEAD}\n1,许佳,,2024-03-05")
    plan = plan_for(house, credential, Credential)
    bring(house, credential, Credential)

    with pytest.raises(ImportRefused, match="Another record has the same Kind, Number already"):
        importing.apply(house, plan)


def test_after_a_refusal_the_session_goes_on(house):
    plan = plan_for(house, f"{HEAD},离职日期\n1,许佳,,2024-03-05,2020-01-01")
    house.add(Post(code="CS", name="客服"))

    with pytest.raises(ImportRefused):
        importing.apply(house, plan)
    house.commit()

    assert [p.code for p in house.scalars(sa.select(Post).order_by(Post.id))] == ["RN", "CS"]


def test_leading_zeros_that_a_number_cell_lost_are_warned_of(house):
    stream = io.BytesIO()
    with xlsxwriter.Workbook(stream) as book:
        book.add_worksheet().write_row(0, 0, ["工号", "姓名"])
        book.worksheets()[0].write_row(1, 0, [7, "许佳"])

    assert "“工号” holds numbers" in str(plan_for(house, stream.getvalue()).remarks[0])


def test_an_identity_number_kept_as_a_number_is_refused_with_its_value(house):
    stream = io.BytesIO()
    with xlsxwriter.Workbook(stream) as book:
        book.add_worksheet().write_row(0, 0, ["工号", "姓名", "入职日期", "身份证号"])
        book.worksheets()[0].write_row(1, 0, ["1", "许佳", "2024-03-05", 110101199003071233])

    ((row_no, column, said),) = problems(plan_for(house, stream.getvalue()))
    assert (row_no, column) == (2, "身份证号")
    assert re.match(
        "“1101011990030712[0-9]{2}” has lost digits because the cell held a number: enter it again as text.", said
    )


# -- states, derived values, secrets ---------------------------------------------------------------------------


@pytest.fixture
def licence(house):
    bring(house, f"{HEAD}\n1,许佳,,2024-03-05")
    bring(house, "员工,类型,证号,发证日期\n1,nurse_licence,A1,2024-03-05", Credential)
    found = house.scalars(sa.select(Credential)).one()
    found.verify()
    house.commit()
    return found


def test_a_state_in_a_file_moves_nothing(house, licence):
    columns = "员工,类型,证号,发证日期,状态,Verified at"

    same = plan_for(house, f"{columns}\n1,nurse_licence,A1,2024-03-05,verified,2026-03-02 09:00:00", Credential)
    moved = plan_for(house, f"{columns}\n1,nurse_licence,A1,2024-03-05,expired,2026-03-02 09:00:01", Credential)
    new = plan_for(house, f"{columns}\n1,nurse_licence,A2,2024-03-05,verified,2026-03-02 09:00:00", Credential)
    first = plan_for(house, f"{columns}\n1,nurse_licence,A2,2024-03-05,submitted,", Credential)

    assert same.counts.unchanged == 1
    assert [(column, said[:45]) for _, column, said in problems(moved)] == [
        ("状态", "“Status” moves by the buttons of the record a"),
        ("Verified at", "“Verified at” is worked out by the system: le"),
    ]
    assert [column for _, column, _ in problems(new)] == ["状态", "Verified at"]
    assert (first.counts.new, first.errors) == (1, [])


def test_a_house_may_be_loaded_with_its_past(house):
    bring(house, f"{HEAD}\n1,许佳,,2024-03-05")

    bring(house, "员工,类型,证号,发证日期,状态\n1,nurse_licence,A1,2024-03-05,expired", Credential, trusted=True)

    assert house.scalars(sa.select(Credential)).one().status is CredentialStatus.EXPIRED


def principal(level, *verbs):
    allows = {f"{table}.{verb}": Scope.GROUP for table in ("staff", "branch", "department") for verb in verbs}
    levels = {"staff.contact": level, "staff.pay": Level.HIDDEN, "staff.identity": level}
    return Principal(
        "sunli", "孙莉", 1, None, (HeldRole("HR", "HR", Scope.GROUP, None, None, allows, frozenset(), levels),)
    )


def test_a_masked_value_counts_as_unchanged(house):
    bring(house, f"{HEAD},手机号,身份证号\n1,许佳,,2024-03-05,13800138000,110101199003071233")
    house.info["principal"] = principal(Level.MASKED, "view", "create", "edit", "import")

    masked = plan_for(house, f"{HEAD},手机号,身份证号\n1,许佳,,2024-03-05,138••••8000,110101••••••••1233")
    other = plan_for(house, f"{HEAD},手机号\n1,许佳,,2024-03-05,139••••8000\n2,孙莉,,2024-03-05,139••••8000")
    right = plan_for(house, f"{HEAD},手机号\n1,许佳,,2024-03-05,13800138000")

    assert masked.counts.unchanged == 1
    assert ["hidden in part" in said for _, _, said in problems(other)] == [True, True]
    # Whoever sees a number in part must not find the rest by trying: right and wrong look alike.
    assert [row.before for row in right.changed] == [{"phone": values.mask("phone", "13800138000")}]


def test_who_may_not_import_or_not_see_is_refused(house):
    house.info["principal"] = principal(Level.PLAIN, "view", "create", "edit")
    with pytest.raises(Forbidden):
        plan_for(house, f"{HEAD}\n1,许佳,,2024-03-05")

    house.info["principal"] = principal(Level.PLAIN, "view", "create", "edit", "import")
    with pytest.raises(Forbidden, match="does not see “Monthly salary”"):
        plan_for(house, f"{HEAD},月薪\n1,许佳,,2024-03-05,5000")


def test_rows_outside_ones_reach_are_refused_one_by_one(house):
    bring(house, f"{HEAD}\n1,许佳,,2024-03-05", fixed={"branch": "HZ02"})
    allows = {
        f"{t}.{v}": Scope.BRANCH
        for t in ("staff", "branch", "department")
        for v in ("view", "create", "edit", "import")
    }
    role = HeldRole("BD", "Director", Scope.BRANCH, 1, None, allows, frozenset(), {"staff.contact": Level.PLAIN})
    house.info["principal"] = Principal("zhaomingyuan", "赵明远", 1, None, (role,))
    house.expunge_all()

    hidden = plan_for(house, f"{HEAD},分店\n2,孙莉,,2024-03-05,HZ02", fixed={})
    taken = importing.rehearse(
        house, plan_for(house, f"{HEAD},分店\n1,许佳,,2024-03-05,SH01\n2,孙莉,,2024-03-05,SH01", fixed={})
    )

    assert "There is no Branch “HZ02”, or you may not see it" in problems(hidden)[0][2]
    assert [(n, said[:41]) for n, _, said in problems(taken)] == [(2, "Another record has the same Staff no. alr")]


# -- files that an import hands out ----------------------------------------------------------------------------------


def test_the_error_file_can_be_corrected_and_sent_again(house):
    plan = plan_for(house, f"{HEAD},备注\n1,许佳,,2024-03-05,\n2,=孙莉,,2024年3月,'=1\n,,,,\n3,王,,3/5/24,")

    rows = sheets.read(importing.error_file(plan, Chinese()), "错误.xlsx")[0].rows

    assert [cells[:5] for _, cells in rows] == [
        ["工号", "姓名", "部门", "入职日期", "备注"], ["2", "'=孙莉", None, "2024年3月", "''=1"], ["3", "王", None, "3/5/24", None],
    ]  # fmt: skip
    assert [cells[5] for _, cells in rows] == ["Row in your file", 3, 5]
    assert [cells[6].partition(";")[0][:18] for _, cells in rows[1:]] == [
        "入职日期: “2024年3月” gi",
        "入职日期: “3/5/24” can",
    ]
    for _, cells in rows[1:]:
        cells[3] = "2024-03-05"
    table = importing.open_table([sheets.Sheet("错误", rows)], Staff, Chinese())
    again = importing.make_plan(
        house, Staff, table.header.titles, table.rows, table.mapping, labels=Chinese(), fixed={"branch": "SH01"}
    )
    assert (again.counts.new, again.unused) == (2, ["Row in your file", "Reason of refusal"])
    assert again.created[0].values["name"] == "=孙莉"


def test_the_error_file_keeps_what_cells_were(house):
    stream = io.BytesIO()
    with xlsxwriter.Workbook(stream) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["工号", "姓名", "入职日期", "身份证号", "备注"])
        sheet.write_row(1, 0, ["1", "许佳"])
        sheet.write_datetime(1, 2, datetime(2024, 3, 5), book.add_format({"num_format": "yyyy/m/d"}))
        sheet.write_row(1, 3, [110101199003071000, 0.5])
    sent = sheets.read(stream.getvalue(), "a.xlsx")[0].rows[1][1]

    back = sheets.read(importing.error_file(plan_for(house, stream.getvalue())), "b.xlsx")[0].rows[1][1]

    assert back[:5] == sent


def test_a_refusal_is_told_in_the_readers_language(house):
    class Told(Chinese):
        WORDS = {
            **Chinese.WORDS,
            "“%(what)s” is missing: fill it in.": "“%(what)s”必填。",
            "Reason of refusal": "错误原因",
        }

    data = importing.error_file(plan_for(house, "工号,姓名\n1,许佳"), Told())

    assert sheets.read(data, "a.xlsx")[0].rows[1][1][-1] == "入职日期: “入职日期”必填。"


def test_the_template_is_a_file_to_fill_in(house):
    data = importing.template(Staff, Chinese())

    filled, hints = sheets.read(data, "模板.xlsx")
    table = importing.open_table([filled, hints], Staff, Chinese())
    assert table.sheet is filled
    assert set(table.mapping.values()) == {f.key for f in own_fields(Staff) if f.writable}
    assert table.rows == []
    assert ["Sex", "One of the words to the right", None, "Female", "Male"] in [
        [None if c == "" else c for c in cells] for _, cells in hints.rows
    ]


# -- the acceptance tests of the domain ---------------------------------------------------------------------------


def two_hundred():
    start = date(2020, 1, 1)
    rows = [["工号", "姓名", "性别", "手机号", "部门", "入职日期", "月薪", "备注"]]
    for n in range(200):
        rows.append([
            f"{n:04d}", f"单雪{n}", "女" if n % 3 else "男", f"138{n:08d}", "护理部", (start + timedelta(days=n)).isoformat(),
            f"{5000 + n}.50", "早班，\n第二行" if n % 5 == 0 else "",
        ])  # fmt: skip
    return rows


def delimited(rows, encoding, delimiter=","):
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue().encode(encoding)


def workbook_of(rows):
    stream = io.BytesIO()
    with xlsxwriter.Workbook(stream) as book:
        sheet = book.add_worksheet()
        for n, row in enumerate(rows):
            sheet.write_row(n, 0, row)
    return stream.getvalue()


def records(plan):
    return [row.values for row in plan.created]


@pytest.mark.parametrize("encoding", ["gbk", "utf-8", "utf-8-sig", "utf-16", "xlsx"])
def test_the_same_sheet_in_every_encoding_gives_the_same_records(house, encoding):
    rows = two_hundred()
    data = workbook_of(rows) if encoding == "xlsx" else delimited(rows, encoding, "\t" if encoding == "utf-16" else ",")

    plan = plan_for(house, data)

    assert plan.errors == []
    assert records(plan) == records(plan_for(house, delimited(rows, "utf-8")))
    assert len(plan.created) == 200


def test_a_sheet_as_offices_keep_it_is_imported(house):
    spelled = [
        "2024年3月5日", "2024.3.5", "20240305", "2024/3/5 14:05", "２０２４年３月５日", "二〇二四年三月五日", "24.3.5", "2024-03-05",
        "2024年3月5号", "2024-3-5", "2024-03-05（周二）", "2024/03/05", 45356, 20240305,
    ]  # fmt: skip
    stream = io.BytesIO()
    with xlsxwriter.Workbook(stream) as book:
        sheet = book.add_worksheet("花名册")
        sheet.merge_range(0, 0, 0, 4, "员工花名册")
        sheet.write(1, 0, "制表日期：2024-03-31")
        sheet.merge_range(2, 0, 3, 0, "工号")
        sheet.merge_range(2, 1, 2, 2, "基本信息")
        sheet.merge_range(2, 3, 2, 4, "任职")
        sheet.write_row(3, 1, ["姓名", "性别", "入职日期", "部门"])
        for n, day in enumerate(spelled):
            sheet.write_row(4 + n, 0, [f"E{n}", f"员工{n}", "女", day, "护理部"])
        sheet.write_row(4 + len(spelled), 0, ["合计", len(spelled)])
        sheet.write(5 + len(spelled), 0, "备注：数据截至三月")

    plan = plan_for(house, stream.getvalue())

    assert problems(plan) == []
    assert [row.values["hired_on"] for row in plan.created] == [date(2024, 3, 5)] * 14


FAKER = "cn_staff_faker_10k.csv"


@pytest.fixture
def faker(realdata):
    return (realdata / FAKER).read_bytes().decode("utf-8-sig")


def test_ten_thousand_real_looking_rows_are_imported_once(house, faker):
    plan = bring(house, faker, create_missing=True)

    assert plan.counts == importing.Counts(new=10_000, changed=0, unchanged=0, skipped=0, errors=0)
    assert house.scalar(sa.select(sa.func.count(Staff.id))) == 10_000
    # Counted in the file by hand: 2,002 rows say 离职, five departments and thirteen posts are named.
    assert house.scalar(sa.select(sa.func.count(Staff.id)).where(Staff.status == StaffStatus.LEFT)) == 2_002
    assert [len(house.scalars(sa.select(m.id)).all()) for m in (Department, Post)] == [2 + 5, 1 + 13]
    house.expunge_all()
    assert plan_for(house, faker, create_missing=True).counts.unchanged == 10_000


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "xlsx"])
def test_ten_thousand_rows_are_the_same_in_every_encoding(house, faker, encoding):
    rows = list(csv.reader(io.StringIO(faker, newline="")))
    data = workbook_of(rows) if encoding == "xlsx" else delimited(rows, encoding)

    plan, plain = plan_for(house, data, create_missing=True), plan_for(house, faker, create_missing=True)

    assert plan.digest() == plain.digest()
    assert plan.counts.new == 10_000


def test_one_bad_row_in_ten_thousand_writes_nothing_and_is_named(house, faker):
    rows = list(csv.reader(io.StringIO(faker, newline="")))
    rows[7777][8] = "2024-02-30"

    plan = plan_for(house, delimited(rows, "utf-8"), create_missing=True)
    with pytest.raises(ImportRefused):
        importing.apply(house, plan)

    assert problems(plan) == [(7778, "员工入职时间", "There is no day “2024-02-30” in the calendar: correct it.")]
    assert house.scalar(sa.select(sa.func.count(Staff.id))) == 0
    assert sheets.read(importing.error_file(plan), "a.xlsx")[0].rows[1][1][11] == 7778


def test_no_query_is_made_per_row(house):
    def statements(count):
        seen = []
        text = "\n".join([f"{HEAD},直接上级", *(f"A{count}-{n},员工,护理部,2024-03-05," for n in range(count))])
        engine = house.get_bind()
        sa.event.listen(engine, "before_cursor_execute", note := lambda *a: seen.append(a[2]))
        bring(house, text)
        sa.event.remove(engine, "before_cursor_execute", note)
        return sum(not statement.startswith("INSERT INTO staff") for statement in seen)

    # SQLite tells a new record's number row by row, so its inserts are not counted.
    assert statements(900) == statements(90)


# -- there and back ------------------------------------------------------------------------------------------------

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=30)
NAMES = WORDS.filter(lambda t: values.line(t) and len(values.line(t)) <= 80)
NOTES = st.one_of(
    st.none(), st.sampled_from(["=1+1", "-5", "'=x", "+86", "@a", "a\nb", "\t=1", "• 一", "_x000D_", "＝A1"]), WORDS
)
DAYS = st.one_of(st.none(), st.dates(date(1900, 1, 1), date(2199, 12, 31)))
AMOUNTS = st.one_of(st.none(), st.decimals(-(10**9), 10**9, places=2))


@st.composite
def houses(draw):
    """A house with everything about its people that a file can hold."""
    branch = Branch(code=draw(st.sampled_from(["SH01", "=B", "0012", "-1"])), name=draw(NAMES), line=draw(st.sampled_from(LineOfBusiness)),
                    phone=draw(st.sampled_from([None, "+8613800138000", "02161234567x12"])), bed_capacity=draw(st.integers(0, 999)))  # fmt: skip
    departments = [
        Department(branch=branch, code=f"D{n}", name=draw(NAMES), kind=draw(st.sampled_from(DepartmentKind)))
        for n in range(2)
    ]
    departments[1].parent = departments[0]
    post = Post(code=draw(st.sampled_from(["RN", "@p", "3-5"])), name=draw(NAMES), is_clinical=draw(st.booleans()),
                level=draw(st.one_of(st.none(), st.integers(-5, 10**6))))  # fmt: skip
    people = []
    for n in range(3):
        hired = draw(st.dates(date(1900, 1, 1), date(2100, 1, 1)))
        people.append(Staff(
            no=f"{n:03d}", name=draw(NAMES), branch=branch, department=departments[n % 2], post=draw(st.sampled_from([None, post])),
            manager=people[0] if n else None, sex=draw(st.sampled_from([None, *Sex])), hired_on=hired, note=draw(NOTES),
            monthly_salary=draw(AMOUNTS), phone=draw(st.sampled_from([None, "13800138000"])), left_on=draw(st.sampled_from([None, hired])),
            id_number=draw(st.sampled_from([None, "110101199003071233", "E1234567"])),
        ))  # fmt: skip
    licence = Credential(staff=people[1], kind=CredentialKind.NURSE_LICENCE, number=draw(st.sampled_from(["A1", "000123", "2024-3-5"])),
                         issued_on=date(2024, 3, 5), verified_at=MARCH + timedelta(microseconds=draw(st.integers(0, 10**7))))  # fmt: skip
    posting = StaffPosting(
        staff=people[2],
        branch=branch,
        department=departments[1],
        from_on=date(2024, 3, 5),
        to_on=draw(st.sampled_from([None, date(2025, 1, 1)])),
    )
    return [branch, *departments, post, *people, licence, posting]


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
@given(house=houses(), with_number=st.booleans())
@settings(max_examples=25, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])
def test_what_is_exported_and_read_back_changes_nothing(kind, house, with_number):
    engine = models.database.connect("sqlite://")
    Base.metadata.create_all(engine)
    with clock.at(MARCH), models.database.open_session(engine, System("tests")) as session:
        session.add_all(house)
        session.flush()
        for model in (Branch, Department, Post, Staff, Credential, StaffPosting):
            fields = exporting.exported_fields(model) if with_number else own_fields(model)

            table = read(exported(session, model, fields, kind), model)
            plan = importing.make_plan(session, model, table.header.titles, table.rows, table.mapping, labels=Chinese())

            assert problems(plan) == []
            assert [(row.before, row.values) for row in (*plan.changed, *plan.created)] == []
            assert plan.unchanged == session.scalar(sa.select(sa.func.count(model.id)))
    engine.dispose()


def exported(session, model, fields, kind):
    records = session.scalars(sa.select(model).order_by(model.id)).all()
    rows = ([exporting.cell_value(f, getattr(r, f.key), Chinese()) for f in fields] for r in records)
    columns = exporting.columns_of(fields, Chinese())
    if kind == "csv":
        return b"".join(exporting.write_csv(columns, rows, Chinese()))
    stream = io.BytesIO()
    exporting.write_xlsx(columns, rows, stream, Chinese())
    return stream.getvalue()


def test_an_export_brought_into_an_empty_house_makes_the_same_house(house):
    bring(house, f"{HEAD},直接上级,备注\n1,许佳,护理部,2024-03-05,2,=1+1\n2,孙莉,,2024-03-05,,")
    order = (Branch, Department, Post, Staff)
    files = {m: exported(house, m, own_fields(m), "xlsx") for m in order}
    engine = models.database.connect("sqlite://")
    Base.metadata.create_all(engine)

    with models.database.open_session(engine, System("tests")) as empty:
        for model in order:
            bring(empty, files[model], model, fixed={})

        assert {m: exported(empty, m, own_fields(m), "csv") for m in order} == {
            m: exported(house, m, own_fields(m), "csv") for m in order
        }
    engine.dispose()
