"""Proposals (双人复核): changes that wait until a second person confirms them.

The setting SECOND_PERSON says which changes wait. A proposal stores all values of the row, those of
a row that it would refer to, and the new values of some fields. Confirming locks these rows and
writes the new values, unless one of the rows has changed since the proposal.
"""

import json
from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Model, Q
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from groupbuy import rows, switch_words, switches
from groupbuy.models import Proposal, Switch

State = Proposal.State
WAITS = timedelta(days=7)  # then the proposal has expired


def waiting(now: datetime) -> Q:
    return Q(state=State.WAITING, at__gt=now - WAITS)


def expired(now: datetime) -> Q:
    return Q(state=State.WAITING, at__lte=now - WAITS)


def state_of(proposal: Proposal, now: datetime) -> tuple[str, str | Promise]:
    """The state as a key and as a label."""
    state = State(proposal.state)
    if state == State.WAITING and proposal.at <= now - WAITS:
        return "expired", gettext_lazy("expired")
    return state.name.lower(), state.label


def propose(
    row: Model, names: Collection[str], reason: str, *, by: User, now: datetime
) -> Proposal:
    """Store the new values of these fields as a proposal; the row itself is not written."""
    new = _texts(row)
    after = {name: new[name] for name in sorted(names)}
    return Proposal.objects.create(
        model=row._meta.label,
        key=str(row.pk),
        name=str(row)[:200],
        before=_facts(type(row)._default_manager.get(pk=row.pk), after),
        after=after,
        reason=reason,
        user=by,
        at=now,
    )


def confirm(proposal_id: int, *, by: User, now: datetime) -> None:
    """Make the proposed change. Raises ValidationError if that is no longer possible."""
    rows.retry(lambda: _confirm(proposal_id, by, now))


def decline(proposal_id: int, *, by: User, now: datetime) -> None:
    """Withdraw one's own proposal, reject another's. Raises ValidationError if it is decided."""
    rows.retry(lambda: _decline(proposal_id, by, now))


def is_stale(proposal: Proposal) -> bool:
    """Has the row changed since, so that the proposal cannot be confirmed?"""
    row = apps.get_model(proposal.model)._default_manager.filter(pk=proposal.key).first()
    return row is None or _facts(row, proposal.after) != proposal.before


def fields(proposal: Proposal) -> list[Any]:
    """The fields of the model that it changes."""
    meta = apps.get_model(proposal.model)._meta
    return [meta.get_field(name) for name in proposal.after]


def shown(proposal: Proposal) -> Iterator[tuple[str, str, str]]:
    """Name, value before and value after of each field, for people."""
    for field in fields(proposal):
        before, after = (_shown(proposal, field, text) for text in _values(proposal, field))
        yield str(field.verbose_name), str(before), str(after)


def _shown(proposal: Proposal, field: Any, text: str) -> str:
    if proposal.model == Switch._meta.label:
        return switch_words.shown(proposal.key, text)
    return dict(field.flatchoices).get(text, text) or "–"


def _confirm(proposal_id: int, by: User, now: datetime) -> None:
    with transaction.atomic(durable=True):
        proposal = _lock(proposal_id, now)
        if proposal.user_id == by.pk:
            raise ValidationError(_("Somebody else has to confirm what you propose."))
        row = rows.lock(apps.get_model(proposal.model), pk=proposal.key)
        if row is None or _facts(row, proposal.after, rows.lock) != proposal.before:
            text = _("The row has changed since, so nothing was done: propose the change again.")
            raise ValidationError(text)
        _write(row, proposal, by)
        _decide(proposal, State.CONFIRMED, by, now)


def _decline(proposal_id: int, by: User, now: datetime) -> None:
    with transaction.atomic(durable=True):
        proposal = _lock(proposal_id, now)
        is_own = proposal.user_id == by.pk
        _decide(proposal, State.WITHDRAWN if is_own else State.REJECTED, by, now)


def _lock(proposal_id: int, now: datetime) -> Proposal:
    """Lock the proposal. Raises ValidationError unless it is still waiting."""
    proposal = rows.lock(Proposal, pk=proposal_id)
    assert proposal is not None  # none is ever deleted
    name, label = state_of(proposal, now)
    if name != "waiting":
        text = _("The proposal is “%(state)s” by now, so nothing was done.")
        raise ValidationError(text % {"state": label})
    return proposal


def _decide(proposal: Proposal, state: State, by: User, now: datetime) -> None:
    proposal.state, proposal.decided_by_id, proposal.decided_at = state, by.pk, now
    rows.update(proposal, "state", "decided_by", "decided_at")


def _write(row: Model, proposal: Proposal, by: User) -> None:
    if isinstance(row, Switch):
        switches.change(
            row.key,
            proposal.after["value"],
            by=proposal.user.get_username(),
            reason=proposal.reason,
            confirmed_by=by.get_username(),
        )
        return
    for field in fields(proposal):
        setattr(row, field.attname, field.to_python(proposal.after[field.name]))
    row.full_clean()
    row.save(update_fields=list(proposal.after))
    _log(row, proposal, by)


def _log(row: Model, proposal: Proposal, by: User) -> None:
    """Log the change as the form would have, with the reason and the second person."""
    label = row._meta.label
    values = [[field.name, field.name, *_values(proposal, field)] for field in fields(proposal)]
    parts = [
        {"changed": {"model": label, "values": values}},
        {"acted": {"model": label, "act": "because", "reason": proposal.reason}},
        {"acted": {"model": label, "act": "confirmed by", "reason": by.get_username()}},
    ]
    LogEntry.objects.create(
        user_id=proposal.user_id,
        content_type=ContentType.objects.get_for_model(row),
        object_id=str(row.pk),
        object_repr=str(row)[:200],
        action_flag=CHANGE,
        change_message=json.dumps(parts, ensure_ascii=False),
    )


def _facts(
    row: Model, after: dict[str, str], read: Callable[..., Model | None] = rows.read
) -> dict[str, str]:
    """The values of the row, and those of each row that it would refer to, such as a discount's."""
    facts = _texts(row)
    for field in row._meta.concrete_fields:
        if field.is_relation and after.get(field.name):
            model: Any = field.related_model
            named = read(model, pk=model._meta.pk.to_python(after[field.name]))
            for name, text in (_texts(named) if named else {}).items():
                facts[f"{field.name}.{name}"] = text
    return facts


def _texts(row: Model) -> dict[str, str]:
    return {field.name: _text(row, field) for field in row._meta.concrete_fields}


def _text(row: Model, field: Any) -> str:
    value = field.value_from_object(row)
    if isinstance(value, Decimal):
        return f"{value:.{field.decimal_places}f}"  # 120.00, also before it is saved
    return str(field.value_to_string(row))


def _values(proposal: Proposal, field: Any) -> list[str]:
    """The texts before and after; for a foreign key, the names of the rows."""
    texts = [proposal.before[field.name], proposal.after[field.name]]
    if not field.is_relation:
        return texts
    named = field.related_model._default_manager.in_bulk(texts)
    return [str(named.get(field.target_field.to_python(text), text)) for text in texts]
