"""People and teams as everybody may see them: a masked name, a letter in a coloured dot."""

from dataclasses import dataclass
from datetime import datetime

from trade.market import OpenTeam, mask


@dataclass(frozen=True, slots=True)
class Seat:
    name: str  # masked; "" for a free seat
    paid: bool = False
    is_me: bool = False

    @property
    def letter(self) -> str:
        return _letter(self.name)

    @property
    def colour(self) -> int:
        return _colour(self.name)


@dataclass(frozen=True, slots=True)
class TeamRow:
    """An open team in a list."""

    code: str
    name: str  # masked, of its earliest member or of the inviter
    missing: int
    unpaid: int
    until: datetime
    is_friend: bool  # this member was in the team that the page is about

    @property
    def letter(self) -> str:
        return _letter(self.name)

    @property
    def colour(self) -> int:
        return _colour(self.name)


def row_of(each: OpenTeam, *, is_friend: bool = False) -> TeamRow:
    team = each.team
    return TeamRow(
        code=each.code,
        name=mask(each.user_id),
        missing=team.target_count - team.locked_count,
        unpaid=team.locked_count - team.paid_count,
        until=team.expires_at,
        is_friend=is_friend,
    )


def _letter(name: str) -> str:
    return name[:1].upper()


def _colour(name: str) -> int:
    """0 to 5, the same for the same name."""
    return sum(map(ord, name)) % 6
