"""Read goods and offers from a file (商品导入), and work out what it would change.

A row has a goods id and the fields of the goods; with a channel and an activity it also offers the
goods there. Empty cells change nothing. plan() reads the whole file and writes nothing; a fault
names its row and column. Columns are found by their names, in any order, in English or Chinese.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, override

from activity.models import LIVE, PUBLISHED, Activity, Offer, Sku, refuse_giving_away
from groupbuy.fields import read_id
from groupbuy.models import Channel
from groupbuy.tables import ACTIVE
from tag import files
from tag.workbooks import Unreadable

MOST_ROWS = 5_000
MOST_FAULTS = 100  # faults listed
FIELDS = ("name", "original_price", "cost_price", "description")
OFFER = ("source", "channel", "activity_id")
LABELS = {
    "goods_id": gettext_lazy("goods id"),
    "name": gettext_lazy("name"),
    "original_price": gettext_lazy("original price"),
    "cost_price": gettext_lazy("cost of one piece"),
    "description": gettext_lazy("description"),
    "source": gettext_lazy("source"),
    "channel": gettext_lazy("channel"),
    "activity_id": gettext_lazy("activity id"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    row: int
    column: str
    text: str


@dataclass
class Change:
    """Goods that the file adds or changes."""

    sku: Sku
    row: int
    is_new: bool
    is_on_sale: bool
    values: list[list[Any]] = field(default_factory=list)  # name, label, before, after

    @property
    def changes_price(self) -> bool:
        return any(name == "original_price" for name, *_values in self.values)


@dataclass
class Plan:
    """The changes that the file would make. A file with faults is not applied."""

    changes: list[Change] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    unchanged: int = 0  # goods and offers that are there already
    ignored: list[str] = field(default_factory=list)  # columns

    @property
    def needs_reason(self) -> bool:
        """Does it change a price that shoppers see?"""
        return any(each.is_on_sale and each.changes_price for each in self.changes)

    def add_fault(self, row: int, column: str, text: object) -> None:
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(Fault(row, str(LABELS.get(column, column)), str(text)))


def plan(content: bytes, *, lock: bool = False) -> Plan:
    """The changes and faults of the file. Raises ValidationError for an unreadable file.

    With `lock`, the goods are locked, so that nobody changes them until the plan is written.
    """
    made = Plan()
    goods: dict[str, Change] = {}
    rows = list(_records(content, made))
    skus = Sku.objects.select_for_update() if lock else Sku.objects.all()
    known = skus.in_bulk([row["goods_id"] for _n, row in rows], field_name="goods_id")
    published = Offer.objects.filter(activity__status__in=PUBLISHED, sku__in=list(known.values()))
    on_sale = set(published.values_list("sku", flat=True))
    for number, record in rows:
        goods_id = record["goods_id"]
        if goods_id not in goods:
            sku = known.get(goods_id) or Sku(goods_id=goods_id)
            goods[goods_id] = Change(sku, number, goods_id not in known, sku.pk in on_sale)
            _change(made, goods[goods_id], record)
            if goods[goods_id].is_new or goods[goods_id].values:
                _check(made, goods[goods_id])
        elif any(_differs(goods[goods_id].sku, name, record[name]) for name in FIELDS):
            text = _("Row %(row)d has other values for these goods.")
            made.add_fault(number, "goods_id", text % {"row": goods[goods_id].row})
    made.changes = [each for each in goods.values() if each.is_new or each.values]
    _plan_offers(made, goods, rows)
    made.unchanged += len(goods) - len(made.changes)
    made.faults.sort(key=lambda fault: fault.row)
    return made


def _records(content: bytes, made: Plan) -> Iterator[tuple[int, dict[str, str]]]:
    """Number and cells of each row with a goods id; the cells by the names of their columns."""
    columns: list[str | None] | None = None
    with files.table(content) as (_encoding, rows):
        filled = 0
        for number, row in enumerate(rows, 1):
            if columns is None:
                columns = _columns(row, made)
            elif any(row):
                filled += 1
                if filled > MOST_ROWS:
                    text = _("The file has more than %(most)d rows: split it.")
                    raise ValidationError(text % {"most": MOST_ROWS})
                record = dict.fromkeys(LABELS, "")
                cells = zip(columns, row, strict=False)
                record |= {name: _cell(made, number, name, cell) for name, cell in cells if name}
                if record["goods_id"]:
                    yield number, record
                else:
                    made.add_fault(number, "goods_id", _("The goods id is missing."))
    if columns is None:
        raise ValidationError(_("The file is empty."))


def _columns(head: Sequence[str], made: Plan) -> list[str | None]:
    names = _names()
    found = [names.get(cell.strip().casefold()) for cell in head]
    if "goods_id" not in found:
        raise ValidationError(_("The first row has no column “goods_id”."))
    known = [name for name in found if name]
    if len(known) != len(set(known)):
        raise ValidationError(_("The first row names a column twice."))
    pairs = zip(head, found, strict=True)
    made.ignored = [cell for cell, name in pairs if not name and cell.strip()]
    return found


def _names() -> dict[str, str]:
    names = {name: name for name in LABELS}
    for language in ("en", "zh-hans"):
        with override(language):
            names |= {str(label).casefold(): name for name, label in LABELS.items()}
    return names


def _cell(made: Plan, row: int, name: str, cell: str) -> str:
    """The text of a cell, without the apostrophe that exports put before a possible formula."""
    if isinstance(cell, Unreadable):
        made.add_fault(row, name, cell)
        return ""
    text = cell.strip()
    return text[1:] if text.startswith("'") and text[1:].startswith(ACTIVE) else text


def _field(name: str) -> Any:
    return Sku._meta.get_field(name)


def _differs(sku: Sku, name: str, text: str) -> bool:
    try:
        return bool(text) and _field(name).to_python(text) != getattr(sku, name)
    except ValidationError:
        return True


def _clean(sku: Sku, name: str, text: str) -> Any:
    """The value for the field. Its length is that of the form: a TextField checks none itself."""
    field = _field(name)
    if field.max_length:
        MaxLengthValidator(field.max_length)(text)
    return field.clean(text, sku)


def _change(made: Plan, change: Change, record: dict[str, str]) -> None:
    """Set the fields of the goods from their row; add a fault for each unreadable one."""
    sku = change.sku
    for name in FIELDS:
        if _differs(sku, name, record[name]):
            before = getattr(sku, name)
            try:
                setattr(sku, name, _clean(sku, name, record[name]))
            except ValidationError as exc:
                made.add_fault(change.row, name, exc.messages[0])
                continue
            values = [None if each in (None, "") else str(each) for each in (before, record[name])]
            change.values.append([name, str(LABELS[name]), *values])
    if change.is_on_sale and change.changes_price and "price" in settings.SECOND_PERSON:
        text = _("This price needs a second person: change it on the page of the goods.")
        made.add_fault(change.row, "original_price", text)


def _check(made: Plan, change: Change) -> None:
    """Add a fault for each field that the form of the goods would refuse."""
    try:
        change.sku.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as exc:
        reported = {fault.column for fault in made.faults if fault.row == change.row}
        for name, errors in exc.message_dict.items():
            if str(LABELS.get(name, name)) not in reported:
                made.add_fault(change.row, name, errors[0])


def _plan_offers(
    made: Plan, goods: dict[str, Change], rows: Sequence[tuple[int, dict[str, str]]]
) -> None:
    channels = {(each.source, each.channel): each for each in Channel.objects.all()}
    numbers = {read_id(row["activity_id"]) for _n, row in rows}
    found = Activity.objects.select_related("discount").filter(pk__in=numbers)
    activities = {str(each.pk): each for each in found}
    there = set(
        Offer.objects.filter(activity__in=found).values_list("channel", "activity", "sku__goods_id")
    )
    skus = [each.sku.pk for each in goods.values() if each.sku.pk]
    on_offer = Offer.objects.filter(activity__status__in=LIVE, sku__in=skus)
    sold = set(on_offer.values_list("channel", "sku"))
    others: defaultdict[tuple[int, str], list[Offer]] = defaultdict(list)
    for number, row in rows:
        if not any(row[name] for name in OFFER):
            continue
        channel = channels.get((row["source"], row["channel"]))
        activity = activities.get(row["activity_id"])
        if channel is None:
            made.add_fault(number, "channel", _("There is no such channel."))
        elif activity is None:
            made.add_fault(number, "activity_id", _("There is no such activity."))
        elif (key := (channel.pk, activity.pk, row["goods_id"])) in there:
            made.unchanged += 1
        else:
            there.add(key)
            offer = Offer(channel=channel, activity=activity, sku=goods[row["goods_id"]].sku)
            same = others[channel.pk, row["goods_id"]]
            _check_offer(made, number, offer, same, is_sold=(channel.pk, offer.sku.pk) in sold)
            same.append(offer)
            made.offers.append(offer)


def _check_offer(
    made: Plan, number: int, offer: Offer, same: Sequence[Offer], *, is_sold: bool
) -> None:
    """Add a fault if the form of an offer forbids this one, or one of the same goods in the file.

    is_sold: there are live offers of the goods on the channel.
    """
    try:
        if offer.sku.original_price is not None:
            refuse_giving_away(offer.activity.discount, offer.sku)
        if is_sold:
            offer.activity.refuse_overlap(Q(channel=offer.channel, sku=offer.sku))
    except ValidationError as exc:
        made.add_fault(number, "activity_id", exc.messages[0])
    if any(_meet(other, offer) for other in same):
        text = _("Two rows offer these goods on this channel at the same time.")
        made.add_fault(number, "activity_id", text)


def _meet(one: Offer, other: Offer) -> bool:
    first, second = one.activity, other.activity
    live = first.status in LIVE and second.status in LIVE
    return live and first.start_at < second.end_at and second.start_at < first.end_at
