"""A raw cell -> a value: every spelling that Chinese offices use, and what is refused instead of guessed."""

from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest

from models import clock
from models.clock import CalendarDay, DayKind
from models.errors import RuleBroken
from models.fields import field
from models.organisation import Department, Post
from models.parsing import parse
from models.sheets import ErrorCell, PercentCell
from models.staff import Credential, Sex, Staff, StaffCategory, StaffStatus
from models.values import with_check_digit

DAY, INSTANT = field(Staff, "hired_on"), field(Credential, "verified_at")
MONEY, COUNT, BOOL = field(Staff, "monthly_salary"), field(Post, "level"), field(Post, "is_clinical")
PERCENT = replace(MONEY, kind="percent")
CODE, NAME, NOTE = field(Staff, "no"), field(Staff, "name"), field(Staff, "note")
PHONE, ID_NUMBER, EMAIL = field(Staff, "phone"), field(Staff, "id_number"), field(Staff, "email")
MARCH_5 = date(2024, 3, 5)


class Chinese:
    """Labels in English and Chinese, as a catalogue would give them."""

    WORDS = {"Female": "女", "In service": "在职", "On probation": "试用期", "Yes": "是", "No": "否"}

    def of(self, msgid):
        return [msgid, *filter(None, [self.WORDS.get(msgid)])]

    def show(self, msgid):
        return self.WORDS.get(msgid, msgid)


@pytest.fixture(autouse=True)
def _in_march_2026():
    with clock.at(datetime(2026, 3, 2, 1, tzinfo=UTC)):
        yield


# -- days ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        "2024年3月5日", "2024年03月05日", "2024年3月5号", "2024年3月5", "2024 年 3 月 5 日", "2024.3.5", "2024.03.05",
        "2024. 3. 5", "2024.03.05.", "20240305", "2024/3/5", "2024/03/05", "2024-3-5", "2024-03-05", "2024/3/5 14:05",
        "2024-03-05 14:05:33", "2024-03-05T14:05:33", "2024年3月5日 14时05分", "2024年3月5日14:05", "2024年3月5日 下午2:05",
        "2024-03-05T14:05:33+08:00", "2024-03-04T22:05:33Z", "２０２４年３月５日", "２０２４／３／５", "２０２４－０３－０５",
        "二〇二四年三月五日", "二零二四年三月五日", "二○二四年三月五号", "24.3.5", "24-3-5", "24/3/5", "24年3月5日",
        "2024年3月5日 星期二", "2024-03-05（周二）", " 2024-03-05\u3000", "\xa02024-03-05",
        45356, 45356.0, 45356.586, 20240305, date(2024, 3, 5), datetime(2024, 3, 5, 14, 5),
    ],
)  # fmt: skip
def test_every_spelling_of_a_day_is_read(raw):
    assert parse(DAY, raw) == MARCH_5


@pytest.mark.parametrize(
    ("raw", "day"),
    [
        ("二〇二四年十二月三十一日", date(2024, 12, 31)),
        ("二〇二四年十月二十日", date(2024, 10, 20)),
        ("1938-06-01", date(1938, 6, 1)),
        ("98年3月5日", date(1998, 3, 5)),
        ("09/22/1986", date(1986, 9, 22)),
        ("22/09/1986", date(1986, 9, 22)),
        ("5/5/2024", date(2024, 5, 5)),
        ("2024-02-29", date(2024, 2, 29)),
    ],
)
def test_other_days_are_read(raw, day):
    assert parse(DAY, raw) == day


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("2024年3月", "gives no day"), ("2024-03", "gives no day"), ("2024.3", "gives no day"), ("2024.10", "gives no day"),
        ("202403", "gives no day"), ("二〇二四年三月", "gives no day"), ("2024", "gives no day"), ("2024年", "gives no day"),
        (2024.1, "gives no day"), (2024, "gives no day"), (202403, "gives no day"),
        ("3月5日", "gives no year"), ("3-5", "gives no year"),
        ("3/5/24", "read as several dates"), ("05.3.4", "read as several dates"), ("24.3.25", "read as several dates"),
        ("05/03/2024", "read as several dates"), ("38年5月6日", "read as several dates"),
        ("2024-02-30", "no day “2024-02-30” in the calendar"), ("2024年13月1日", "no day .* in the calendar"), (20240230, "in the calendar"),
        ("至今", "leave the cell blank"), ("长期", "leave the cell blank"),
        ("45356", "is no date"), ("昨天", "is no date"), ("2024-03-05-06", "is no date"), (12, "is no date"), (True, "is no date"),
        (time(14, 5), "is no date"), ("2024-03-05 25:00", "no time of day"), ("0024-03-05", "too far from today"),
    ],
)  # fmt: skip
def test_no_day_is_guessed(raw, said):
    with pytest.raises(RuleBroken, match=said) as refused:
        parse(DAY, raw)

    assert refused.value.field == "hired_on"


@pytest.mark.parametrize("raw", [None, "", "  ", "-", "——", "/"])
def test_a_blank_or_a_dash_is_no_value(raw):
    for f in (DAY, INSTANT, MONEY, COUNT, BOOL, PERCENT, field(Staff, "sex")):
        assert parse(f, raw) is None


@pytest.mark.parametrize(
    ("raw", "instant"),
    [
        ("2024-03-05 14:05", datetime(2024, 3, 5, 6, 5, tzinfo=UTC)),  # told in Shanghai, eight hours ahead
        ("2024年3月5日 下午2:05:33", datetime(2024, 3, 5, 6, 5, 33, tzinfo=UTC)),
        ("2024-03-05 12:30 AM", datetime(2024, 3, 4, 16, 30, tzinfo=UTC)),
        ("2024-03-05T14:05:33Z", datetime(2024, 3, 5, 14, 5, 33, tzinfo=UTC)),
        ("2024-03-05", datetime(2024, 3, 4, 16, tzinfo=UTC)),
        (45356.5, datetime(2024, 3, 5, 4, tzinfo=UTC)),
        # A spreadsheet's float misses the second by a hair.
        (datetime(2024, 3, 5, 14, 5, 32, 999_700), datetime(2024, 3, 5, 6, 5, 33, tzinfo=UTC)),
    ],
)
def test_instants_are_told_in_the_houses_zone(raw, instant):
    assert parse(INSTANT, raw) == instant


# -- numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "amount"),
    [
        ("¥1,234.50", "1234.50"), ("￥1，234.50", "1234.50"), ("1234.5元", "1234.50"), ("RMB 100", "100"), ("100 CNY", "100"),
        ("3.98万", "39800"), ("3.98万元", "39800"), ("0.12亿", "12000000"), ("5千", "5000"), ("壹万贰仟元整", "12000"), ("一万二千元", "12000"),
        ("两千", "2000"), ("壹佰贰拾元伍角", "120.50"), ("壹万贰仟叁佰元零伍分", "12300.05"),
        ("(1,234)", "-1234"), ("（1,234）", "-1234"), ("-1,234", "-1234"), ("¥-5", "-5"), ("-¥5", "-5"), ("−5", "-5"),
        (1234.5, "1234.50"), (1234, "1234"), (0.1 + 0.2, "0.30"), (".5", "0.50"),
    ],
)  # fmt: skip
def test_every_spelling_of_an_amount_is_read(raw, amount):
    assert parse(MONEY, raw) == Decimal(amount)


def test_an_amount_has_the_places_of_its_column():
    assert str(parse(MONEY, "1234.5")) == "1234.50"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("$100", "not in yuan"), ("100美元", "not in yuan"), ("12,34", "no number"), ("1.2.3", "no number"), ("约5000", "no number"),
        ("100元/月", "no number"), ("1.2E+10", "lost digits"), ("33.333", "2 decimal places"), (10**10, "out of any sensible range"),
        (True, "no number"), (date(2024, 3, 5), "no number"),
    ],
)  # fmt: skip
def test_no_amount_is_guessed(raw, said):
    with pytest.raises(RuleBroken, match=said):
        parse(MONEY, raw)


@pytest.mark.parametrize(
    ("raw", "said"),
    [("85%", 85), ("85％", 85), ("12.5 %", 12.5), ("0.5%", 0.5), (PercentCell(0.07), 7), (85, 85), ("85", 85), (0, 0)],
)
def test_percentages_are_read_as_they_are_said(raw, said):
    assert parse(PERCENT, raw) == Decimal(str(said))


@pytest.mark.parametrize("raw", [0.5, "0.5", 1, "-0.85"])
def test_a_bare_share_may_be_a_percentage_or_a_part_of_one(raw):
    with pytest.raises(RuleBroken, match="write it with the % sign"):
        parse(PERCENT, raw)


def test_the_question_about_a_share_names_both_readings():
    with pytest.raises(RuleBroken, match=r"“0\.5” may mean 0\.5 % or 50 %"):
        parse(PERCENT, "0.5")


def test_whole_numbers_are_whole():
    assert [parse(COUNT, raw) for raw in ("30", 30.0, "三十", "1,000", "1.2万")] == [30, 30, 30, 1000, 12000]
    with pytest.raises(RuleBroken, match="no whole number"):
        parse(COUNT, 2.5)
    with pytest.raises(RuleBroken, match="out of any sensible range"):
        parse(COUNT, 2**31)


# -- words -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw", ["是", "有", "√", "✓", "对", "Y", "y", "Yes", "TRUE", "1", 1, 1.0, True, " 是 ", "ＹＥＳ"]
)
def test_words_for_yes(raw):
    assert parse(BOOL, raw) is True


@pytest.mark.parametrize("raw", ["否", "无", "没有", "×", "✗", "错", "N", "no", "False", "0", 0, False])
def test_words_for_no(raw):
    assert parse(BOOL, raw) is False


@pytest.mark.parametrize("raw", ["也许", "x", "2", 2, "是否"])
def test_an_unknown_word_is_an_error_and_not_a_no(raw):
    with pytest.raises(RuleBroken, match="neither yes nor no"):
        parse(BOOL, raw)


@pytest.mark.parametrize("raw", ["active", "In service", "in service", "在职", "在岗", " 在 职 "])
def test_a_choice_is_known_by_value_label_translation_and_alias(raw):
    assert parse(field(Staff, "status"), raw, Chinese()) is StaffStatus.ACTIVE


def test_common_aliases_need_no_catalogue():
    words = [
        (Staff, "sex", "男"),
        (Staff, "sex", "F"),
        (Staff, "status", "离职"),
        (Staff, "category", "月嫂"),
        (Department, "kind", "后勤"),
    ]

    assert [parse(field(model, key), raw).value for model, key, raw in words] == [
        "male",
        "female",
        "left",
        "caregiver",
        "logistics",
    ]


def test_an_unknown_choice_is_refused_with_the_choices():
    with pytest.raises(RuleBroken, match="“未知” is not among the choices: write one of Female, Male"):
        parse(field(Staff, "sex"), "未知")


def test_a_label_that_two_choices_share_is_refused():
    class Vague(Chinese):
        WORDS = {"Nurse": "护理", "Caregiver": "护理"}

    with pytest.raises(RuleBroken, match="“护理” may be any of Nurse, Caregiver"):
        parse(field(Staff, "category"), "护理", Vague())
    assert parse(field(Staff, "category"), "nurse", Vague()) is StaffCategory.NURSE


def test_choices_of_days_are_choices():
    assert parse(field(CalendarDay, "kind"), "Make-up working day") is DayKind.MAKEUP
    assert parse(field(Staff, "sex"), "女", Chinese()) is Sex.FEMALE


# -- texts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        ("13800138000", "13800138000"), (13800138000, "13800138000"), (13800138000.0, "13800138000"), ("13800138000.0", "13800138000"),
        ("1.3800138000E+10", "13800138000"), ("138 0013 8000", "13800138000"), ("138-0013-8000", "13800138000"),
        ("+86 13800138000", "13800138000"), ("0086-13800138000", "13800138000"), ("１３８００１３８０００", "13800138000"),
        ("021-61234567转8001", "02161234567x8001"), ("'+8613800138000", "13800138000"), ("95588", "95588"), ("400-810-1234", "4008101234"),
    ],
)  # fmt: skip
def test_telephone_numbers_are_repaired_where_no_digit_is_lost(raw, number):
    assert parse(PHONE, raw) == number


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("1.38E+10", "“1.38E\\+10” has lost digits.*enter it again as text"),
        ("13800138000、13900139000", "several telephone numbers"), ("13800138000 13900139000", "several telephone numbers"),
        ("13800138000/13900139000", "several telephone numbers"), ("没有", "not a telephone number"), (1e20, "lost digits"),
    ],
)  # fmt: skip
def test_a_telephone_number_is_not_guessed(raw, said):
    with pytest.raises(RuleBroken, match=said):
        parse(PHONE, raw)


BORN_1938 = with_check_digit("51010419380601001")


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        (BORN_1938, BORN_1938), ("11010119900307100x", "11010119900307100X"), (" 110101 19900307 1233 ", "110101199003071233"),
        (110101900307123, "110101900307123"), ("E12345678", "E12345678"),
    ],
)  # fmt: skip
def test_identity_numbers_are_text(raw, number):
    assert parse(ID_NUMBER, raw) == number


@pytest.mark.parametrize("raw", [110101199003071233, 110101199003071000.0, "1.10101E+17", "110101199003071000"])
def test_an_identity_number_kept_as_a_number_is_lost(raw):
    with pytest.raises(RuleBroken, match=r"“1\.?10101.*” has lost digits"):
        parse(ID_NUMBER, raw)


def test_three_zeros_that_fit_the_check_digit_are_no_loss():
    numbers = (with_check_digit(f"110101{year}0307100") for year in range(1950, 2000))
    sound = next(number for number in numbers if number.endswith("000"))

    assert parse(ID_NUMBER, sound) == sound


def test_codes_are_text_whatever_the_cell_holds():
    assert [parse(CODE, raw) for raw in ("007", 7, 7.0, "Ｅ０１", "E-01 ")] == ["007", "7", "7", "E01", "E-01"]
    with pytest.raises(RuleBroken, match="the spreadsheet converted it"):
        parse(CODE, date(2024, 3, 5))


def test_names_are_tidied_and_notes_keep_their_lines():
    assert parse(NAME, "\u3000林 晓雯\u200b_x000D_\n") == "林 晓雯"
    assert parse(NOTE, "第一行_x000D_\n第二行\r\n  第三行  ") == "第一行\n第二行\n  第三行"
    assert parse(NOTE, "• 一\n• 二") == "• 一\n• 二"
    assert parse(NOTE, 12.0) == "12"


def test_the_quote_before_a_formula_is_taken_away_again():
    assert [parse(NOTE, raw) for raw in ("'=1+1", "''=1", "'abc", "=1+1")] == ["=1+1", "'=1", "'abc", "=1+1"]


@pytest.mark.parametrize(
    ("f", "raw", "said"),
    [
        (NAME, "长" * 81, "holds 81 characters; 80 fit"), (EMAIL, "linxiaowen", "not an e-mail address"),
        (NAME, "a\x01b", "control character"), (NOTE, ErrorCell("#N/A"), "formula of this cell failed, it shows #N/A"),
        (PHONE, "138••••8000", "hidden in part"),
    ],
)  # fmt: skip
def test_what_the_forms_refuse_files_are_refused_too(f, raw, said):
    with pytest.raises(RuleBroken, match=said):
        parse(f, raw)


def test_a_secret_is_never_read():
    with pytest.raises(RuleBroken, match="never read from a file"):
        parse(replace(NOTE, kind="secret"), "x")
