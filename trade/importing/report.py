"""One run of the import: what it finds and counts, and the consequence of each finding."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple, TypeVar

from django.db.models import Model

T = TypeVar("T", bound=Model)


class Finding(Enum):
    """A fault in the source, and its consequence."""

    def __init__(self, wrong: str, becomes: str) -> None:
        self.wrong = wrong
        self.becomes = becomes

    NO_PRICE = "goods cost less than one fen", "left out, with their offers"
    BAD_PLAN = (
        "discount has an unknown plan or an unreadable expression",
        "kept; the activity sells nothing until it is corrected in the console",
    )
    NO_DISCOUNT = "activity has a discount that does not exist", "left out, with its teams"
    NO_CROWD = "crowd does not exist", "not restricted, as the reference handles it"
    BAD_WINDOW = "activity ends before it starts", "its end is set one second after its start"
    BAD_RULES = "activity has a target, limit or time below 1", "1 is entered"
    LIMIT_EXCEEDED = "a user has more orders than the activity allows", "the limit is raised"
    SHOP_COMPLETES = (
        "activity has group type 0, which the reference does not carry out",
        "kept: at its end, a team with a payment is completed; enter 1 if it is to fail",
    )
    BAD_JOB = "crowd job has an unreadable rule or an empty window", "left out"
    BAD_MEMBER = "crowd member has an unreadable user id or an unknown crowd", "left out"
    NO_OFFER = "offer of goods or an activity that are not imported", "left out"

    NO_TEAM = "orders of a team that does not exist", "left out"
    NO_ORDERS = "team has no order", "left out"
    BAD_TEAM = "team has an unreadable id, an unknown activity or no end", "left out, with orders"
    BAD_ORDER = (
        "order has an unreadable id, number, price or user, or is not of its team's channel",
        "left out",
    )
    REPEATED_NUMBER = "out_trade_no is there twice", "one order keeps it; this one is left out"
    TAKEN_NUMBER = "out_trade_no belongs to another order here", "team is left out"
    UNSETTLED = (
        "order has a payment time but is not paid",
        "imported as unpaid; if the mall has the money, it settles the order again",
    )
    REFUND_NOTIFIED = "order is live, but its refund notification was made", "order is closed"
    NO_PAYMENT_TIME = "order is paid without a payment time", "paid when it was locked"
    WRONG_COUNTS = "counts do not fit the orders", "counted again"
    LOCKED_LATE = "seat was locked after the team's end", "seat is released, mall is notified"
    PAID_LATE = "seat was paid after the team's end", "order is closed, its money goes back"
    PAID_LATE_COMPLETE = "seat of a complete team was paid after its end", "the end is moved"
    TWO_SEATS = "user has two seats in a team", "the later one is closed, its money goes back"
    TWO_SEATS_COMPLETE = "user has two seats in a complete team", "the later order is left out"
    OVERSOLD = "team has more members than seats", "later ones are closed, their money goes back"
    OVERSOLD_COMPLETE = "complete team has more members than seats", "its target is raised"
    UNPAID_COMPLETE = "complete team has an unpaid seat", "seat is released, mall is notified"
    SHORT_COMPLETE = "complete team has fewer payments than seats", "completed by the shop"
    LIVE_IN_FAILED = "failed team has members", "their seats are released, money goes back"
    NEVER_COMPLETED = "team is full and paid, but open", "completed; the mall is notified"
    PAST_END_FAILS = (
        "team is past its end and still open",
        "fails; its seats are released, money goes back",
    )
    PAST_END_COMPLETES = (
        "team of group type 0 with payments is past its end and still open",
        "completed by the shop; unpaid seats are released",
    )
    NEVER_NOTIFIED = "mall has never been notified", "it is notified now"
    GIVEN_UP = "notification was given up", "imported as given up; replay_notifications sends it"
    CHANGED = (
        "team was imported before, and the source has new orders or payments since",
        "nothing: what is here stays; see docs/migration.md",
    )


class Count(NamedTuple):
    new: int = 0
    here: int = 0


class Books:
    """Where the paid orders of the source went: name -> orders and yuan."""

    def __init__(self) -> None:
        self.orders: Counter[str] = Counter()
        self.amounts: defaultdict[str, Decimal] = defaultdict(Decimal)

    def add(self, name: str, amount: Decimal) -> None:
        self.orders[name] += 1
        self.amounts[name] += amount


class Import:
    """One run of the import. Without writes it only reports: a line for each finding, then sums."""

    def __init__(self, print_line: Callable[[str], object], *, writes: bool, now: datetime) -> None:
        self._print = print_line
        self.writes = writes
        self.now = now
        self.findings: Counter[Finding] = Counter()
        self.counts: defaultdict[str, Count] = defaultdict(Count)
        self.books = Books()

    def found(self, finding: Finding, where: str, detail: str = "") -> None:
        self.findings[finding] += 1
        more = f" ({detail})" if detail else ""
        self._print(f"  {where}{more}: {finding.wrong} → {finding.becomes}")

    def note(self, text: str) -> None:
        """Print something that an operator should do."""
        self._print(f"  {text}")

    def count(self, kind: str, *, new: int = 0, here: int = 0) -> None:
        before = self.counts[kind]
        self.counts[kind] = Count(before.new + new, before.here + here)

    def find_or_add(self, kind: str, model: type[T], defaults: Mapping[str, Any], **keys: Any) -> T:
        """The row with these keys; without one, a new row, which a dry run does not save."""
        saved = all(key.pk for key in keys.values() if isinstance(key, Model))
        row = model._default_manager.filter(**keys).first() if saved else None
        self.count(kind, new=row is None, here=row is not None)
        if row is None:
            row = model(**keys, **defaults)
            if self.writes:
                row.save(force_insert=True)
        return row

    def print_sums(self) -> None:
        self._print(f"\n{'':20}{'new':>10}{'here already':>14}")
        for kind, count in self.counts.items():
            self._print(f"{kind:20}{count.new:>10}{count.here:>14}")
        self._print("\nPaid orders of the source that are not here yet, and their money:")
        for name in self.books.orders:
            self._print(
                f"  {name:36}{self.books.orders[name]:>10}{self.books.amounts[name]:>16.2f}"
            )
        self._print("\nFindings:" if self.findings else "\nNothing is wrong in the source.")
        for finding, number in self.findings.most_common():
            self._print(f"{number:>8}  {finding.wrong} → {finding.becomes}")
