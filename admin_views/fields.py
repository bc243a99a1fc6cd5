"""Form fields, one kind each: chosen by what the model declares, read by the parser that files are read by."""

from collections.abc import Sequence
from typing import Any

from flask import url_for
from flask_babel import gettext
from markupsafe import Markup
from wtforms import fields as wtf
from wtforms import validators, widgets
from wtforms.fields.choices import Choice as ShownChoice
from wtforms.fields.choices import SelectChoice

from models import values
from models.base import Model
from models.choices import Choice
from models.errors import RuleBroken
from models.fields import Field
from models.parsing import parse
from models.policy import Level
from models.workflow import Parameter

from . import cells, language
from .extensions import db

Spec = Field | Parameter


class KindField(wtf.StringField):
    """Text that stands for a value of one kind; a refusal of the parser is the field's error."""

    def __init__(self, *args: Any, spec: Spec, kind: str, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.spec, self.kind = spec, kind
        if kind in {"note", "json"}:
            self.widget = widgets.TextArea()

    def _value(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        return cells.raw(self.spec, self.data)  # type: ignore[arg-type]

    def process_formdata(self, valuelist: Sequence[str]) -> None:
        if not valuelist:
            return
        try:
            self.data = parse(self.spec, valuelist[0])  # type: ignore[arg-type]
        except RuleBroken as broken:
            raise ValueError(language.tell(broken)) from None


class ChoiceField(wtf.SelectField):
    """One of a model's choices, or none of them where that is allowed."""

    def __init__(self, *args: Any, options: type[Choice] | None, optional: bool, **kw: Any) -> None:
        self.members = {m.value: m for m in options} if options is not None else {"yes": True, "no": False}
        told = [
            (v, gettext(m.label) if isinstance(m, Choice) else gettext("Yes") if m else gettext("No"))
            for v, m in self.members.items()
        ]
        blank = [SelectChoice("", "—")] if optional else []
        super().__init__(
            *args, choices=blank + [SelectChoice(v, label) for v, label in told], validate_choice=False, **kw
        )
        self.kind = "choice"

    def process_data(self, value: Any) -> None:
        self.data = (
            None if value is None else str(getattr(value, "value", {True: "yes", False: "no"}.get(value, value)))
        )

    def process_formdata(self, valuelist: Sequence[str]) -> None:
        if not valuelist:
            return
        if valuelist[0] and valuelist[0] not in self.members:
            raise ValueError(gettext("“%(value)s” is not one of the choices.", value=valuelist[0][:60]))
        self.data = valuelist[0] or None

    @property
    def member(self) -> Any:
        return self.members.get(self.data) if self.data else None

    def iter_choices(self) -> Any:
        for choice in self.choices:
            yield ShownChoice(choice.value, choice.label, choice.value == (self.data or ""), {})


class _Switch(widgets.CheckboxInput):
    """A check box with a hidden input before it, so that "off" is posted and differs from "not asked"."""

    def __call__(self, field: Any, **kw: Any) -> Markup:
        return Markup('<input type="hidden" name="{}" value="">').format(field.name) + super().__call__(field, **kw)


class BooleanField(wtf.BooleanField):
    widget = _Switch()
    kind = "bool"

    def process_formdata(self, valuelist: Sequence[str]) -> None:
        if valuelist:
            self.data = valuelist[-1] not in self.false_values


class RelationField(wtf.Field):
    """A record chosen by look-up: holds the record, posts its number."""

    kind = "relation"

    def __init__(self, *args: Any, target: type[Model], lookup_url: str, **kw: Any) -> None:
        self.target, self.lookup_url = target, lookup_url
        super().__init__(*args, **kw)
        self.widget = widgets.TextInput()

    @property
    def current(self) -> tuple[int, str] | None:
        return (self.data.id, language.title(self.data)) if self.data is not None else None

    def _value(self) -> str:
        return str(self.data.id) if self.data is not None else ""

    def process_formdata(self, valuelist: Sequence[str]) -> None:
        if not valuelist:
            return
        raw = valuelist[0].strip()
        if not raw:
            self.data = None
            return
        found = db.session.get(self.target, int(raw)) if raw.isascii() and raw.isdigit() and len(raw) < 10 else None
        if found is None:
            raise ValueError(gettext("This record does not exist or is out of your sight: choose one from the list."))
        self.data = found


def unbound(spec: Spec, *, required: bool, lookup_url: str = "", description: str | None = None) -> Any:
    """The form field for *spec*, a column of a model or a parameter of a transition."""
    checks = [validators.InputRequired(gettext("Fill this in."))] if required else []
    about = {
        "label": gettext(spec.label),
        "validators": checks,
        "description": gettext(description) if description else "",
    }
    if spec.kind == "choice":
        return ChoiceField(options=_choices(spec), optional=not required or _starts_blank(spec), **about)
    if spec.kind == "bool":
        if not required and _may_be_unknown(spec):
            return ChoiceField(options=None, optional=True, **about)
        return BooleanField(label=about["label"], description=about["description"])
    if spec.kind == "relation":
        target = spec.target if isinstance(spec, Field) else spec.type
        return RelationField(target=target, lookup_url=lookup_url, **about)
    return KindField(spec=spec, kind=spec.kind, **about)


def _choices(spec: Spec) -> type[Choice]:
    chosen = spec.choices if isinstance(spec, Field) else spec.type
    assert chosen is not None
    return chosen  # type: ignore[return-value]


def _starts_blank(spec: Spec) -> bool:
    """A required choice without a default is asked, not presumed."""
    return not isinstance(spec, Field) or spec.column.default is None


def _may_be_unknown(spec: Spec) -> bool:
    return isinstance(spec, Field) and bool(spec.column.nullable)


def value_of(field: wtf.Field) -> Any:
    """What a field holds, as the model keeps it."""
    return field.member if isinstance(field, ChoiceField) else field.data


def posted(field: wtf.Field) -> str:
    """What a field would post, for telling whether somebody changed it; line ends do not count."""
    if isinstance(field, BooleanField):
        return "1" if field.data else ""
    if isinstance(field, ChoiceField):
        return field.data or ""
    return str(field._value()).replace("\r\n", "\n").replace("\r", "\n").strip()


def hide(field: wtf.Field, spec: Field, level: Level, value: Any) -> None:
    """Show the mask of a secret value in place of the input; it is posted only after it was asked for."""
    field.masked = values.mask(spec.kind, value)
    field.reveal_url = url_for(f"{spec.model.__tablename__}.reveal") if level is Level.REVEAL else ""


def lock(field: wtf.Field, reason: str) -> None:
    field.locked_reason = reason
