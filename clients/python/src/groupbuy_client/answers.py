"""The platform's answers. Fields have the wire's names in snake case; money is Decimal, and times
are aware datetimes. Unknown fields, which a later platform may add, are ignored.
"""

import types
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum, IntEnum
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
FEN = Decimal("0.01")


class OrderStatus(IntEnum):
    LOCKED = 0
    PAID = 1
    CLOSED = 2


class TeamStatus(IntEnum):
    FORMING = 0
    COMPLETE = 1
    FAILED = 2
    COMPLETE_WITH_REFUNDS = 3


@dataclass(frozen=True, slots=True)
class Goods:
    goods_id: str
    goods_name: str
    original_price: Decimal
    deduction_price: Decimal
    pay_price: Decimal


@dataclass(frozen=True, slots=True)
class TeamCard:
    """An open team as shoppers see it; the user ids of other shoppers are masked."""

    user_id: str
    team_id: str
    activity_id: int
    target_count: int
    complete_count: int
    lock_count: int
    valid_start_time: datetime
    valid_end_time: datetime
    valid_time_countdown: str
    out_trade_no: str | None


@dataclass(frozen=True, slots=True)
class Statistic:
    all_team_count: int
    all_team_complete_count: int
    all_team_user_count: int


@dataclass(frozen=True, slots=True)
class Market:
    """The index query's answer: price, open teams, statistics."""

    activity_id: int
    goods: Goods
    visible: bool
    enable: bool
    team_list: tuple[TeamCard, ...]
    team_statistic: Statistic


@dataclass(frozen=True, slots=True)
class Refusal:
    code: str
    info: str


@dataclass(frozen=True, slots=True)
class Trial:
    """The price for one shopper, and every reason why the shopper may not buy at it.

    visible and enable are about the crowd only: check refusals first.
    """

    activity_id: int | None
    goods: Goods | None
    visible: bool
    enable: bool
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Seat:
    """The answer to lock(): charge exactly pay_price."""

    order_id: str
    original_price: Decimal
    deduction_price: Decimal
    pay_price: Decimal
    trade_order_status: OrderStatus
    team_id: str


@dataclass(frozen=True, slots=True)
class Settlement:
    user_id: str
    team_id: str
    activity_id: int
    out_trade_no: str


@dataclass(frozen=True, slots=True)
class Refund:
    """The order is closed, unless code is "fail": then nothing has changed.

    Return money on TeamRefund, not on this answer.
    """

    user_id: str
    order_id: str
    team_id: str
    code: Literal["success", "repeat", "fail"]
    info: str


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The refund as the platform has recorded it; a repeat gets the first one."""

    user_id: str
    order_id: str
    team_id: str
    out_trade_no: str
    refund_amount: Decimal
    refund_time: datetime


@dataclass(frozen=True, slots=True)
class Member:
    user_id: str
    out_trade_no: str
    trade_order_status: OrderStatus


@dataclass(frozen=True, slots=True)
class Team:
    team_id: str
    activity_id: int
    goods_id: str
    status: TeamStatus
    completed_by_shop: bool
    target_count: int
    lock_count: int
    complete_count: int
    valid_start_time: datetime
    valid_end_time: datetime
    valid_time_countdown: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """An event of an order, and its time."""

    event: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Order:
    out_trade_no: str
    user_id: str
    activity_id: int
    order_id: str
    original_price: Decimal
    deduction_price: Decimal
    pay_price: Decimal
    trade_order_status: OrderStatus
    close_reason: str
    pay_deadline: datetime
    team_id: str
    team_status: TeamStatus
    refund_amount: Decimal | None  # None: no refund has been confirmed
    refund_time: datetime | None
    timeline: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class TeamSuccess:
    """The team is complete: ship to exactly these orders. The id is the same on every copy."""

    id: str
    team_id: str
    out_trade_no_list: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TeamRefund:
    """The order is closed. The id is the same on every copy."""

    id: str
    type: Literal["unpaid_unlock", "paid_unformed", "paid_formed"]
    user_id: str
    team_id: str
    order_id: str
    out_trade_no: str
    activity_id: int

    @property
    def money_is_due(self) -> bool:
        """Does the shopper get money back because of this notification?"""
        return self.type != "unpaid_unlock"


@dataclass(frozen=True, slots=True)
class Event:
    """A notification, numbered for its channel: store `no` as the next `after`."""

    no: int
    id: str
    event: str
    payload: dict[str, Any]
    created_at: datetime

    @property
    def notification(self) -> TeamSuccess | TeamRefund:
        """The event as a callback's notification. Raises ValueError for an unknown event."""
        return as_notification(self.id, self.payload)


@dataclass(frozen=True, slots=True)
class Page:
    events: tuple[Event, ...]
    next: int
    has_more: bool


def as_notification(key: str, payload: Any) -> TeamSuccess | TeamRefund:
    """Read the payload of a callback, a message or an event. Raises ValueError."""
    fields = payload if isinstance(payload, Mapping) else {}
    if "outTradeNoList" in fields:
        return read(TeamSuccess, {**fields, "id": key})
    return read(TeamRefund, {**fields, "id": key})


def read(cls: type[T], data: Mapping[str, Any]) -> T:
    """Make a dataclass from a JSON object. Raises ValueError if a field is missing or wrong.

    A field that may be null may also be missing: an older platform does not have it.
    """
    values = {}
    for name, wire_name, hint in _fields(cls):  # type: ignore[arg-type]  # types are hashable
        try:
            is_missing = get_origin(hint) is types.UnionType and wire_name not in data
            values[name] = None if is_missing else _value(hint, data[wire_name])
        except (KeyError, TypeError, ValueError, ArithmeticError) as exc:
            raise ValueError(f"{cls.__name__}.{wire_name}: {exc!r}") from exc
    return cls(**values)


@cache
def _fields(cls: type) -> list[tuple[str, str, Any]]:
    """Each field's name here, its name on the wire, and its type."""
    return [(name, _camel(name), hint) for name, hint in get_type_hints(cls).items()]


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _value(hint: Any, value: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is types.UnionType:
        return None if value is None else _value(arguments[0], value)
    if origin is tuple:
        return tuple(_value(arguments[0], each) for each in _scalar(list, value))
    if origin is Literal:
        return _one_of(arguments, value)
    if is_dataclass(hint) and isinstance(hint, type):
        return read(hint, value)
    return _scalar(origin or hint, value)


def _one_of(choices: tuple[str, ...], value: Any) -> str:
    if value not in choices:
        raise ValueError(f"{value!r} is none of {choices}")
    return str(value)


def _scalar(hint: Any, value: Any) -> Any:
    if hint is Decimal:
        return Decimal(value).quantize(FEN)
    if hint is datetime:
        return datetime.fromisoformat(value)
    if issubclass(hint, Enum):
        return hint(value)
    if type(value) is not hint:
        raise TypeError(f"{value!r} is no {hint.__name__}")
    return value
