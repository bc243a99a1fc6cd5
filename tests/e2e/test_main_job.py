"""The main job, in a real browser and in Chinese: sign in, import, find, mend, press, export."""

import csv
import io

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from admin_views.commands import session_for
from models import sealing
from models.journal import Act, Operation
from models.staff import Staff
from tests.cast import LIN, PASSWORD, SUN, Person

pytestmark = pytest.mark.browser

ROSTER = """员工花名册,,,,,
工号,姓名,性别,手机号,入职日期,所属分店
N90001,单丽,女,13800138001,2026年3月5日,SH01
N90002,曾国栋,男,13800138002,2026.3.6,SH01
N90003,仇小燕,女,13800138003,2026-03-07,HZ02
"""


def sign_in(page: Page, base: str, person: Person) -> None:
    page.goto(f"{base}/admin/login")
    page.fill("#username", person.login)
    page.fill("#password", PASSWORD)
    page.get_by_role("button", name="登录").click()
    page.wait_for_url("**/admin/")
    expect(page.get_by_role("heading", level=1)).to_contain_text(person.name)


def test_sun_li_imports_finds_mends_and_exports_and_all_of_it_is_in_the_journal(
    demo, live_server, page, console_errors, tmp_path
):
    base = live_server(demo)
    roster = tmp_path / "花名册.csv"
    roster.write_bytes(ROSTER.encode("gb18030"))
    sign_in(page, base, SUN)

    # import: dry run first, then exactly what was shown
    page.goto(f"{base}/admin/staff/import/")
    page.set_input_files("#file", roster)
    page.get_by_role("button", name="下一步").click()
    page.wait_for_url("**/import/map/**")
    page.get_by_role("button", name="下一步").click()
    expect(page.get_by_text("单丽").first).to_be_visible()
    page.locator("button[name=apply]").click()
    page.wait_for_url("**/import/apply/")

    # find, by pinyin, surname read rightly
    page.goto(f"{base}/admin/staff/?search=shanli")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("单丽")

    # mend one cell where it stands
    page.locator('[data-cell][data-name="hired_on"]').first.click()
    page.locator("input.cell-in").fill("2026-03-08")
    page.locator("input.cell-in").press("Enter")
    expect(page.locator(".toast").first).to_be_visible()
    page.reload()
    expect(page.locator("tbody tr")).to_contain_text("2026-03-08")

    # export what the list shows
    page.locator('[popovertarget="export-menu"]').click()
    with page.expect_download() as waiting:
        page.get_by_role("menuitem", name="CSV").click()
    rows = list(csv.reader(io.StringIO(waiting.value.path().read_text("utf-8-sig"))))
    assert len(rows) == 2
    assert "2026-03-08" in rows[1]
    assert waiting.value.suggested_filename.startswith("员工")

    with demo.app_context(), session_for("tests") as session:
        kinds = session.scalars(
            sa.select(Operation.kind).where(Operation.actor == SUN.login).order_by(Operation.id)
        ).all()
        assert [k for k in kinds if k in {Act.IMPORT, Act.CELL, Act.EXPORT}] == [Act.IMPORT, Act.CELL, Act.EXPORT]
        sealing.seal(session)
        session.commit()
        assert sealing.verify(session).sound
    assert console_errors == []


def test_lin_xiaowen_sees_why_a_button_is_greyed_out(demo, live_server, page):
    base = live_server(demo)
    sign_in(page, base, LIN)

    page.goto(f"{base}/admin/package/")
    page.locator("button[aria-disabled=true]").first.click(force=True)

    expect(page.get_by_text("前台").first).to_be_visible()


@pytest.mark.parametrize("viewport", ["desk", "tablet", "phone"])
def test_list_record_and_form_fit_every_screen_without_sideways_scrolling(
    demo, live_server, open_page, console_errors, viewport
):
    base = live_server(demo)
    page = open_page(viewport)
    sign_in(page, base, LIN)
    with demo.app_context(), session_for("tests") as session:
        staff = session.scalar(sa.select(Staff.id).where(Staff.name == LIN.name))

    for address in (
        "/admin/",
        "/admin/client/",
        "/admin/contract/",
        "/admin/client/new/",
        f"/admin/staff/details/?id={staff}",
    ):
        page.goto(base + address)
        page.wait_for_load_state()
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, address
    assert console_errors == []
