"""What the templates of lists and records read, as plain data: made here, shown there."""

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

from flask import url_for
from flask_babel import gettext
from markupsafe import Markup

from models import fields as declared
from models import policy, workflow
from models.base import Model
from models.fields import Field
from models.policy import Decision, Level, Subject

from . import cells, language, listing
from .language import sentence, show


@dataclass(frozen=True)
class Link:
    """Somewhere to go, or why not."""

    url: str
    allowed: bool = True
    reason: str = ""


def link(url: str, decision: Decision) -> Link:
    return Link(url, bool(decision), "" if decision else sentence(decision.reason, decision.params))


@dataclass(frozen=True)
class Column:
    key: str
    label: str
    align: str = ""
    sort_url: str | None = None
    sorted: str | None = None
    is_title: bool = False
    on_card: bool = False
    hidden: bool = False


@dataclass(frozen=True)
class Row:
    id: int
    url: str
    title: str
    cells: list[Markup]
    version: int
    menu_url: str = ""


@dataclass(frozen=True)
class FilterChoice:
    """A field one may filter by, for the filter builder."""

    key: str
    label: str
    kind: str
    choices: list[tuple[str, str]]
    lookup_url: str = ""


@dataclass
class ListPage:
    """See templates/admin/model/list.html, which shows all of it."""

    title: str
    icon: str
    count_text: str
    columns: list[Column]
    rows: list[Row]
    list_url: str
    query: str = ""
    range_text: str = ""
    prev_url: str | None = None
    next_url: str | None = None
    first_url: str | None = None
    clear_url: str = ""
    act_url: str = ""
    cell_url: str = ""
    search_hint: str = ""
    searchable: bool = False
    truly_empty: bool = False
    sizes: list[tuple[int, str, bool]] = dataclass_field(default_factory=list)
    facets: list[tuple[str, str, bool, str | None]] = dataclass_field(default_factory=list)
    chips: list[tuple[str, str, str]] = dataclass_field(default_factory=list)
    filters: list[FilterChoice] = dataclass_field(default_factory=list)
    hidden_args: list[tuple[str, Any]] = dataclass_field(default_factory=list)
    actions: list[Any] = dataclass_field(default_factory=list)
    export_urls: list[tuple[str, str]] = dataclass_field(default_factory=list)
    editable: dict[str, Any] = dataclass_field(default_factory=dict)
    create: Link | None = None
    import_: Link | None = None
    export: Link | None = None
    more_url: str | None = None


def address(model: type[Model], view: str, **args: Any) -> str:
    return url_for(f"{model.__tablename__}.{view}", **args)


def columns_of(query: listing.Query, *, sortable: bool = True) -> list[Column]:
    """The columns of a list in their order, then those it could show as well."""
    model, shown = query.model, query.columns
    first = next((n for n in model.__title__ for f in shown if f.key == n), shown[0].key if shown else "")
    cards = [f.key for f in shown if f.key != first][:4]
    open_to = listing.open_fields(model, query.subject)
    rest = [f for f in listing.visible_fields(model, query.subject) if f not in shown and f.kind != "json"]
    return [
        Column(
            key=f.key,
            label=gettext(f.label),
            align="right" if f.kind in {"money", "percent", "number"} else "",
            sort_url=_sort_url(query, f) if sortable and f.sortable and f.key in open_to else None,
            sorted=None if query.sort is not f else "desc" if query.desc else "asc",
            is_title=f.key == first,
            on_card=f.key == first or f.key in cards,
            hidden=f in rest,
        )
        for f in (*shown, *rest)
    ]


def _sort_url(query: listing.Query, f: Field) -> str:
    down = "1" if query.sort is f and not query.desc else None
    return address(query.model, "index_view", **query.args(sort=f.key, desc=down))


class RowPainter:
    """Turns the rows of a selection into cells; its formatters are made once for the page."""

    def __init__(self, query: listing.Query, selection: listing.Selection, editable: dict[str, Any]) -> None:
        self.query, self.selection, self.editable = query, selection, editable
        self.paint = [self._painter(f) for f in query.columns]

    def _painter(self, f: Field) -> Any:
        path = self.selection.paths[f.key]
        level = policy.level_of(self.query.subject, f)
        plain = cells.formatter(f)
        if level in {Level.MASKED, Level.REVEAL}:
            return lambda row: cells.masked(f, level, row[path.start], row[0])
        if f.target is not None:
            return lambda row: _related(row[path.start], row[path.start + 1 : path.stop])
        if f.key in self.editable:
            return lambda row: cells.editable(f, plain(row[path.start]), row[path.start], row[0], row[1])
        return lambda row: plain(row[path.start])

    def row(self, row: Any) -> Row:
        model = self.query.model
        title = language.join(row[self.selection.title]) or f"#{row[0]}"
        url = address(model, "details_view", id=row[0])
        return Row(
            row[0], url, title, [paint(row) for paint in self.paint], row[1], address(model, "row_menu", id=row[0])
        )


def _related(key: int | None, title: Any) -> Markup:
    if key is None:
        return cells.EMPTY
    told = language.join(title)
    if not told:  # it is there, but out of this person's sight
        return Markup('<span class="nil" title="{}">•••</span>').format(gettext("Out of your sight"))
    return Markup("{}").format(told)


def editable_fields(model: type[Model], subject: Subject, columns: tuple[Field, ...]) -> dict[str, Any]:
    """The columns whose cells may be edited where they stand, with what their input needs."""
    if not policy.decide(subject, "edit", model):
        return {}
    types = {"money": "number", "number": "number", "percent": "number", "day": "date", "choice": "select", "bool": "bool",
             "name": "text", "text": "text", "code": "text"}  # fmt: skip
    found = {}
    for f in columns:
        if f.kind not in types or not f.writable or policy.level_of(subject, f) is not Level.PLAIN:
            continue
        if f.key in model.__title__ or (f.kind == "bool" and f.column.nullable):
            continue  # the title opens the record; a box cannot say "unknown"
        found[f.key] = {"type": types[f.kind], "label": gettext(f.label)}
        if f.choices is not None:
            blank = [["", "—"]] if f.column.nullable else []
            found[f.key]["options"] = blank + [[m.value, gettext(m.label)] for m in f.choices]
    return found


def list_page(
    query: listing.Query, page: listing.Page, counted: tuple[int, bool], selection: listing.Selection
) -> ListPage:
    """Everything the list of a model shows."""
    model, subject = query.model, query.subject
    assert subject is not None
    editable = editable_fields(model, subject, query.columns)
    painter = RowPainter(query, selection, editable)
    number, more = counted
    told = ListPage(
        title=gettext(declared.label_of(model)),
        icon=model.__icon__,
        count_text=f"{number:,}" + ("+" if more else ""),
        columns=columns_of(query),
        rows=[painter.row(row) for row in page.rows],
        list_url=address(model, "index_view"),
        query=query.q,
        editable=editable,
        truly_empty=not page.rows and not query.filters and not query.q and not query.after and not query.before,
        searchable=_searchable(model),
        search_hint=_search_hint(query),
    )
    _add_paging(told, query, page)
    _add_filters(told, query)
    _add_doors(told, query)
    return told


def _searchable(model: type[Model]) -> bool:
    from models.search import searchable_fields

    return bool(searchable_fields(model)) or any(declared.field(model, n).target is not None for n in model.__title__)


def _search_hint(query: listing.Query) -> str:
    from models.search import searchable_fields

    names = [
        gettext(f.label)
        for f in searchable_fields(query.model)
        if policy.level_of(query.subject, f) is not Level.HIDDEN
    ]
    return gettext("Search %(fields)s", fields="、".join(names[:4])) if names else gettext("Search")


def _add_paging(told: ListPage, query: listing.Query, page: listing.Page) -> None:
    def url(**changes: Any) -> str:
        return address(query.model, "index_view", **query.args(**changes))

    told.prev_url = url(before=page.previous) if page.previous else None
    told.next_url = url(after=page.following) if page.following else None
    told.first_url = url() if query.after or query.before else None
    told.range_text = gettext("%(n)s rows on this page", n=len(page.rows))
    told.sizes = [(n, url(size=n if n != listing.SIZES[1] else None), n == query.size) for n in listing.SIZES]
    told.clear_url = address(query.model, "index_view")
    told.hidden_args = [(k, v) for k, v in query.args().items() if k != "search"]


def _add_filters(told: ListPage, query: listing.Query) -> None:
    model = query.model
    for one in query.filters:
        rest = {k: v for k, v in query.args().items() if k != one.arg}
        told.chips.append((_chip_label(one), _chip_text(one), address(model, "index_view", **rest)))
    told.filters = [_filter_choice(f) for f in listing.open_fields(model, query.subject).values()]
    states = sorted(workflow.state_columns(model))
    if states and states[0] in listing.open_fields(model, query.subject):
        told.facets = _facets(query, declared.field(model, states[0]))


def _chip_label(one: listing.Filter) -> str:
    label = gettext(one.field.label)
    ends = {"min": gettext("from"), "max": gettext("up to")}
    return f"{label} {ends[one.op]}" if one.op in ends else label


def _chip_text(one: listing.Filter) -> str:
    if one.op == "empty":
        return gettext("empty") if one.raw == "yes" else gettext("not empty")
    if one.field.choices is not None:
        return "、".join(show(one.field.choices.from_value(value)) for value in one.raw.split(","))
    if one.field.kind == "bool":
        return gettext("Yes") if one.raw == "yes" else gettext("No")
    if one.field.target is not None:
        from .extensions import db

        record = db.session.get(one.field.target, int(one.raw))
        return language.title(record) if record is not None else f"#{one.raw}"
    return one.raw


def _filter_choice(f: Field) -> FilterChoice:
    kinds = {"choice": "choice", "bool": "bool", "day": "day", "instant": "day", "relation": "relation"}
    kind = kinds.get(f.kind, "number" if f.kind in {"number", "money", "percent"} else "text")
    choices = [(m.value, gettext(m.label)) for m in f.choices] if f.choices is not None else []
    url = address(f.model, "ajax_lookup", name=f.key) if f.target is not None else ""
    return FilterChoice(f.key, gettext(f.label), kind, choices, url)


def _facets(query: listing.Query, f: Field) -> list[tuple[str, str, bool, str | None]]:
    present = next((one.raw for one in query.filters if one.field is f and one.op == "is"), None)
    rows: list[tuple[str, str, bool, str | None]] = [
        (gettext("All"), address(query.model, "index_view", **query.args(**{f.key: None})), present is None, None)
    ]
    for member in f.choices or ():
        url = address(query.model, "index_view", **query.args(**{f.key: member.value}))
        rows.append((gettext(member.label), url, present == member.value, member.tone))
    return rows


def _add_doors(told: ListPage, query: listing.Query) -> None:
    """The ways in and out of the list: new, import, export, cells and actions, each with why not."""
    model, subject = query.model, query.subject
    told.create = link(address(model, "create_view"), policy.decide(subject, "create", model))
    told.import_ = link(address(model, "import_upload"), policy.decide(subject, "import", model))
    told.export = link("", policy.decide(subject, "export", model))
    if told.export.allowed:
        told.export_urls = [
            (name, address(model, "export", export_type=name.lower(), **query.args())) for name in ("XLSX", "CSV")
        ]
    told.act_url = address(model, "action_view")
    told.cell_url = address(model, "ajax_update") if told.editable else ""
    told.actions = actions_for(model, subject)


@dataclass(frozen=True)
class Action:
    name: str
    label: str
    tone: str
    needs_form: bool


def actions_for(model: type[Model], subject: Subject | None) -> list[Action]:
    """What may be done with chosen rows: the transitions the person has, and the bin."""
    found = [
        Action(t.name, gettext(t.label), t.tone, bool(workflow.parameters_of(model, t.name)))
        for t in workflow.transitions_of(model)
        if not t.by_clock and policy.decide(subject, t.name, model)
    ]
    if policy.decide(subject, "delete", model):
        found.append(Action("delete", gettext("Delete"), "red", False))
    return found


@dataclass(frozen=True)
class Button:
    """A transition of one record, or why it cannot be pressed."""

    name: str
    label: str
    tone: str
    allowed: bool
    reason: str
    url: str
    needs_form: bool
    confirm: str | None


def buttons_for(record: Model, subject: Subject | None) -> list[Button]:
    """The transitions that start from the record's present state, each with the decision about it."""
    model, found = type(record), []
    for t in workflow.transitions_of(model):
        if t.by_clock or not t.starts_from(record):
            continue
        decision = policy.decide(subject, t.name, record)
        needs_form = bool(workflow.parameters_of(model, t.name))
        url = (
            address(model, "act", id=record.id, name=t.name)
            if needs_form
            else address(model, "action_view", id=record.id)
        )
        found.append(
            Button(
                t.name,
                gettext(t.label),
                t.tone,
                bool(decision),
                "" if decision else sentence(decision.reason, decision.params),
                url,
                needs_form,
                gettext(t.confirm) if t.confirm else None,
            )
        )
    return found


def facts_of(record: Model, subject: Subject | None) -> list[tuple[str, Markup, bool]]:
    """The fields of a record as its page shows them: label, value, whether it wants the whole width."""
    return [
        (gettext(f.label), fact(record, f, subject), f.kind in {"note", "json"})
        for f in listing.visible_fields(type(record), subject)
    ]


def fact(record: Model, f: Field, subject: Subject | None) -> Markup:
    level = policy.level_of(subject, f)
    value = getattr(record, f.attr)
    if level in {Level.MASKED, Level.REVEAL}:
        return cells.masked(f, level, value, record.id)
    if f.target is not None:
        return _related_link(f, value, getattr(record, f.key), subject)
    return cells.formatter(f, short=False)(value)


def _related_link(f: Field, key: int | None, related: Model | None, subject: Subject | None) -> Markup:
    if key is None:
        return cells.EMPTY
    if related is None:
        return Markup('<span class="nil" title="{}">•••</span>').format(gettext("Out of your sight"))
    told = language.title(related)
    assert f.target is not None
    if not policy.decide(subject, "view", f.target):
        return Markup("{}").format(told)
    return Markup('<a href="{}">{}</a>').format(address(f.target, "details_view", id=key), told)


def related_lists(model: type[Model], subject: Subject | None) -> list[tuple[str, str, type[Model], Field]]:
    """The lists of other records that point at one of *model*: key, label, their model, the pointing field."""
    found = []
    references = [(m, f) for m, f in declared.references_to(model) if policy.decide(subject, "view", m)]
    for other, f in references:
        is_part = other.__part_of__ == f.key
        alone = sum(m is other for m, _ in references) == 1
        if is_part or alone or f.key == model.__tablename__:
            label = gettext(declared.label_of(other))
            if not is_part and f.key != model.__tablename__:
                label = gettext("%(noun)s (%(field)s)", noun=label, field=gettext(f.label))
            found.append((f"{other.__tablename__}.{f.key}", label, other, f))
    return sorted(found, key=lambda entry: entry[2].__part_of__ != entry[3].key)
