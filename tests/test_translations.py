"""Every sentence a person may read is there in Simplified and in Traditional Chinese."""

import importlib.util
import re
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parents[1]


def catalogue_script():
    spec = importlib.util.spec_from_file_location("catalogue", ROOT / "scripts" / "catalogue.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def told(locale: str) -> dict:
    with (ROOT / "translations" / locale / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return {m.id: m for m in read_po(file) if m.id}


def text_of(message) -> str:
    return message.string if isinstance(message.string, str) else message.string[0]


@pytest.mark.parametrize("locale", ["zh_Hans_CN", "zh_Hant_TW"])
def test_the_catalogue_holds_every_sentence_and_no_other(locale):
    assert set(told(locale)) == set(catalogue_script().messages())


@pytest.mark.parametrize("locale", ["zh_Hans_CN", "zh_Hant_TW"])
def test_every_sentence_is_translated(locale):
    bare = [message.id for message in told(locale).values() if not text_of(message) or message.fuzzy]

    assert bare == []


@pytest.mark.parametrize("locale", ["zh_Hans_CN", "zh_Hant_TW"])
def test_placeholders_survive_translation(locale):
    def placeholders(text):
        return set(re.findall(r"%\((\w+)\)[sd]", text))

    wrong = [
        message.id
        for message in told(locale).values()
        if placeholders(text_of(message)) != placeholders(message.id if isinstance(message.id, str) else message.id[0])
    ]

    assert wrong == []


def test_chinese_sentences_speak_chinese():
    spelt_the_same = [
        m.id for m in told("zh_Hans_CN").values() if text_of(m) == m.id and re.search("[a-z]{4} [a-z]{3}", str(m.id))
    ]

    assert spelt_the_same == []
