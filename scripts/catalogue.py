"""Bring the catalogues up to the sentences of the code: `python scripts/catalogue.py`.

Sentences come from the sources (gettext, N_ and friends) and from what models declare: the labels of
models, fields, transitions and their parameters, many of which are only the words of a name. zh_Hans is
written by people; zh_Hant is made from it, character by character and word by word, with what its own
file of exceptions says otherwise.
"""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import opencc  # noqa: E402
import sqlalchemy as sa  # noqa: E402
from babel.messages.catalog import Catalog  # noqa: E402
from babel.messages.extract import extract_from_dir  # noqa: E402
from babel.messages.pofile import read_po, write_po  # noqa: E402

from admin_views.generated import area_of  # noqa: E402
from models import fields, workflow  # noqa: E402
from models.base import Model  # noqa: E402

TRANSLATIONS = ROOT / "translations"
SIMPLIFIED = TRANSLATIONS / "zh_Hans_CN" / "LC_MESSAGES" / "messages.po"
TRADITIONAL = TRANSLATIONS / "zh_Hant_TW" / "LC_MESSAGES" / "messages.po"
EXCEPTIONS = TRANSLATIONS / "zh_Hant_TW" / "exceptions.toml"
KEYWORDS = {"_": None, "gettext": None, "N_": None, "lazy_gettext": None, "ngettext": (1, 2)}
SOURCES = [
    ("models/**.py", "python"),
    ("admin_views/**.py", "python"),
    ("app.py", "python"),
    ("templates/**.html", "jinja2"),
]

Message = str | tuple[str, str]


def in_sources() -> Iterator[Message]:
    """Every sentence marked in Python and templates; plurals as pairs."""
    options = {"templates/**.html": {"extensions": "jinja2.ext.do", "silent": "false"}}
    for name in ("models", "admin_views", "templates"):
        found = extract_from_dir(
            str(ROOT / name),
            [("**.py", "python"), ("**.html", "jinja2")],
            {"**.html": options["templates/**.html"]},
            KEYWORDS,
        )
        for _, _, message, _, _ in found:
            yield message


def in_models() -> Iterator[str]:
    """Every label that follows from a declaration."""
    for model in fields.models():
        yield fields.label_of(model)
        yield area_of(model)
        for field in fields.fields_of(model):
            yield field.label
            if field.help:
                yield field.help
        for transition in workflow.transitions_of(model):
            yield transition.label
            yield from (text for text in (transition.help, transition.confirm) if text)
            yield from (p.label for p in workflow.parameters_of(model, transition.name))
        yield from _sentences_of_checks(model)


def _sentences_of_checks(model: type[Model]) -> Iterator[str]:
    for constraint in model.__table__.constraints:
        # That a choice is a known one is judged long before the database is asked.
        if isinstance(constraint, sa.CheckConstraint) and not str(constraint.name).endswith("_is_known"):
            yield workflow.words(str(constraint.name).removeprefix(f"ck_{model.__tablename__}_"))


def messages() -> list[Message]:
    """Every sentence a person may read, once, in a stable order."""
    return sorted({*in_sources(), *in_models()}, key=lambda m: m if isinstance(m, str) else m[0])


def _read(path: Path) -> Catalog:
    if not path.exists():
        return Catalog()
    with path.open("rb") as file:
        return read_po(file)


def _write(path: Path, told: dict[Message, str | tuple[str, ...]], locale: str) -> None:
    catalogue = Catalog(locale=locale, project="Kanghu", version="0.1", fuzzy=False)
    for message, text in told.items():
        catalogue.add(message, text, flags=("python-format",) if "%(" in str(message) else ())
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_po(file, catalogue, width=0, omit_header=False, sort_output=True)


def update() -> list[Message]:
    """Write both catalogues anew and return the sentences that have no Chinese yet."""
    known = {m.id: m.string for m in _read(SIMPLIFIED) if m.id and any(m.string)}
    told = {message: known.get(message, "") for message in messages()}
    _write(SIMPLIFIED, told, "zh_Hans_CN")
    exceptions = tomllib.loads(EXCEPTIONS.read_text()) if EXCEPTIONS.exists() else {}
    convert = opencc.OpenCC("s2tw").convert
    words = exceptions.get("words", {})

    def traditional(text: str) -> str:
        text = convert(text)
        for ours, theirs in words.items():
            text = text.replace(ours, theirs)
        return text.replace("“", "「").replace("”", "」")

    whole = exceptions.get("messages", {})
    _write(
        TRADITIONAL,
        {
            m: whole.get(m, traditional(t)) if isinstance(t, str) else tuple(traditional(x) for x in t)
            for m, t in told.items()
        },
        "zh_Hant_TW",
    )
    return [
        message for message, text in told.items() if not text or not all(text if isinstance(text, tuple) else (text,))
    ]


if __name__ == "__main__":
    missing = update()
    for message in missing:
        print(message)
    sys.exit(bool(missing))
