"""The part of a page that says where one stands and what to do: a headline, and one main action."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Tone(Enum):
    """What kind of news a panel has; the stylesheet knows these words."""

    CALM = "calm"
    GOOD = "good"
    WAIT = "wait"  # something has to be done, or is being done
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Action:
    label: str
    url: str
    shares: bool = False  # hands the link on instead of following it


@dataclass(frozen=True, slots=True)
class Panel:
    headline: str
    lead: Sequence[str]  # sentences
    main: Action
    also: Sequence[Action] = ()
    until: datetime | None = None  # what the countdown counts to
    until_label: str = ""
    tone: Tone = Tone.CALM
    later: str = ""  # shown when the page has waited in vain for a while
