"""The model of a campaign (拼团测算): buyers, their friends, and the teams that they form.

1. Buyers arrive at random, `buyers` a day on average (a Poisson process).
2. A buyer joins a random team with a free seat with probability `joins`, and opens a team otherwise
   or if there is none.
3. A seat is paid with probability `pays`, within PAY_MINUTES; else it is free again after `hold`.
4. Each member who has paid brings friends to this team: on average `spread` (a Poisson number),
   each after an exponential time with mean `friend_minutes`. Without a free seat they leave.
5. A team completes when its last seat is paid. After `minutes` it fails, or the shop completes it.
6. A buyer gives a kept seat back with probability `returns`, after the completion.

Nothing here reads the database. Times are minutes.
"""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

PAY_MINUTES = 5.0  # a payment comes within this time, uniformly
RUNS = 100
FITTED_SEATS = 5000  # seats of a fit
MOST_FRIENDS = 5.0  # the largest spread that a fit tries; with a larger one a seat takes longer


@dataclass(frozen=True, slots=True)
class Rules:
    """The activity's rules."""

    target: int
    minutes: int  # a team has
    hold: int  # minutes to pay
    shop_completes: bool


@dataclass(frozen=True, slots=True)
class Guess:
    """Behaviour of shoppers; shares are 0 to 1."""

    buyers: float  # a day, without those whom members bring
    joins: float
    spread: float
    friend_minutes: float
    pays: float
    returns: float


@dataclass(slots=True)
class Team:
    ends: float
    taken: int = 0
    paid: int = 0
    index: int = -1  # in Campaign._open; -1: not in it


@dataclass(slots=True)
class Outcome:
    """One simulated campaign. Seats are numbers of orders."""

    opened: int = 0
    full: int = 0
    by_shop: int = 0
    failed: int = 0
    paid: int = 0  # seats
    returned: int = 0  # seats paid and given back, by their buyers or by failed teams
    peak: int = 0  # seats taken in forming teams at one time


@dataclass
class Campaign:
    """One run. Teams that still form after the last day are simulated until they have ended."""

    rules: Rules
    guess: Guess
    chance: Random
    outcome: Outcome = field(default_factory=Outcome)
    _events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = field(
        default_factory=list
    )
    _open: list[Team] = field(default_factory=list)  # teams with a free seat
    _seats: int = 0  # taken in forming teams
    _number: int = 0

    def run(self, days: int) -> Outcome:
        now, end = 0.0, days * 24 * 60.0
        rate = self.guess.buyers / (24 * 60)
        while rate and (now := now + self.chance.expovariate(rate)) < end:
            self._at(now, self._arrive)
        while self._events:
            now, _number, event, about = heapq.heappop(self._events)
            event(now, *about)
        return self.outcome

    def _at(self, moment: float, event: Callable[..., None], *about: object) -> None:
        self._number += 1
        heapq.heappush(self._events, (moment, self._number, event, about))

    def _arrive(self, now: float) -> None:
        if self._open and self.chance.random() < self.guess.joins:
            self._take(now, self.chance.choice(self._open))
            return
        team = Team(ends=now + self.rules.minutes)
        self.outcome.opened += 1
        self._list(team)
        self._at(team.ends, self._end, team)
        self._take(now, team)

    def _take(self, now: float, team: Team) -> None:
        team.taken += 1
        self._seats += 1
        self.outcome.peak = max(self.outcome.peak, self._seats)
        if team.taken == self.rules.target:
            self._unlist(team)
        if self.chance.random() < self.guess.pays:
            most = min(PAY_MINUTES, self.rules.hold)
            self._at(now + self.chance.random() * most, self._pay, team)
        else:
            self._at(now + self.rules.hold, self._release, team)

    def _pay(self, now: float, team: Team) -> None:
        if team.ends <= now:  # too late: the money goes back
            return
        team.paid += 1
        self.outcome.paid += 1
        if team.paid == self.rules.target:
            self._complete(team)
            self.outcome.full += 1
            return
        for _friend in range(_poisson(self.chance, self.guess.spread)):
            later = self.chance.expovariate(1) * self.guess.friend_minutes
            self._at(now + later, self._come, team)

    def _come(self, now: float, team: Team) -> None:
        if now < team.ends and team.taken < self.rules.target:
            self._take(now, team)

    def _release(self, now: float, team: Team) -> None:
        if now < team.ends:
            team.taken -= 1
            self._seats -= 1
            self._list(team)

    def _end(self, _now: float, team: Team) -> None:
        if team.paid == self.rules.target:
            return
        if team.paid and self.rules.shop_completes:
            self._complete(team)
            self.outcome.by_shop += 1
        else:
            self._close(team)
            self.outcome.failed += 1
            self.outcome.returned += team.paid

    def _complete(self, team: Team) -> None:
        self._close(team)
        self.outcome.returned += sum(
            self.chance.random() < self.guess.returns for _seat in range(team.paid)
        )

    def _close(self, team: Team) -> None:
        self._unlist(team)
        self._seats -= team.taken
        team.ends = -math.inf

    def _list(self, team: Team) -> None:
        if team.index < 0:
            team.index = len(self._open)
            self._open.append(team)

    def _unlist(self, team: Team) -> None:
        """Move the last team to the index of this one, in constant time."""
        if team.index >= 0:
            last = self._open.pop()
            if last is not team:
                last.index = team.index
                self._open[team.index] = last
            team.index = -1


def _poisson(chance: Random, mean: float) -> int:
    """Source: Knuth, The Art of Computer Programming, 3.4.1, algorithm Q."""
    limit, number, product = math.exp(-mean), 0, chance.random()
    while product > limit:
        number += 1
        product *= chance.random()
    return number


def simulate(rules: Rules, guess: Guess, *, days: int, seed: int) -> list[Outcome]:
    """RUNS independent campaigns. The same seed gives the same outcomes."""
    chances = (Random(f"{seed}/{run}") for run in range(RUNS))  # noqa: S311  no secret
    return [Campaign(rules, guess, chance).run(days) for chance in chances]


def fitted_spread(rules: Rules, guess: Guess, *, seats: float) -> float:
    """The spread with which a team gets so many paid seats on average, by bisection.

    Friends per member cannot be counted in real teams: a full team turns friends away, and a team
    may end before they come.
    """
    low, high = 0.0, MOST_FRIENDS
    teams = max(20, min(1000, FITTED_SEATS // rules.target))
    for _step in range(10):
        middle = (low + high) / 2
        alone = replace(guess, buyers=teams, joins=0, spread=middle)
        outcome = Campaign(rules, alone, Random(1)).run(days=1)  # noqa: S311  no secret
        low, high = (middle, high) if outcome.paid < seats * outcome.opened else (low, middle)
    return low


def expected_seats(rules: Rules, guess: Guess, *, days: int) -> float:
    """An upper bound of the seats taken in one run on average, which decide how long it takes."""
    family, generation = 1.0, 1.0
    while generation > 0.01 and family < rules.target:
        generation *= guess.spread * guess.pays
        family += generation
    return guess.buyers * days * min(family, rules.target)
