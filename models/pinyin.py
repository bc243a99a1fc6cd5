"""How Chinese names sound: pinyin with surnames read as surnames, and folding for comparison."""

import unicodedata
from functools import cache, lru_cache
from typing import Any

import opencc
from pypinyin import Style, lazy_pinyin

# Characters that sound otherwise as a surname. pypinyin reads compound surnames rightly by itself.
SURNAMES = {
    "单": "shan", "曾": "zeng", "仇": "qiu", "解": "xie", "查": "zha", "朴": "piao", "区": "ou", "盖": "ge", "秘": "bi",
    "冼": "xian", "折": "she", "黑": "he", "繁": "po", "逄": "pang", "员": "yun", "乜": "nie", "缪": "miao", "宓": "mi",
    "覃": "qin", "佴": "nai", "洗": "xian", "祭": "zhai", "都": "du", "占": "zhan", "种": "chong", "乐": "yue", "召": "shao",
    "翟": "zhai", "尉": "wei", "隗": "wei", "郇": "xun", "牟": "mu", "谌": "chen", "幺": "yao", "哈": "ha", "那": "na",
    "褚": "chu", "晟": "cheng", "句": "gou", "燕": "yan", "任": "ren", "华": "hua", "宁": "ning", "车": "che", "石": "shi",
}  # fmt: skip
_COMPOUND = {
    "尉迟": "yuchi",
    "万俟": "moqi",
    "长孙": "zhangsun",
    "单于": "chanyu",
    "令狐": "linghu",
    "澹台": "tantai",
}


@cache
def _simplifier() -> opencc.OpenCC:
    return opencc.OpenCC("t2s")


@lru_cache(maxsize=50_000)
def fold(text: str) -> str:
    """*text* as it is compared: full-width and case folded, traditional characters made simplified."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _simplifier().convert(folded) if any("\u3400" <= c <= "\u9fff" for c in folded) else folded


def is_chinese(text: str) -> bool:
    return any("\u3400" <= c <= "\u9fff" for c in text)


def _letters(rest: str) -> Any:
    return list(rest)


@lru_cache(maxsize=50_000)
def readings(name: str) -> tuple[tuple[str, ...], ...]:
    """The ways a folded Chinese name is read, syllable by syllable: as a person's name first, then as plain words."""
    plain = tuple(lazy_pinyin(name, style=Style.NORMAL, errors=_letters))
    for surname, sound in _COMPOUND.items():
        if name.startswith(surname):
            return tuple(dict.fromkeys((_split(sound, surname) + plain[2:], plain)))
    sound = SURNAMES.get(name[:1], "")
    return tuple(dict.fromkeys(((sound, *plain[1:]), plain))) if sound else (plain,)


def _split(sound: str, surname: str) -> tuple[str, ...]:
    first = lazy_pinyin(surname)[0]
    for cut in range(1, len(sound)):
        if sound[:cut] in {first, "yu", "mo", "zhang", "chan", "ling", "tan"}:
            return sound[:cut], sound[cut:]
    return (sound,)


def sort_key(name: str) -> str:
    """A key that orders Chinese names by their sound."""
    return " ".join(readings(fold(name))[0])
