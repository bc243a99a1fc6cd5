"""Every sentence a person may read is there in Simplified and in Traditional Chinese."""

import functools
import importlib.util
import re
from pathlib import Path

import opencc
import pytest
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parents[1]
SIMPLIFIED, TRADITIONAL = "zh_Hans_CN", "zh_Hant_TW"

both_catalogues = pytest.mark.parametrize("locale", [SIMPLIFIED, TRADITIONAL])

# Latin words that a Chinese sentence keeps: names of products, formats, bodies and fingerprints.
NAMES = {
    *("CSV", "UTF-8", "PDF", "RTF", "XML", "HTML", "MHTML", "JSON", "SHA-256", "WPS", "Excel", "MB"),
    *("xls", "xlsx", "xlsb", "KPI", "PIN", "WeChat", "Apgar", "Chrome", "Safari", "Firefox", "Caps", "Lock"),
}
# Blood types, units, codes of diagnoses and last digits: short, and never a word.
SHORT = re.compile(r"(?:A|B|AB|O|g|kg|cm|X|F\d\d|f)")
# What a field holds, shown as it is typed.
TYPED = {"delivery=vaginal,forceps"}

# Never written in Traditional Chinese. Those that also are characters of their own there
# (后, 里, 面, 只, 台, 系, 准 …) are judged by the words below.
SIMPLIFIED_ONLY = frozenset(
    "们这为对请户间单项择录过还没时门员业务长专计说话该则须护术岗团组训处报应无数据条开关闭与东两严丧个临丽举"
    "义乐习书买乱争亏产亲亿仅从仓仪价众优会伤传体侧债储儿兴养写军农决况冻净减击刘创删刹剂办动励劳势医华协历压"
    "县双发变号听启响唤问园围图国圆场坏块坚声备复够头夸奖妇娱孙学宁宝实审宾导将层属岁币师帮广庆库废异弃张弥归"
    "当态怀总恶惊戏战扩扫担拟换损摄摆敌断旧显机杂权构标栏树样档检楼欢残毕汇汉沟济测浏涨温湿滞满灭灵热爱牵状犹"
    "独环现电疗盖监盘码础确礼离种积称稳窝笔签简类粮约级纪纯纸纹纳线练细终经结给络绝统继绩续维编缓网罗罚职联聪"
    "脑脱节药获营虑见规视览觉触认议讯记讲许论设访证评识诉词译试诚询详语误谁调谈谢谱贝负贡财责败账质购贴费资赔"
    "赞践轻载较输边达迁运进远连迟适选递遗邮释鉴针钟钱销错锁键闲闻阅队阳阶际陆险随难预顾顿领题额风饭饮馆验龄"
)

HOUSE = {
    "帳號": ("賬號", "帐號", "賬户"),
    "複核": ("復核", "覆核", "複覈"),
    "複查": ("復查", "覆查"),
    "複評": ("復評", "覆評"),
    "恢復": ("恢複", "恢覆"),
    "答覆": ("答復", "答複"),
    "重複": ("重復", "重覆"),
    "諮詢": ("咨詢", "谘詢"),
    "信息": ("資訊", "訊息"),
    "後台": ("后台", "後臺"),
    "須": ("鬚",),
    "沖正": ("衝正", "冲正"),
    "核": ("覈",),
}


@functools.cache
def catalogue_script():
    """scripts/ is no package, so its module is loaded by its path."""
    spec = importlib.util.spec_from_file_location("kanghu_catalogue", ROOT / "scripts" / "catalogue.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def told(locale: str) -> dict:
    with (ROOT / "translations" / locale / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return {m.id: m for m in read_po(file) if m.id}


def forms(text: str | tuple[str, ...] | list[str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)


def texts(locale: str) -> list[str]:
    return [text for message in told(locale).values() for text in forms(message.string)]


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"%\(\w+\)[a-z]", text))


def bare(text: str) -> str:
    return re.sub(r"%\(\w+\)[a-z]", " ", text)


@both_catalogues
def test_the_catalogue_holds_every_sentence_and_no_other(locale):
    assert set(told(locale)) == set(catalogue_script().messages())


@both_catalogues
def test_every_sentence_is_translated(locale):
    missing = [m.id for m in told(locale).values() if m.fuzzy or not all(forms(m.string))]

    assert missing == []


@both_catalogues
def test_placeholders_survive_translation(locale):
    wrong = [
        (m.id, text)
        for m in told(locale).values()
        for text in forms(m.string)
        if placeholders(text) != placeholders(forms(m.id)[-1])
    ]

    assert wrong == []


@both_catalogues
def test_percent_signs_stay_as_many_as_python_needs(locale):
    """A lone % beside a placeholder breaks the page that shows the sentence."""
    wrong = [
        text
        for m in told(locale).values()
        for text in forms(m.string)
        if placeholders(text) and re.search(r"%(?!%|\(\w+\)[a-z])", text.replace("%%", ""))
    ]

    assert wrong == []


@both_catalogues
def test_a_sentence_stays_on_one_line(locale):
    assert [text for text in texts(locale) if "\n" in text or text != text.strip()] == []


def test_chinese_sentences_speak_chinese():
    def leftovers(text: str) -> list[str]:
        for typed in TYPED:
            text = text.replace(typed, "")
        words = re.findall(r"[A-Za-z][A-Za-z0-9]*(?:-\d+)?", bare(text))
        return [word for word in words if word not in NAMES and not SHORT.fullmatch(word)]

    assert {text: found for text in texts(SIMPLIFIED) if (found := leftovers(text))} == {}


@both_catalogues
def test_nobody_is_addressed_ceremoniously(locale):
    assert [text for text in texts(locale) if "您" in text] == []


@both_catalogues
def test_punctuation_is_full_width_after_chinese(locale):
    assert [text for text in texts(locale) if re.search(r"[\u4e00-\u9fff”」][,;:?!]|[\u4e00-\u9fff]\.", text)] == []


def test_quotes_follow_the_script():
    assert [text for text in texts(SIMPLIFIED) if set(text) & set('「」『』"')] == []
    assert [text for text in texts(TRADITIONAL) if set(text) & set('“”"')] == []


def test_traditional_has_no_simplified_characters():
    assert {text: found for text in texts(TRADITIONAL) if (found := SIMPLIFIED_ONLY & set(text))} == {}


def test_simplified_has_no_traditional_characters():
    convert = opencc.OpenCC("t2s").convert

    assert [text for text in texts(SIMPLIFIED) if convert(text) != text] == []


@pytest.mark.parametrize(("right", "wrong"), HOUSE.items(), ids=HOUSE)
def test_traditional_follows_the_house(right, wrong):
    assert [text for text in texts(TRADITIONAL) if any(word in text for word in wrong)] == []


def test_traditional_is_what_simplified_and_its_exceptions_make(tmp_path, monkeypatch):
    """Nobody edits the Traditional catalogue by hand: the next collecting would drop it."""
    script = catalogue_script()
    before = {m.id: m.string for m in told(TRADITIONAL).values()}
    simplified = tmp_path / "hans.po"
    simplified.write_bytes(script.SIMPLIFIED.read_bytes())
    monkeypatch.setattr(script, "SIMPLIFIED", simplified)
    monkeypatch.setattr(script, "TRADITIONAL", tmp_path / "hant.po")

    assert script.update() == []
    assert {m.id: m.string for m in script._read(script.TRADITIONAL) if m.id} == before
