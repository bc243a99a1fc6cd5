"""Bytes of a file -> tables: encodings, kinds of file, headers, and what is refused before it can do harm."""

import contextlib
import csv
import io
import re
import struct
import time
import zipfile
from datetime import date, datetime

import msoffcrypto.format.ooxml
import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st

from models import sheets
from models.sheets import ErrorCell, FileRefused, PasswordNeeded, PercentCell, limits

TABLE = [["姓名", "手机号", "备注"], ["林晓雯", "13800138000", "前台，早班"], ["许佳", "13900139000", None]]


def delimited(rows, delimiter=",", encoding="utf-8"):
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows([["" if c is None else c for c in row] for row in rows])
    return out.getvalue().encode(encoding)


def xlsx(fill):
    """A workbook that ``fill(workbook, sheet)`` writes into."""
    stream = io.BytesIO()
    with xlsxwriter.Workbook(stream) as book:
        fill(book, book.add_worksheet("名单"))
    return stream.getvalue()


def xlsx_of(rows):
    return xlsx(lambda _, sheet: [sheet.write_row(n, 0, row) for n, row in enumerate(rows)])


def changed(data, member, change):
    """The archive with one member rewritten."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name).decode()) if name == member else old.read(name))
    return stream.getvalue()


def rows_of(data, name="名单.csv", **how):
    return [cells for _, cells in sheets.read(data, name, **how)[0].rows]


# -- encodings and delimiters -------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_every_usual_encoding_and_delimiter_gives_the_same_table(encoding, delimiter):
    rows = rows_of(delimited(TABLE, delimiter, encoding))

    assert rows == [TABLE[0], TABLE[1], ["许佳", "13900139000"]]


def test_a_mostly_ascii_file_with_one_chinese_name_is_read_as_gb18030():
    sheet = sheets.read(
        delimited([["name", "city"], *[["Li Lei", "Beijing"]] * 50, ["单雪", "x"]], encoding="gbk"), "a.csv"
    )[0]

    assert sheet.rows[-1] == (52, ["单雪", "x"])
    assert str(sheet.notes[0]) == "Read as GB18030"


@pytest.mark.parametrize("main", ["utf-8", "gbk"])
def test_a_file_of_mixed_encodings_is_refused_with_the_line(main):
    other = "gbk" if main == "utf-8" else "utf-8"
    lines = ["姓名,城市", "林晓雯,上海市", "许佳佳,北京", "孙莉,杭州"]
    data = b"\n".join(line.encode(other if n == 2 else main) for n, line in enumerate(lines))

    with pytest.raises(FileRefused, match="Line 3 is not written in"):
        sheets.read(data, "a.csv")


def test_what_was_found_can_be_overruled():
    assert rows_of("姓名\n林曉雯\n".encode("big5"), encoding="big5") == [["姓名"], ["林曉雯"]]


@pytest.mark.parametrize(
    ("encoding", "said"), [("big-6", "no encoding called"), ("ascii", "Line 1 is not written in ASCII")]
)
def test_a_wrong_encoding_is_refused(encoding, said):
    with pytest.raises(FileRefused, match=said):
        sheets.read("姓名\n".encode(), "a.csv", encoding=encoding)


def test_commas_inside_a_tab_separated_note_do_not_decide():
    rows = [["姓名", "备注"], *[["许佳", "早班，a,b,c,d"]] * 5]

    assert rows_of(delimited(rows, "\t")) == rows


def test_a_line_for_excel_that_names_the_delimiter_is_no_row():
    assert sheets.read("sep=;\r\n姓名;城市\r\n许佳;上海".encode(), "a.csv")[0].rows[0] == (1, ["姓名", "城市"])


def test_line_breaks_inside_quotes_stay_in_one_row():
    sheet = sheets.read('姓名,备注\r\n许佳,"第一行\n第二行"\r\n\r\n孙莉,\r\n'.encode(), "a.csv")[0]

    assert sheet.rows == [(1, ["姓名", "备注"]), (2, ["许佳", "第一行\n第二行"]), (3, []), (4, ["孙莉"])]


@pytest.mark.parametrize("text", ['姓名,备注\n许佳,"没有结尾\n孙莉,\n', '姓名,备注\n许佳,"前"后\n'])
def test_a_stray_quotation_mark_is_refused_with_its_row(text):
    with pytest.raises(FileRefused, match="Row 2 has a quotation mark"):
        sheets.read(text.encode(), "a.csv")


# -- what kind of file ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf<html><table><tr><td>1", r"a web page \(HTML\)"),
        (b"<table border=1><tr><td>1", r"a web page \(HTML\)"),
        (b'<?xml version="1.0"?>\n<?mso-application progid="Excel.Sheet"?><Workbook>', "an XML spreadsheet of 2003"),
        (b'<?xml version="1.0"?><!DOCTYPE html><html>', r"a web page \(HTML\)"),
        (b"MIME-Version: 1.0\nContent-Type: multipart", "a web archive"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (b"abc\0\0\1\2", "This is no table"),
        (b"PK\x03\x04 and no more", "is damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and no more", "is damaged|no spreadsheet"),
    ],
)  # fmt: skip
def test_what_only_calls_itself_a_table_is_refused_by_its_true_kind(data, said):
    with pytest.raises(FileRefused, match=said):
        sheets.read(data, "报表.xls")


def test_a_utf16_table_named_xls_is_accepted():
    assert rows_of(delimited(TABLE, "\t", "utf-16"), "报表.xls")[1] == TABLE[1]


def test_a_word_document_is_refused():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")

    with pytest.raises(FileRefused, match="no spreadsheet"):
        sheets.read(stream.getvalue(), "a.xlsx")


def test_a_protected_workbook_asks_for_its_password():
    locked = io.BytesIO()
    msoffcrypto.format.ooxml.OOXMLFile(io.BytesIO(xlsx_of(TABLE))).encrypt("小鹿", locked)
    data = locked.getvalue()

    with pytest.raises(PasswordNeeded, match="protected by a password"):
        sheets.read(data, "a.xlsx")
    with pytest.raises(PasswordNeeded, match="does not open"):
        sheets.read(data, "a.xlsx", password="小马")
    assert rows_of(data, password="小鹿") == rows_of(xlsx_of(TABLE))
    assert rows_of(sheets.decrypted(data, "小鹿")) == rows_of(xlsx_of(TABLE))


# -- workbooks ------------------------------------------------------------------------------------------


def test_row_numbers_are_those_excel_shows():
    data = xlsx(lambda _, sheet: (sheet.write(3, 2, "姓名"), sheet.write(6, 2, "许佳")))

    assert sheets.read(data, "a.xlsx")[0].rows[3:] == [
        (4, [None, None, "姓名"]),
        (5, []),
        (6, []),
        (7, [None, None, "许佳"]),
    ]


def test_cells_keep_their_types():
    def fill(book, sheet):
        sheet.write_row(0, 0, ["007", 17, 17.5, True])
        sheet.write_datetime(0, 4, datetime(2024, 3, 5), book.add_format({"num_format": "yyyy-mm-dd"}))
        sheet.write_datetime(0, 5, datetime(2024, 3, 5, 14, 5), book.add_format({"num_format": "yyyy-mm-dd hh:mm"}))

    cells = rows_of(xlsx(fill))[0]

    assert cells == ["007", 17, 17.5, True, date(2024, 3, 5), datetime(2024, 3, 5, 14, 5)]
    assert [type(c) for c in cells[:4]] == [str, int, float, bool]


@pytest.mark.parametrize("number", [*range(27, 37), *range(50, 59)])
def test_the_built_in_chinese_formats_read_as_dates(number):
    data = xlsx(lambda book, sheet: sheet.write_number(0, 0, 45356, book.add_format({"num_format": "yyyy年m月"})))
    data = changed(data, "xl/styles.xml", lambda styles: styles.replace('xf numFmtId="164"', f'xf numFmtId="{number}"'))

    cell = rows_of(data)[0][0]

    # Formats 32 to 35 and 55, 56 show a time of day or a part of a date; each is a date to Excel's eyes.
    assert isinstance(cell, date)
    assert (cell.year, cell.month, cell.day) == (2024, 3, 5)


def test_a_failed_formula_is_told_from_a_blank():
    def fill(_, sheet):
        sheet.write_row(0, 0, ["姓名", "金额"])
        sheet.write_formula(1, 1, "=1/0", None, "#DIV/0!")
        sheet.write_formula(4, 0, "=NA()", None, "#N/A")

    rows = sheets.read(xlsx(fill), "a.xlsx")[0].rows

    assert rows[1] == (2, [None, ErrorCell("#DIV/0!")])
    assert rows[4] == (5, [ErrorCell("#N/A")])


def test_a_number_shown_as_a_percentage_is_known():
    def fill(book, sheet):
        sheet.write(0, 0, 0.85, book.add_format({"num_format": "0%"}))
        sheet.write(0, 1, 0.5, book.add_format({"num_format": '0.0"%"'}))  # the sign is a mere word here
        sheet.write(0, 2, 0.125, book.add_format({"num_format": "0.0%;[Red]-0.0%"}))

    assert [type(c) for c in rows_of(xlsx(fill))[0]] == [PercentCell, float, PercentCell]


def test_formatted_but_empty_rows_are_no_rows():
    def fill(book, sheet):
        sheet.write_row(0, 0, ["姓名", "城市"])
        sheet.write_row(1, 0, ["许佳", "上海"])
        grid = book.add_format({"border": 1})
        for n in range(2, 20_000):
            sheet.write_blank(n, 0, None, grid)

    assert len(rows_of(xlsx(fill))) == 2


def test_hidden_sheets_and_rows_are_told():
    def fill(book, sheet):
        sheet.write_column(0, 0, ["姓名", "许佳", "孙莉"])
        sheet.set_row(2, None, None, {"hidden": True})
        other = book.add_worksheet("旧名单")
        other.write(0, 0, "姓名")
        other.hide()

    shown, hidden = sheets.read(xlsx(fill), "a.xlsx")

    assert (shown.hidden, hidden.hidden) == (False, True)
    assert [str(note) for note in shown.notes] == ["Hidden rows are read too: 1"]


def test_a_cell_merged_over_several_rows_speaks_for_each():
    def fill(_, sheet):
        sheet.write_row(0, 0, ["部门", "姓名"])
        sheet.merge_range(1, 0, 3, 0, "护理部")
        sheet.write_column(1, 1, ["许佳", "孙莉", "林晓雯"])

    assert rows_of(xlsx(fill))[1:] == [["护理部", "许佳"], ["护理部", "孙莉"], ["护理部", "林晓雯"]]


def ods(body):
    stream = io.BytesIO()
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    spaces = " ".join(f'xmlns:{n}="urn:oasis:names:tc:opendocument:xmlns:{n}:1.0"' for n in ("office", "table", "text"))
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", kind)
        archive.writestr(
            "META-INF/manifest.xml",
            '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
            f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/></manifest:manifest>',
        )
        archive.writestr(
            "content.xml",
            f'<office:document-content {spaces}><office:body><office:spreadsheet><table:table table:name="名单">{body}'
            "</table:table></office:spreadsheet></office:body></office:document-content>",
        )
    return stream.getvalue()


def ods_row(*texts, repeated=1, cells=1):
    told = "".join(
        f'<table:table-cell table:number-columns-repeated="{cells}" office:value-type="string"><text:p>{t}</text:p></table:table-cell>'
        for t in texts
    )
    return f'<table:table-row table:number-rows-repeated="{repeated}">{told}</table:table-row>'


def test_an_opendocument_table_is_read():
    blank = '<table:table-row table:number-rows-repeated="1048573"><table:table-cell table:number-columns-repeated="16384"/></table:table-row>'

    assert rows_of(ods(ods_row("姓名", "城市") + ods_row("许佳", "上海") + blank)) == [
        ["姓名", "城市"],
        ["许佳", "上海"],
    ]


def biff(*cells):
    """An old .xls: a compound file with one stream of records. cells -- (row, column, number or text)."""

    def record(kind, body):
        return struct.pack("<HH", kind, len(body)) + body

    def bof(what):
        return record(0x809, struct.pack("<HHHHII", 0x600, what, 0, 0, 0, 0x600))

    def cell(row, column, value):
        if isinstance(value, str):
            text = value.encode("utf-16-le")
            return record(0x204, struct.pack("<HHHHB", row, column, 0, len(value), 1) + text)
        return record(0x203, struct.pack("<HHHd", row, column, 0, value))

    sheet = bof(0x10) + b"".join(cell(*c) for c in cells) + record(0x0A, b"")
    name = "名单".encode("utf-16-le")
    start = len(bof(5)) + 4 + 8 + len(name) + 4
    bound = record(0x85, struct.pack("<IBBBB", start, 0, 0, 2, 1) + name)
    stream = bof(5) + bound + record(0x0A, b"") + sheet
    return compound("Workbook", stream)


def compound(name, stream):
    """A compound file of 512-byte sectors with one stream: header, allocation table, directory, data."""
    stream = stream.ljust(4096, b"\0")
    stream = stream.ljust(-(-len(stream) // 512) * 512, b"\0")
    count = len(stream) // 512
    fat = [0xFFFFFFFD, 0xFFFFFFFE, *(range(3, count + 2)), 0xFFFFFFFE]
    fat += [0xFFFFFFFF] * (128 - len(fat))

    def entry(title, kind, child, first, size):
        text = title.encode("utf-16-le")
        return struct.pack(
            "<64sHBBIII16sIQQIQ", text, len(text) + 2, kind, 1, 0xFFFFFFFF, 0xFFFFFFFF, child, b"", 0, 0, 0, first, size
        )

    directory = entry("Root Entry", 5, 1, 0xFFFFFFFE, 0) + entry(name, 2, 0xFFFFFFFF, 2, len(stream))
    directory = directory.ljust(512, b"\0")
    header = struct.pack(
        "<8s16sHHHHH6sIIIIIIIIII", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"", 0x3E, 3, 0xFFFE, 9, 6, b"",
        0, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0, 0,
    )  # fmt: skip
    header += struct.pack("<109I", *([0xFFFFFFFF] * 109))[4:]
    return header.ljust(512, b"\xff") + struct.pack("<128I", *fat) + directory + stream


def test_an_old_xls_is_read():
    assert rows_of(biff((0, 0, "姓名"), (0, 1, "工龄"), (1, 0, "许佳"), (1, 1, 7.0)), "a.xls") == [
        ["姓名", "工龄"],
        ["许佳", 7],
    ]


# -- limits -----------------------------------------------------------------------------------------------


def far_cell(reference):
    return changed(
        xlsx_of([["a"]]),
        "xl/worksheets/sheet1.xml",
        lambda text: re.sub(r"</sheetData>", f'<row r="9"><c r="{reference}"><v>1</v></c></row></sheetData>', text),
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        # Five kilobytes that would ask for half a terabyte and end the process.
        (lambda: far_cell("XFD1048576"), "reaches down to row 1048576"),
        (lambda: far_cell("ALM2"), "1001 columns wide"),
        (lambda: far_cell("ZZ150000"), "too much to take at once"),
        (lambda: ods(ods_row("x", repeated=1000, cells=16384)), "16384 columns wide"),
        (lambda: ods(ods_row("x") + ods_row(repeated=1048574) + ods_row("x")), "reaches down to row 1048576"),
        (lambda: biff((0, 0, 1.0), (65535, 255, 1.0)), "too much to take at once"),
        (lambda: b"a," * 1001 + b"a\n", "1002 columns wide"),
        (lambda: b"a\n" * 200_001, "reaches down to row 200001"),
    ],
)  # fmt: skip
def test_too_much_is_refused_within_seconds(make, said):
    data, start = make(), time.process_time()

    with pytest.raises(FileRefused, match=said):
        sheets.read(data, "a")

    assert time.process_time() - start < 5


def test_a_zip_bomb_is_refused_before_it_is_unpacked(monkeypatch):
    monkeypatch.setattr(limits, "MAX_UNCOMPRESSED", 2**20)
    data = changed(xlsx_of([["a"]]), "xl/worksheets/sheet1.xml", lambda text: text + " " * 2**20)

    with pytest.raises(FileRefused, match="Unpacked, the file would have more than 1 MB"):
        sheets.read(data, "a.xlsx")


def test_a_document_that_declares_entities_is_refused():
    data = changed(ods(ods_row("x")), "content.xml", lambda text: f'<!DOCTYPE a [<!ENTITY b "c">]>{text}')

    with pytest.raises(FileRefused):
        sheets.read(data, "a.ods")


@given(
    kind=st.sampled_from(["xlsx", "ods", "xls"]),
    cut=st.integers(0, 3000),
    flip=st.integers(0, 9000),
    bit=st.integers(1, 255),
)
def test_a_damaged_workbook_is_refused_and_never_crashes(kind, cut, flip, bit):
    whole = bytearray(
        {"xlsx": lambda: xlsx_of(TABLE), "ods": lambda: ods(ods_row("姓名")), "xls": lambda: biff((0, 0, "姓名"))}[
            kind
        ]()
    )
    whole[flip % len(whole)] ^= bit
    data = bytes(whole[: max(len(whole) - cut, 0)] if cut % 2 else whole)

    with contextlib.suppress(FileRefused):
        sheets.read(data, "a.xlsx")


# -- headers ------------------------------------------------------------------------------------------------

LABELS = ["工号", "姓名", "性别", "入职日期", "离职日期", "备注"]


def test_the_header_is_found_below_titles():
    sheet = sheets.read(
        delimited([["员工花名册"], ["制表日期：2024-03-05"], [], ["工号", "姓名", "性别"], ["1", "许佳", "女"]]),
        "a.csv",
    )[0]

    header = sheets.find_header(sheet, LABELS)

    assert (header.first_row_no, header.last_row_no, header.titles) == (4, 4, ["工号", "姓名", "性别"])
    assert list(sheets.body(sheet, header)) == [(5, ["1", "许佳", "女"])]


def test_a_merged_header_of_two_rows_is_joined():
    def fill(_, sheet):
        sheet.merge_range(0, 0, 0, 4, "员工花名册")
        sheet.merge_range(1, 0, 2, 0, "工号")
        sheet.merge_range(1, 1, 1, 2, "基本信息")
        sheet.merge_range(1, 3, 1, 4, "任职")
        sheet.write_row(2, 1, ["姓名", "性别", "入职日期", "离职日期"])
        sheet.write_row(3, 0, ["1", "许佳", "女", "2024-03-05"])

    sheet = sheets.read(xlsx(fill), "a.xlsx")[0]
    header = sheets.find_header(sheet, LABELS)

    assert header.titles == ["工号", "基本信息/姓名", "基本信息/性别", "任职/入职日期", "任职/离职日期"]
    assert [row_no for row_no, _ in sheets.body(sheet, header)] == [4]


def test_without_known_titles_the_first_wide_row_is_the_header():
    sheet = sheets.read(delimited([["报表"], ["甲", "乙", "丙"], ["1", "2", "3"]]), "a.csv")[0]

    assert sheets.find_header(sheet, LABELS).first_row_no == 2


def test_totals_notes_and_blank_rows_are_no_records():
    rows = [
        ["姓名", "金额"],
        ["许佳", "1"],
        ["小 计", "1"],
        [],
        ["孙莉", "2"],
        ["合计（元）", "3"],
        ["备注：数据截至三月"],
        ["制表人：王"],
    ]
    sheet = sheets.read(delimited(rows), "a.csv")[0]
    header = sheets.find_header(sheet, LABELS)

    assert [cells[0] for _, cells in sheets.body(sheet, header)] == ["许佳", "孙莉"]
    assert [(n, str(why)) for n, why in sheets.left_out(sheet, header)] == [
        (3, "Totals row"), (6, "Totals row"), (7, "Note under the table"), (8, "Note under the table"),
    ]  # fmt: skip


@pytest.mark.parametrize("lost", ["?", "\ufffd"])
def test_titles_that_lost_their_characters_are_refused_with_advice(lost):
    sheet = sheets.read(delimited([[lost * 2, lost * 3, lost * 2], ["1", "2", "3"]]), "a.csv")[0]

    with pytest.raises(FileRefused, match=r"were lost when the file was saved\. Export it again"):
        sheets.find_header(sheet, LABELS)


def test_an_empty_sheet_has_no_header():
    with pytest.raises(FileRefused, match="is empty"):
        sheets.find_header(sheets.read(xlsx(lambda *_: None), "a.xlsx")[0], LABELS)
