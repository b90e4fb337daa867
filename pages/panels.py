"""The panel of a page: a headline for the state, one main action, and the other actions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Tone(Enum):
    """What kind of news a panel has; all but CALM are classes in static/pages.css."""

    CALM = "calm"
    GOOD = "good"
    WAIT = "wait"  # the shopper has to do something, or the shop or the platform is working
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Action:
    label: str
    url: str
    shares: bool = False  # the button shares the link instead of following it


@dataclass(frozen=True, slots=True)
class Panel:
    headline: str
    lead: Sequence[str]  # sentences
    main: Action
    also: Sequence[Action] = ()
    until: datetime | None = None  # end of the countdown
    until_label: str = ""
    tone: Tone = Tone.CALM
    later: str = ""  # shown after the page has polled in vain for a while (static/live.js)
