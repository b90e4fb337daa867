"""Apply a file of goods and offers (商品导入): all of it or nothing. A repeat changes nothing."""

import json
from collections import defaultdict
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import IntegrityError, OperationalError, transaction
from django.utils.translation import gettext as _
from django.utils.translation import override

from activity.goods_file import Change, Plan, plan
from activity.models import Activity, GoodsFile, Offer, Sku
from groupbuy import changes, rows
from groupbuy.history import named

KEPT = timedelta(hours=1)  # between upload and confirmation, at most
PIECE = 500  # rows of a statement


def keep(name: str, content: bytes, *, by: str, now: datetime) -> GoodsFile:
    return GoodsFile.objects.create(name=name[:255], content=content, by=by, uploaded_at=now)


def find(file_id: int, *, by: str, now: datetime) -> GoodsFile | None:
    """A file that this operator uploaded less than an hour ago."""
    kept = GoodsFile.objects.filter(by=by, uploaded_at__gt=now - KEPT)
    return kept.filter(pk=file_id).first()


def forget_old(now: datetime) -> None:
    """Delete files that nobody has confirmed in time."""
    GoodsFile.objects.filter(uploaded_at__lte=now - KEPT).delete()


def digest(made: Plan) -> str:
    """Equal for plans that write the same."""
    goods = [
        (each.sku.goods_id, [(name, before, after) for name, _label, before, after in each.values])
        for each in made.changes
    ]
    offers = [(each.sku.goods_id, each.channel_id, each.activity_id) for each in made.offers]
    return sha256(repr((goods, offers)).encode()).hexdigest()[:16]


def apply(file: GoodsFile, *, user: Any, reason: str, seen: str) -> Plan:
    """Plan the file again, on the present rows, and write it. seen: the digest of the shown plan.

    Raises ValidationError; its code is "again" if the plan has to be shown again: it has changed,
    or a price that shoppers see changes without a reason.
    """
    try:
        with transaction.atomic(durable=True):
            if not GoodsFile.objects.filter(pk=file.pk).delete()[0]:  # a second click waits here
                text = _(
                    "This file was imported or discarded, or an hour has passed: upload it again."
                )
                raise ValidationError(text)
            made = plan(bytes(file.content), lock=True)
            if made.faults:
                raise ValidationError(_("The file has faults: nothing was written."))
            if digest(made) != seen:
                raise ValidationError(_("The goods have changed: look at the file again."), "again")
            if made.needs_reason and not reason:
                raise ValidationError(_("Say why prices of goods on sale change."), "again")
            _write(made)
            LogEntry.objects.bulk_create(_log(made, user, reason), batch_size=PIECE)
            changes.announce()
    except (IntegrityError, OperationalError) as exc:
        if not (isinstance(exc, IntegrityError) or rows.is_collision(exc)):
            raise
        text = _("Somebody else has changed these goods just now: look at the file again.")
        raise ValidationError(text) from exc
    return made


def _write(made: Plan) -> None:
    for change in made.changes:
        names = None if change.is_new else [name for name, *_values in change.values]
        change.sku.save(update_fields=names)
    for offer in made.offers:
        offer.sku_id = offer.sku.pk
    Offer.objects.bulk_create(made.offers, batch_size=PIECE)


def _log(made: Plan, user: Any, reason: str) -> list[LogEntry]:
    """The log entries that the forms of the goods and of the activities would write."""
    added: defaultdict[Activity, list[Any]] = defaultdict(list)
    with override(None):
        for offer in made.offers:
            added[offer.activity].append({"added": named(offer)})
    goods = [
        _entry(each.sku, _parts(each, reason), user, ADDITION if each.is_new else CHANGE)
        for each in made.changes
    ]
    return goods + [_entry(activity, parts, user, CHANGE) for activity, parts in added.items()]


def _parts(change: Change, reason: str) -> list[Any]:
    label = Sku._meta.label
    because = [{"acted": {"model": label, "act": "because", "reason": reason}}] if reason else []
    return [{"changed": {"model": label, "values": change.values}}, *because]


def _entry(row: Sku | Activity, parts: list[Any], user: Any, flag: int) -> LogEntry:
    return LogEntry(
        user=user,
        content_type=ContentType.objects.get_for_model(row),
        object_id=str(row.pk),
        object_repr=str(row)[:200],
        action_flag=flag,
        change_message=json.dumps(parts, ensure_ascii=False),
    )
