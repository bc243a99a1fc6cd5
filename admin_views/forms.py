"""Forms made from declarations: of a record's fields, and of a transition's parameters."""

from collections.abc import Mapping
from typing import Any

from flask import url_for
from flask_babel import gettext
from werkzeug.datastructures import MultiDict
from wtforms.form import BaseForm

from models import policy, workflow
from models.base import Model
from models.errors import RuleBroken
from models.fields import Field, own_fields
from models.flush import default_of
from models.policy import Level, Subject

from . import fields, language
from .extensions import db


class RecordForm(BaseForm):  # type: ignore[misc]
    """The form of one record: it writes what its user changed and nothing else.

    Whether something was changed is told by comparing what was posted with what was shown: values
    that a form cannot hold to the last digit (seconds, line ends) survive a save.
    """

    def __init__(
        self, model: type[Model], subject: Subject, record: Model | None, given: MultiDict[str, str] | None
    ) -> None:
        self.model, self.subject, self.record, self.given = model, subject, record, given
        self.specs = {
            f.key: f for f in own_fields(model) if f.writable and policy.level_of(subject, f) is not Level.HIDDEN
        }
        super().__init__({key: self._unbound(spec) for key, spec in self.specs.items()})
        self._present = {key: self._value(spec) for key, spec in self.specs.items()}
        self.process(given, data=self._present)
        for key, spec in self.specs.items():
            self._veil(self[key], spec)

    def _unbound(self, spec: Field) -> Any:
        table = self.model.__tablename__
        return fields.unbound(
            spec,
            required=spec.required,
            description=spec.help,
            lookup_url=url_for(f"{table}.ajax_lookup", name=spec.key),
        )

    def _value(self, spec: Field) -> Any:
        if self.record is None:
            return default_of(spec.column)
        return getattr(self.record, spec.key)

    def _veil(self, field: Any, spec: Field) -> None:
        level = policy.level_of(self.subject, spec)
        value = self._present[spec.key]
        if self.record is not None and value not in (None, "") and level in {Level.MASKED, Level.REVEAL}:
            fields.hide(field, spec, level, value)
            if level is Level.MASKED and not self._was_posted(spec.key):
                field.locked_reason = gettext("Your role sees this masked; ask somebody who may see it to change it.")

    def _was_posted(self, key: str) -> bool:
        return self.given is not None and key in self.given

    def prefill(self, args: MultiDict[str, str]) -> None:
        """Take values from an address such as ``new/?client=12``; what does not fit is left out."""
        wanted = MultiDict((key, value) for key, value in args.items(multi=True) if key in self.specs)
        for key in wanted:
            self[key].process(wanted, self._present[key])
            if self[key].process_errors:
                self[key].process(None, self._present[key])

    def validate(self) -> bool:
        """Check what was posted; fields that were not posted are not asked for in the form of a kept record."""
        sound = True
        for key in self.specs:
            if self.record is not None and not self._was_posted(key):
                continue
            sound = self[key].validate(self) and sound
        return sound

    def opened_with(self, replaced: Mapping[str, Any]) -> "RecordForm":
        """The form as it was shown before the values in *replaced* (by attribute) gave way to the present ones."""
        form = RecordForm(self.model, self.subject, self.record, None)
        for key, spec in self.specs.items():
            if spec.attr in replaced:
                value = replaced[spec.attr]
                if spec.target is not None and value is not None:
                    value = db.session.get(spec.target, value)
                form[key].process(None, value)
        return form

    def changes(self, shown: "RecordForm | None" = None) -> dict[str, Any]:
        """The values the user changed, by key; *shown* -- the form they changed, by default that of the present."""
        if self.record is None:
            return {k: fields.value_of(self[k]) for k in self.specs if fields.value_of(self[k]) is not None}
        shown = shown or self.opened_with({})
        return {
            key: fields.value_of(self[key])
            for key in self.specs
            if self._was_posted(key) and fields.posted(self[key]) != fields.posted(shown[key])
        }

    def differs(self, other: "RecordForm", key: str) -> bool:
        """Whether two forms show different values of one field."""
        return fields.posted(self[key]) != fields.posted(other[key])

    def apply(self, record: Model, changed: Mapping[str, Any] | None = None) -> None:
        """Write the changes to *record*."""
        for key, value in (self.changes() if changed is None else changed).items():
            write(record, self.specs[key], value)

    def blame(self, broken: RuleBroken) -> bool:
        """Put a refusal beside the field it speaks of; False when there is no such field here."""
        name = (broken.field or "").removesuffix("_id")
        for key in (broken.field, name):
            if key in self.specs:
                self[key].errors = [*self[key].errors, language.tell(broken)]
                return True
        return False


def write(record: Model, spec: Field, value: Any) -> None:
    """Set one field: a relation together with its key, so that rules see both alike."""
    if spec.target is not None:
        setattr(record, spec.attr, value.id if value is not None else None)
    setattr(record, spec.key, value)


class ActForm(BaseForm):  # type: ignore[misc]
    """The form of a transition: one field per parameter of its method."""

    def __init__(self, model: type[Model], name: str, given: MultiDict[str, str] | None) -> None:
        self.parameters = workflow.parameters_of(model, name)
        table = model.__tablename__
        super().__init__(
            {
                p.name: fields.unbound(
                    p, required=p.required, lookup_url=url_for(f"{table}.ajax_lookup", name=f"{name}.{p.name}")
                )
                for p in self.parameters
            }
        )
        self.process(given, data={p.name: p.default for p in self.parameters})

    def arguments(self) -> dict[str, Any]:
        return {p.name: fields.value_of(self[p.name]) for p in self.parameters}

    def blame(self, broken: RuleBroken) -> bool:
        if broken.field in self._fields:
            self[broken.field].errors = [*self[broken.field].errors, language.tell(broken)]
            return True
        return False
