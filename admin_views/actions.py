"""A button per transition: of one record, of chosen rows, and the form when it asks for something."""

from collections.abc import Iterable
from typing import Any

from flask import abort, flash, g, redirect, request
from flask_admin import expose
from flask_babel import gettext, ngettext
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import StaleDataError

from models import journal, policy, recycling, workflow
from models.base import Model
from models.choices import N_
from models.errors import RuleBroken
from models.workflow import Transition

from . import language, pages
from .extensions import db
from .forms import ActForm
from .refusals import explain

MOST_RECORDS = 1000
DELETE = "delete"


class Acts:
    """The part of a generated view that does things to records."""

    model: type[Model]

    def menu_of(self, record: Model) -> list[dict[str, Any]]:
        """What may be done with one row: links, buttons, and what may not with its reason."""
        told: list[dict[str, Any]] = [
            {"kind": "link", "label": gettext("Open"), "url": self.at("details_view", id=record.id), "icon": "eye"}  # type: ignore[attr-defined]
        ]
        edit = policy.decide(g.principal, "edit", record)
        told.append(self._menu_item(gettext("Edit"), "pencil", edit, self.at("edit_view", id=record.id), link=True))  # type: ignore[attr-defined]
        for button in pages.buttons_for(record, g.principal):
            told.append(
                {
                    "kind": ("link" if button.needs_form else "post") if button.allowed else "disabled",
                    "label": button.label,
                    "url": button.url,
                    "icon": "arrow-right",
                    "tone": button.tone,
                    "confirm": button.confirm,
                    "reason": button.reason,
                    "values": {"name": button.name},
                }
            )
        bin_url = self.at("delete_view", id=record.id)  # type: ignore[attr-defined]
        item = self._menu_item(
            gettext("Delete"), "trash", policy.decide(g.principal, "delete", record), bin_url, link=False
        )
        item |= {"tone": "red", "confirm": gettext("Delete “%(record)s”?", record=language.title(record))}
        return [*told, item]

    def _menu_item(self, label: str, icon: str, decision: policy.Decision, url: str, *, link: bool) -> dict[str, Any]:
        kind = ("link" if link else "post") if decision else "disabled"
        reason = "" if decision else language.sentence(decision.reason, decision.params)
        return {"kind": kind, "label": label, "icon": icon, "url": url, "reason": reason, "values": {}}

    # -- one door for all of them -------------------------------------------------------------------------

    @expose("/act/")
    def act(self) -> Any:
        """The form of a transition that asks for something."""
        records = self._chosen(request.args.getlist("id"))
        return self._ask(self._transition(request.args.get("name", "")), records, None, [])

    @expose("/action/", methods=("POST",))
    def action_view(self) -> Any:
        """Do one act to one record or to every chosen one."""
        ids = request.form.getlist("id") or request.args.getlist("id")
        name = request.form.get("name", "")
        records = self._chosen(ids)
        if name == DELETE:
            return self._done(
                gettext("Delete"), *self._each(records, _recycle, journal.Act.RECYCLE, None), len(records)
            )
        spec = self._transition(name)
        asks = workflow.parameters_of(self.model, name)
        if asks and "apply" not in request.form:
            return self._ask(spec, records, None, [])
        form = ActForm(self.model, name, request.form) if asks else None
        if form is not None and not form.validate():
            return self._ask(spec, records, form, [])
        given = form.arguments() if form is not None else {}
        done, refused = self._each(records, lambda r: getattr(r, name)(**given), journal.Act.TRANSITION, spec.label)
        if form is not None and len(records) == 1 and refused:
            problem = refused[0][1]
            errors = [] if form.blame(problem) else [language.tell(problem)]
            return self._ask(spec, self._chosen(ids), form, errors)
        return self._done(gettext(spec.label), done, refused, len(records))

    def _chosen(self, ids: Iterable[str]) -> list[Model]:
        wanted = list(dict.fromkeys(ids))[:MOST_RECORDS]
        records = [record for raw in wanted if (record := self.get_one(raw)) is not None]  # type: ignore[attr-defined]
        if not records:
            abort(404)
        return records

    def _transition(self, name: str) -> Transition:
        spec = workflow.transition_named(self.model, name)
        if spec is None or spec.by_clock:
            abort(404)
        policy.require(g.principal, name, self.model)
        return spec

    def _each(
        self, records: list[Model], do: Any, kind: journal.Act, label: str | None
    ) -> tuple[int, list[tuple[int, RuleBroken]]]:
        """Do it record by record, each in a savepoint of one operation; a refusal stops none of the others."""
        ids, done, refused = [r.id for r in records], 0, []
        journal.begin(db.session(), kind, label=label, table=self.model.__tablename__)
        for number in ids:
            try:
                with db.session.begin_nested():
                    record = self.get_one(number)  # type: ignore[attr-defined]
                    if record is None:
                        raise RuleBroken(N_("This record is no longer there."))
                    do(record)
                done += 1
            except StaleDataError:
                refused.append((number, RuleBroken(N_("Somebody changed this record at the same moment: try again."))))
            except (RuleBroken, IntegrityError) as problem:
                refused.append((number, explain(problem, self.model)))
        db.session.commit()
        return done, refused

    def _done(self, label: str, done: int, refused: list[tuple[int, RuleBroken]], asked: int) -> Any:
        if asked == 1:
            number = request.form.get("id") or request.args.get("id")
            if refused:
                flash(language.tell(refused[0][1]), "error")
            else:
                flash(gettext("%(act)s: done.", act=label), "success")
            gone = self.get_one(number) is None  # type: ignore[attr-defined]
            return redirect(self.at("index_view") if gone else self.at("details_view", id=number))  # type: ignore[attr-defined]
        if not refused:
            flash(
                ngettext("%(act)s: done to %(num)s record.", "%(act)s: done to %(num)s records.", done, act=label),
                "success",
            )
            return redirect(self.at("index_view"))  # type: ignore[attr-defined]
        told = {
            "title": label,
            "done": done,
            "refused": [self._refusal(*one) for one in refused],
            "list_url": self.at("index_view"),
        }  # type: ignore[attr-defined]
        return self.render("admin/model/act_result.html", act=told, crumb=label)  # type: ignore[attr-defined]

    def _refusal(self, number: int, broken: RuleBroken) -> tuple[str, str, str]:
        record = self.get_one(number)  # type: ignore[attr-defined]
        title = language.title(record) if record is not None else f"#{number}"
        return title, self.at("details_view", id=number), language.tell(broken)  # type: ignore[attr-defined]

    def _ask(self, spec: Transition, records: list[Model], form: ActForm | None, errors: list[str]) -> Any:
        failed = bool(errors or (form is not None and any(f.errors for f in form)))
        form = form if form is not None else ActForm(self.model, spec.name, None)
        first = records[0]
        told = {
            "title": gettext(spec.label),
            "records": [(language.title(r), self.at("details_view", id=r.id)) for r in records],  # type: ignore[attr-defined]
            "count": len(records),
            "tone": spec.tone,
            "submit_label": gettext(spec.label),
            "url": self.at("action_view"),  # type: ignore[attr-defined]
            "cancel_url": self.at("details_view", id=first.id) if len(records) == 1 else self.at("index_view"),  # type: ignore[attr-defined]
            "hidden": [("name", spec.name), ("apply", "1"), *(("id", r.id) for r in records)],
            "explain": gettext(spec.help) if spec.help else "",
            "form": form,
            "errors": errors,
        }
        return self.render("admin/model/act.html", act=told, crumb=told["title"]), 422 if failed else 200  # type: ignore[attr-defined]


def _recycle(record: Model) -> None:
    policy.require(g.principal, DELETE, record)
    recycling.recycle(record)
