"""The view every model gets by being declared: list, details, forms, cells, look-ups, the bin."""

import sys
from typing import Any

from flask import abort, flash, g, jsonify, redirect, request
from flask_admin import expose
from flask_admin.model import BaseModelView
from flask_babel import gettext, lazy_gettext
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm.exc import StaleDataError
from werkzeug.datastructures import MultiDict
from wtforms.form import Form

from models import fields as declared
from models import journal, policy, recycling, search, workflow
from models.base import Model
from models.choices import N_
from models.errors import RuleBroken
from models.fields import Field
from models.policy import Level

from . import cells, fields, history, language, listing, pages
from .actions import Acts
from .exports import Exports
from .extensions import db
from .forms import RecordForm, write
from .imports import Imports
from .refusals import explain


class GeneratedView(Acts, Imports, Exports, BaseModelView):  # type: ignore[misc]
    """Screens for one model; nothing here knows which.

    Flask-Admin gives routing, endpoints and addresses. What its stock views do with the database
    is done here on the session, which narrows, permits, checks and journals (see docs/decisions).
    """

    def __init__(self, model: type[Model]) -> None:
        super().__init__(
            model,
            name=lazy_gettext(declared.label_of(model)),
            category=lazy_gettext(area_of(model)),
            endpoint=model.__tablename__,
        )

    # -- what Flask-Admin asks of a backend; its own screens are all replaced below -------------------

    def get_pk_value(self, model: Model) -> int:
        return model.id

    def scaffold_list_columns(self) -> list[str]:
        return [f.key for f in declared.list_fields(self.model)]

    def scaffold_sortable_columns(self) -> dict[str, str]:
        return {f.key: f.attr for f in declared.own_fields(self.model) if f.sortable}

    def scaffold_form(self) -> type[Form]:
        return Form

    def scaffold_list_form(self, *_args: Any, **_kw: Any) -> type[Form]:
        return Form

    def init_search(self) -> bool:
        return bool(search.searchable_fields(self.model))

    def get_one(self, id: Any) -> Model | None:
        """The record with the number *id* if the person may see it; a foreign one is as good as none."""
        raw = str(id)
        if not (raw.isascii() and raw.isdigit()) or len(raw) > 9:
            return None
        record: Model | None = db.session.get(self.model, int(raw))
        return record

    def is_accessible(self) -> bool:
        return bool(policy.decide(g.get("principal"), "view", self.model))

    def inaccessible_callback(self, name: str, **kwargs: Any) -> Any:
        raise policy.decide(g.get("principal"), "view", self.model).refuse()

    def _run_view(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        # Flask-Admin 2.2.1 takes any TypeError of a view for a wrong signature and calls it again.
        return fn(self, *args, **kwargs)

    def render(self, template: str, **told: Any) -> Any:
        """Show *template*; ``crumb`` says where in the model's screens one is."""
        g.view, g.crumb = self, told.pop("crumb", None)
        return super().render(template, **told)

    # -- helpers of all its views ------------------------------------------------------------------------

    def at(self, view: str, **args: Any) -> str:
        return pages.address(self.model, view, **args)

    def record_or_404(self, source: Any = None) -> Model:
        values = request.args if source is None else source
        record = self.get_one(values.get("id") or values.get("pk") or "")
        if record is None:
            abort(404)
        return record

    def require(self, verb: str, target: Any = None) -> None:
        policy.require(g.principal, verb, target if target is not None else self.model)

    # -- list --------------------------------------------------------------------------------------------

    @expose("/")
    def index_view(self) -> Any:
        """One page of the list that the address describes."""
        query = listing.read(self.model, g.principal, request.args)
        selection = listing.Selection(self.model, query.columns)
        page = listing.page(db.session(), query, selection)
        counted = listing.count(db.session(), query)
        return self.render("admin/model/list.html", page=pages.list_page(query, page, counted, selection))

    @expose("/menu/")
    def row_menu(self) -> Any:
        """The menu of one row: a fragment of links and buttons, each permitted or with its reason."""
        record = self.record_or_404()
        return self.render("admin/model/row_menu.html", menu=self.menu_of(record))

    # -- details -----------------------------------------------------------------------------------------

    @expose("/details/")
    def details_view(self) -> Any:
        """The record: its facts, its parts, what points at it, its history, and what may be done with it."""
        record = self.record_or_404()
        tab = request.args.get("tab", "overview")
        lists = pages.related_lists(self.model, g.principal)
        known = {"overview", "history", *(key for key, *_ in lists)}
        if tab not in known:
            abort(404)
        return self.render(
            "admin/model/details.html", record=self._record_page(record, tab, lists), crumb=language.title(record)
        )

    def _record_page(self, record: Model, tab: str, lists: Any) -> dict[str, Any]:
        def url(key: str) -> str:
            return self.at("details_view", id=record.id, **({"tab": key} if key != "overview" else {}))

        tabs = [("overview", gettext("Overview"), None, url("overview"), tab == "overview")]
        tabs += [(key, label, None, url(key), tab == key) for key, label, _, _ in lists]
        tabs.append(("history", gettext("History"), None, url("history"), tab == "history"))
        title = language.title(record)
        related = next(((other, f) for key, _, other, f in lists if key == tab), None)
        return {
            "title": title,
            "subtitle": gettext(declared.label_of(self.model)),
            "initial": title[:1],
            "badges": [
                (language.show(getattr(record, s)), getattr(record, s).tone)
                for s in sorted(workflow.state_columns(self.model))
            ],
            "buttons": pages.buttons_for(record, g.principal),
            "edit": pages.link(self.at("edit_view", id=record.id), policy.decide(g.principal, "edit", record)),
            "delete": pages.link(self.at("delete_view", id=record.id), policy.decide(g.principal, "delete", record)),
            "sections": [(gettext("Details"), pages.facts_of(record, g.principal))],
            "tabs": tabs,
            "related": self._related(record, *related) if related else None,
            "history": history.entries(db.session(), record, g.principal, 4 if tab == "overview" else history.PAGE),
        }

    def _related(self, record: Model, other: type[Model], f: Field) -> pages.ListPage:
        args = MultiDict({f.key: str(record.id), "size": str(listing.SIZES[0])})
        query = listing.read(other, g.principal, args)
        query.columns = tuple(c for c in query.columns if c is not f)
        selection = listing.Selection(other, query.columns)
        page = listing.page(db.session(), query, selection)
        told = pages.list_page(query, page, (len(page.rows), bool(page.following)), selection)
        told.columns = pages.columns_of(query, sortable=False)
        told.create = pages.link(
            pages.address(other, "create_view", **{f.key: record.id}), policy.decide(g.principal, "create", other)
        )
        told.more_url = pages.address(other, "index_view", **{f.key: record.id}) if page.following else None
        return told

    # -- forms -------------------------------------------------------------------------------------------

    @expose("/new/", methods=("GET", "POST"))
    def create_view(self) -> Any:
        """Make a record."""
        self.require("create")
        form = RecordForm(self.model, g.principal, None, request.form if request.method == "POST" else None)
        errors: list[str] = []
        if request.method == "GET":
            form.prefill(request.args)
        elif form.validate():
            record = self.model()
            try:
                with db.session.no_autoflush:
                    form.apply(record)
                    db.session.add(record)
                journal.begin(db.session(), journal.Act.CREATE)
                db.session.commit()
            except (RuleBroken, IntegrityError, DataError) as problem:
                db.session.rollback()
                errors = self._complain(form, problem)
            else:
                return self._saved(record)
        return self._form_page(form, None, errors)

    @expose("/edit/", methods=("GET", "POST"))
    def edit_view(self) -> Any:
        """Change a record: only what was changed is written, and never over somebody else's save."""
        record = self.record_or_404()
        self.require("edit", record)
        form = RecordForm(self.model, g.principal, record, request.form if request.method == "POST" else None)
        errors: list[str] = []
        if request.method == "POST" and form.validate():
            replaced = self._replaced_since_opened(record)
            opened = form.opened_with(replaced)
            present = form.opened_with({}) if replaced else opened
            changed = form.changes(opened)
            touching = [key for key in changed if self._is_unread(record) or opened.differs(present, key)]
            if touching:
                return self._conflict(opened, record, changed, touching)
            try:
                with db.session.no_autoflush:
                    form.apply(record, changed)
                journal.begin(db.session(), journal.Act.EDIT)
                db.session.commit()
            except StaleDataError:
                db.session.rollback()
                return self._conflict(opened, self.record_or_404(), changed, list(changed))
            except (RuleBroken, IntegrityError, DataError) as problem:
                db.session.rollback()
                errors = self._complain(form, problem)
            else:
                return self._saved(record, bool(changed))
        return self._form_page(form, record, errors)

    def _complain(self, form: RecordForm, problem: Exception) -> list[str]:
        """Put the problem beside its field when it names one, above the form otherwise."""
        broken = explain(problem, self.model)
        return [] if form.blame(broken) else [language.tell(broken)]

    def _form_page(self, form: RecordForm, record: Model | None, errors: list[str]) -> Any:
        noun = gettext(declared.label_of(self.model))
        title = gettext("New %(noun)s", noun=noun) if record is None else language.title(record)
        record_url = self.at("details_view", id=record.id) if record is not None else None
        told = {
            "title": title,
            "subtitle": "" if record is None else gettext("Edit %(noun)s", noun=noun),
            "sections": [("fields", "", "", list(form.specs))],
            "cancel_url": record_url or self.at("index_view"),
            "is_edit": record is not None,
            "record_url": record_url,
            "errors": errors,
            "version": request.form.get("version") or record.version if record is not None else None,
            "pk": record.id if record is not None else "",
        }
        failed = bool(errors or any(f.errors for f in form))
        return self.render("admin/model/form.html", form=form, form_page=told, crumb=title), 422 if failed else 200

    def _saved(self, record: Model, changed: bool = True) -> Any:
        title = language.title(record)
        flash(
            gettext("“%(record)s” is saved.", record=title) if changed else gettext("Nothing was changed."), "success"
        )
        if "_add_another" in request.form:
            return redirect(self.at("create_view"))
        if "_continue_editing" in request.form:
            return redirect(self.at("edit_view", id=record.id))
        return redirect(self.at("details_view", id=record.id))

    def _opened_version(self) -> int:
        """The version of the record that the form was opened with; 0 when it does not say."""
        told = request.form.get("version", "")
        return int(told) if told.isascii() and told.isdigit() and len(told) < 10 else 0

    def _is_unread(self, record: Model) -> bool:
        """Whether the form comes from no version that there was: whatever it changes is asked about."""
        return not 1 <= self._opened_version() <= record.version

    def _replaced_since_opened(self, record: Model) -> dict[str, Any]:
        if self._is_unread(record) or self._opened_version() == record.version:
            return {}
        return history.replaced_since(db.session(), record, self._opened_version())

    def _conflict(self, opened: RecordForm, record: Model, changed: dict[str, Any], touching: list[str]) -> Any:
        """Refuse a stale save and show both versions of the fields it touches; what was typed is carried along."""
        rows = []
        for key in touching:
            spec = opened.specs[key]
            rows.append(
                (
                    gettext(spec.label),
                    self._in_words(spec, fields.value_of(opened[key]), veiled=True),
                    self._in_words(spec, getattr(record, spec.attr), veiled=True),
                    self._in_words(spec, changed[key]),
                )
            )
        who, when = history.last_editor(db.session(), record) or (gettext("Somebody"), record.updated_at)
        told = {
            "title": gettext("“%(record)s” was changed meanwhile", record=language.title(record)),
            "who": who,
            "when_text": language.show(when),
            "rows": rows,
            "form": [(k, v) for k, v in request.form.items(multi=True) if k in changed or k.startswith("_")],
            "version": record.version,
            "action_url": self.at("edit_view", id=record.id),
            "record_url": self.at("details_view", id=record.id),
        }
        return self.render("admin/model/conflict.html", conflict=told, crumb=language.title(record)), 409

    def _in_words(self, spec: Field, value: Any, veiled: bool = False) -> Any:
        level = policy.level_of(g.principal, spec)
        if veiled and level is not Level.PLAIN:
            return cells.masked(spec, Level.MASKED, value, 0)
        if spec.target is not None:
            related = (
                value if isinstance(value, Model) else db.session.get(spec.target, value) if value is not None else None
            )
            return language.title(related) if related is not None else cells.EMPTY
        return cells.formatter(spec, short=False)(value)

    # -- the bin -----------------------------------------------------------------------------------------

    @expose("/delete/", methods=("POST",))
    def delete_view(self) -> Any:
        """Put a record with its parts into the recycle bin."""
        record = self.record_or_404(request.values)
        self.require("delete", record)
        title = language.title(record)
        try:
            journal.begin(db.session(), journal.Act.RECYCLE)
            recycling.recycle(record)
            db.session.commit()
        except RuleBroken as broken:
            db.session.rollback()
            flash(language.tell(broken), "error")
            return redirect(self.at("details_view", id=request.values["id"]))
        flash(gettext("“%(record)s” is in the recycle bin.", record=title), "success")
        return redirect(self.at("index_view"))

    # -- cells -------------------------------------------------------------------------------------------

    @expose("/ajax/update/", methods=("POST",))
    def ajax_update(self) -> Any:
        """Change one cell: 200 with the new cell, 422 with the problem, 409 with what somebody else saved."""
        record = self.record_or_404(request.form)
        self.require("edit", record)
        query = listing.Query(self.model, g.principal)
        query.columns = listing.visible_fields(self.model, g.principal)
        name = request.form.get("name", "")
        if name not in pages.editable_fields(self.model, g.principal, query.columns):
            return jsonify(error=gettext("This cell cannot be edited here.")), 422
        spec = declared.field(self.model, name)
        if request.form.get("version") != str(record.version):
            return self._stale_cell(record, spec)
        try:
            self._write_cell(record, spec, request.form.get("value", ""))
            journal.begin(db.session(), journal.Act.CELL)
            db.session.commit()
        except StaleDataError:
            db.session.rollback()
            return self._stale_cell(self.record_or_404(request.form), spec)
        except (RuleBroken, IntegrityError, DataError) as problem:
            db.session.rollback()
            return jsonify(error=language.tell(explain(problem, self.model))), 422
        value = getattr(record, spec.attr)
        return jsonify(
            html=cells.formatter(spec)(value),
            value=cells.raw(spec, value),
            version=record.version,
            message=gettext("is saved"),
        )

    def _write_cell(self, record: Model, spec: Field, raw: str) -> None:
        posted = {"1": "y", "0": ""}.get(raw, raw) if spec.kind == "bool" else raw
        form = RecordForm(self.model, g.principal, record, MultiDict({spec.key: posted}))
        if not form.validate():
            raise RuleBroken("%(problem)s", problem=form[spec.key].errors[0])
        if spec.key in form.changes():
            write(record, spec, fields.value_of(form[spec.key]))

    def _stale_cell(self, record: Model, spec: Field) -> Any:
        who, when = history.last_editor(db.session(), record) or (gettext("Somebody"), record.updated_at)
        value = getattr(record, spec.attr)
        return jsonify(
            error=gettext(
                "%(who)s saved this record %(when)s: nothing of yours was saved.", who=who, when=language.show(when)
            ),
            theirs_html=cells.formatter(spec)(value),
            value=cells.raw(spec, value),
            version=record.version,
        ), 409

    @expose("/reveal/", methods=("POST",))
    def reveal(self) -> Any:
        """Show one masked value in full to somebody who may see it, and write down that they did."""
        record = self.record_or_404(request.form)
        spec = declared.field_map(self.model).get(request.form.get("name", ""))
        if spec is None or spec.secrecy is None or policy.level_of(g.principal, spec).depth < Level.REVEAL.depth:
            abort(403)
        value = getattr(record, spec.attr)
        journal.note(
            db.session(),
            journal.Act.REVEAL,
            table=self.model.__tablename__,
            record_id=record.id,
            detail={"field": spec.key},
        )
        db.session.commit()
        return jsonify(value=cells.raw(spec, value))

    # -- look-ups ----------------------------------------------------------------------------------------

    @expose("/ajax/lookup/")
    def ajax_lookup(self) -> Any:
        """Records for a picker: the best matches among those the person may see."""
        target = self._lookup_target(request.args.get("name", ""))
        if target is None or not policy.decide(g.principal, "view", target):
            return jsonify([])
        typed = request.args.get("q", "").strip()[:100]
        if typed:
            found = search.find(db.session(), target, typed, limit=20)
        else:
            query = listing.Query(target, g.principal, size=20)
            rows = listing.page(db.session(), query, listing.Selection(target, ())).rows
            found = [r for row in rows if (r := db.session.get(target, row[0])) is not None]
        return jsonify([{"id": r.id, "label": language.title(r), "hint": _hint(r)} for r in found])

    def _lookup_target(self, name: str) -> type[Model] | None:
        transition, _, parameter = name.partition(".")
        if parameter and workflow.transition_named(self.model, transition) is not None:
            return next(
                (
                    p.type
                    for p in workflow.parameters_of(self.model, transition)
                    if p.name == parameter and p.kind == "relation"
                ),
                None,
            )
        spec = declared.field_map(self.model).get(name)
        return spec.target if spec is not None else None


def _hint(record: Model) -> str:
    """What tells a record from its namesakes: its key, where the key is not its title."""
    model = type(record)
    keys = [k for k in model.__key__ if k not in model.__title__ and declared.field(model, k).secrecy is None]
    return language.join(getattr(record, key) for key in keys)


def area_of(model: type[Model]) -> str:
    """The menu group a model belongs to: its own word, or its module's."""
    return str(getattr(model, "__area__", None) or getattr(sys.modules[model.__module__], "AREA", N_("Other")))
