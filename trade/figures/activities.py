"""Figures of each activity (活动): its money, its teams and their outcomes."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from django.utils.translation import gettext as _

from trade.figures import drawing as draw
from trade.figures import period
from trade.figures.drawing import Drawing, Key, Picture
from trade.figures.period import FIELDS, Business
from trade.figures.teams import ended
from trade.models import DailySum

MOST = 8  # activities drawn


@dataclass
class Campaign:
    """The outcomes of the teams opened under an activity, and the money of its orders."""

    teams: Counter[str] = field(default_factory=Counter)  # team, shop, failed, running
    paid: int = 0  # seats
    settled: Decimal = Decimal(0)
    returned: Decimal = Decimal(0)

    @property
    def opened(self) -> int:
        return self.teams.total()

    @property
    def rate(self) -> str:
        """Full teams, as a share of those that have ended."""
        return draw.percent(self.teams["team"], ended(self.teams))

    def add(self, part: str, count: int, amount: Decimal) -> None:
        match part:
            case "settled":
                self.paid += count
                self.settled += amount
            case "returned":
                self.returned += amount
            case ending:
                self.teams[ending] += count


def of_activity(activity_id: int, now: datetime) -> Campaign:
    """All days of an activity: the kept sums and today's rows. Reads a few rows for each day."""
    prefix = f"{activity_id}:"
    day, today = period.today(now)
    kept = DailySum.objects.filter(
        figure="activity", bucket__gte=prefix, bucket__lt=f"{activity_id};"
    ).exclude(day=day)
    campaign = Campaign()
    for _made, _figure, bucket, count, amount in kept.values_list(*FIELDS):
        campaign.add(bucket.removeprefix(prefix), count, amount)
    for (figure, bucket), value in today.items():
        if figure == "activity" and bucket.startswith(prefix):
            campaign.add(bucket.removeprefix(prefix), value.count, value.amount)
    return campaign


def activities(business: Business) -> Picture:
    """The activities of the period beside each other, the one with the most money first."""
    campaigns: dict[str, Campaign] = {}
    for bucket, value in business.period.sums("activity"):
        activity, _colon, part = bucket.partition(":")
        campaigns.setdefault(activity, Campaign()).add(part, value.count, value.amount)
    found = sorted(campaigns.items(), key=lambda each: (-each[1].settled, each[0]))
    shoppers = business.period.counts("stages")
    rows = [
        [
            business.activities.get(pk, pk), each.settled, each.returned, each.opened,
            each.teams["team"], each.teams["shop"], each.teams["failed"], each.teams["running"],
            each.rate, shoppers[f"activity:{pk}:locked"], shoppers[f"activity:{pk}:paid"],
        ]
        for pk, each in found
    ]  # fmt: skip
    return Picture(
        "activities",
        _("Activities"),
        _(
            "GMV and money given back of the orders locked in these days; teams opened in these"
            " days and what became of them, with the completion rate in per cent; shoppers, each"
            " once a day."
        ),
        _drawn([(str(row[0]), each) for row, (_pk, each) in zip(rows, found, strict=True)]),
        [
            _("activity"), _("GMV settled"), _("money given back"), _("teams opened"),
            _("full"), _("completed at its end"), _("failed"), _("still forming"),
            _("completion rate"), _("shoppers who locked"), _("shoppers who paid"),
        ],
        rows,
    )  # fmt: skip


def _drawn(campaigns: list[tuple[str, Campaign]]) -> Drawing:
    shown, row, left, right = campaigns[:MOST], 30, 150, draw.WIDTH - 80
    best = shown[0] if shown else ("–", Campaign())
    picture = Drawing(
        _("%(activity)s settled most: %(money)s.")
        % {"activity": best[0], "money": draw.money(best[1].settled)},
        height=8 + row * max(len(shown), 1),
        keys=[Key("team", _("GMV settled")), Key("back", _("money given back"))],
    )
    most = max((each.settled for _name, each in shown), default=Decimal(0)) or Decimal(1)
    for n, (name, each) in enumerate(shown):
        y = 4 + n * row
        picture.text(left - 8, y + 12, draw.shortened(name), anchor="end")
        for colour, money, top in (("team", each.settled, 0), ("back", each.returned, 13)):
            width = (right - left) * min(float(money / most), 1)
            picture.bar(colour, left, y + top, width, 11, draw.said(name, draw.money(money)))
        picture.text(draw.WIDTH, y + 12, f"{draw.money(each.settled)}", anchor="end")
        picture.text(draw.WIDTH, y + 24, each.rate, anchor="end")
    return picture
