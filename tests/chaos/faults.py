"""The faults of a run, and how each is repaired."""

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import redis
import requests

from tests.chaos.cluster import Cluster
from tests.chaos.receiver import MODES, WELL, Mode, Receiver
from tests.chaos.stack import Stack
from tests.stack import direct_session

OUTAGE = (0.3, 2.5)  # seconds of an outage, from and to
CUT = (1, 8)  # seconds that a node is cut off from its peers
BREATH = (0.0, 1.0)  # seconds between two faults, from and to
KNOBS = (("lose", "on", "off"), ("repeat", "2", "0"), ("falsify", "amount", ""))
Fault = tuple[str, Callable[[], None], Callable[[], None]]  # name, break, repair


def break_things(stack: Stack, receiver: Receiver, seed: int, until: float) -> Counter[str]:
    """Inject all faults in random order, again and again; return how often each one occurred."""
    rng, count, waiting = random.Random(seed), Counter[str](), list[Fault]()
    faults = _faults(stack, receiver)
    while time.monotonic() < until:
        waiting = waiting or rng.sample(faults, k=len(faults))
        name, damage, repair = waiting.pop()
        damage()
        count[name] += 1
        time.sleep(rng.uniform(*(CUT if name.endswith("cut off") else OUTAGE)))
        repair()
        stack.revive()
        time.sleep(rng.uniform(*BREATH))
    return count


def _faults(stack: Stack, receiver: Receiver) -> list[Fault]:
    services = stack.services

    def set_mode(mode: Mode) -> None:
        receiver.mode = mode

    cuts = services.faults() if isinstance(services, Cluster) else []
    return [
        *cuts,
        *(
            (f"SIGKILL {name.split()[0]}", partial(stack.kill, name), stack.revive)
            for name in stack.commands
        ),
        *(
            (f"{name} away", partial(services.crash, name), partial(services.restart, name))
            for name in services.names
        ),
        *(
            (f"mall: {name}", partial(set_mode, mode), partial(set_mode, WELL))
            for name, mode in MODES.items()
        ),
        *(
            (
                f"alipay: {knob}",
                partial(_set_knobs, stack.alipay_port, {knob: bad}),
                partial(_set_knobs, stack.alipay_port, {knob: good}),
            )
            for knob, bad, good in KNOBS
        ),
        ("redis flushed", partial(_flush, stack.environment["REDIS_URL"]), stack.revive),
    ]


def _set_knobs(port: int, knobs: dict[str, str]) -> None:
    """Set knobs of the pretend Alipay, unless it is down; it starts with the defaults."""
    with suppress(requests.RequestException):
        direct_session().post(f"http://127.0.0.1:{port}/knobs", data=knobs, timeout=5)


def _flush(redis_url: str) -> None:
    with suppress(redis.RedisError), redis.Redis.from_url(redis_url) as connection:
        connection.flushall()
