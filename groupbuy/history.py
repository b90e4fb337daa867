"""The history (操作记录) of a row: what changed, from what to what, in the reader's language."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model
from django.forms import ModelChoiceField
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, override
from unfold.admin import ModelAdmin

HIDDEN = ("secret", "password")  # values are not kept, and no list is filtered by them
ACTS = {  # name of an act in the log -> its text
    "send again": gettext_noop("sent again"),
    "send a range again": gettext_noop("a range was sent again"),
    "because": gettext_noop("reason"),
    "confirmed by": gettext_noop("confirmed by"),
    "give back": gettext_noop("given back by an operator"),
    "complete the team": gettext_noop("completed by an operator"),
    "fail the team": gettext_noop("ended by an operator, the money goes back"),
    "publish": gettext_noop("published"),
    "pause": gettext_noop("paused"),
    "resume the sale": gettext_noop("the sale was resumed"),
    "close": gettext_noop("closed, its teams finish"),
    "close now": gettext_noop("closed with the money back"),
    "block lifted": gettext_noop("unblocked"),
    "start": gettext_noop("the run was started"),
    "stop": gettext_noop("the run was stopped"),
    "resume": gettext_noop("the run was resumed"),
}


class KeepsValues(ModelAdmin):
    """Logs the values before and after each change, and shows them on the page of the history."""

    helps: Mapping[str, Any] = {}  # what a field means, where its name does not say it

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if text := self.helps.get(db_field.name):
            kwargs["help_text"] = text
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse to filter by a hidden field: what matches would tell its value bit by bit.

        And by a regular expression, which may be invalid, or take the database very long.
        """
        refused = any(word in lookup for word in (*HIDDEN, "regex"))
        return not refused and bool(super().lookup_allowed(lookup, value, request))

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        if not hasattr(form, "instance"):  # the form of a password
            return super().construct_change_message(request, form, formsets, add)
        with override(None):
            return list(_changes(form, formsets or (), add))

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        response: HttpResponse = super().history_view(request, object_id, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data:
            for entry in response.context_data["action_list"]:
                entry.get_change_message = partial(text_of, entry)
        return response


def text_of(entry: LogEntry) -> str:
    """The entry in the active language; Django's own text for entries of older releases."""
    try:
        parts = json.loads(entry.change_message)
    except ValueError:
        words = entry.change_message.split(", ") if entry.change_message else []
        return _(", ").join(_(ACTS.get(word, word)) for word in words)
    if any("model" not in part for each in parts for part in each.values()):
        return LogEntry.get_change_message(entry)
    return _("; ").join(_text_of_part(verb, part) for each in parts for verb, part in each.items())


def log_act(
    what: Model | type[Model], name: str, reason: str, *, user_id: int, named: str = ""
) -> LogEntry:
    """Log what an operator did to a row, or to the `named` rows of a model, and why.

    name is one of ACTS.
    """
    row = what if isinstance(what, Model) else None
    part = {"model": what._meta.label, "act": name, "reason": reason}
    return LogEntry.objects.create(
        user_id=user_id,
        content_type=ContentType.objects.get_for_model(what),
        object_id=str(row.pk) if row else None,
        object_repr=(named or str(row))[:200],
        action_flag=CHANGE,
        change_message=json.dumps([{"acted": part}], ensure_ascii=False),
    )


def stored(form: Any, name: str) -> str:
    """The value of this field before the form changed it, as the form shows it or in words."""
    field = form.fields[name]
    value = form.get_initial_for_field(field, name)
    if isinstance(value, int) and isinstance(said := field.prepare_value(value), str):
        return said  # a number of minutes
    return _shown(form._meta.model._meta.get_field(name), _plain(form, name, value))


def _changes(form: Any, formsets: Iterable[Any], add: bool) -> Iterator[dict[str, Any]]:
    if add:
        yield {"added": named(form.instance)}
    elif form.changed_data:
        yield {"changed": {"model": form.instance._meta.label, "values": _values(form)}}
    for formset in formsets:
        forms = {each.instance.pk: each for each in formset.forms}
        for row in formset.new_objects:
            yield {"added": named(row)}
        for row, _names in formset.changed_objects:
            yield {"changed": named(row) | {"values": _values(forms[row.pk])}}
        for row in formset.deleted_objects:
            yield {"deleted": named(row)}


def named(row: Model) -> dict[str, Any]:
    return {"model": row._meta.label, "name": str(row._meta.verbose_name), "object": str(row)}


def _values(form: Any) -> list[Any]:
    """Name, label, value before and value after of each changed field."""
    changed = [name for name in form.changed_data if name in form.fields]
    return [
        [
            name,
            str(form.fields[name].label or name),
            _plain(form, name, form.get_initial_for_field(form.fields[name], name)),
            _plain(form, name, form.cleaned_data.get(name)),
        ]
        for name in changed
    ]


def _plain(form: Any, name: str, value: Any) -> Any:
    """The value in a form that JSON can hold; rows by their names."""
    if any(word in name for word in HIDDEN):
        return "…" if value else ""
    if isinstance(value, datetime):
        return value.isoformat()
    field = form.fields[name]
    if isinstance(field, ModelChoiceField) and value not in (None, ""):
        if isinstance(value, Model):
            return str(value)
        if hasattr(value, "__iter__") and not isinstance(value, str):
            return ", ".join(str(row) for row in value)
        rows: Any = field.queryset
        return str(rows.filter(**{field.to_field_name or "pk": value}).first() or value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _text_of_part(verb: str, part: dict[str, Any]) -> str:
    if verb == "acted":
        act = _(ACTS.get(part["act"], part["act"]))
        if not part["reason"]:
            return act
        return _("%(act)s: “%(reason)s”") % {"act": act, "reason": part["reason"]}
    model = apps.get_model(part["model"])
    row = f"{model._meta.verbose_name} {part['object']}" if "object" in part else ""
    if verb != "changed":
        texts = {"added": _("added: %(row)s"), "deleted": _("deleted: %(row)s")}
        return texts[verb] % {"row": row}
    changes = _(", ").join(_change(model, *each) for each in part["values"])
    return _("%(row)s: %(changes)s") % {"row": row, "changes": changes} if row else changes


def _change(model: type[Model], name: str, label: str, before: Any, after: Any) -> str:
    try:
        field: Any = model._meta.get_field(name)
    except FieldDoesNotExist:
        return _(label)
    return _("%(field)s: %(before)s → %(after)s") % {
        "field": field.verbose_name,
        "before": _shown(field, before),
        "after": _shown(field, after),
    }


def _shown(field: Any, value: Any) -> str:
    if value in (None, ""):
        return "–"
    if field.choices:
        return str(dict(field.flatchoices).get(value, value))
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if field.get_internal_type() == "DateTimeField":
        return formats.date_format(timezone.localtime(datetime.fromisoformat(value)), "Y-m-d H:i:s")
    return str(value)
