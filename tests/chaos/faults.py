"""What breaks, and how it is repaired."""

import random
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from tests.chaos import stack
from tests.chaos.sink import MODES, Sink
from tests.chaos.stack import Stack

OUTAGE = (0.3, 2.5)  # seconds that something is away
BREATH = (0.0, 1.0)  # seconds between two faults
Fault = tuple[str, Callable[[], None], Callable[[], None]]  # name, break, repair


def break_things(processes: Stack, sink: Sink, seed: int, until: float) -> Counter[str]:
    """Every fault once in a random order, then again; returns how often each one was."""
    rng, count, waiting = random.Random(seed), Counter[str](), list[Fault]()
    while time.monotonic() < until:
        waiting = waiting or rng.sample(_faults(processes, sink), k=len(_faults(processes, sink)))
        name, damage, repair = waiting.pop()
        damage()
        count[name] += 1
        time.sleep(rng.uniform(*OUTAGE))
        repair()
        processes.revive()
        time.sleep(rng.uniform(*BREATH))
    return count


def _faults(processes: Stack, sink: Sink) -> list[Fault]:
    def set_mode(mode: str) -> None:
        sink.mode = mode

    return [
        *(
            (f"SIGKILL {name.split()[0]}", partial(processes.kill, name), processes.revive)
            for name in stack.COMMANDS
        ),
        *(
            (f"{name} away", partial(stack.crash, name), partial(stack.restart, name))
            for name in ("redis", "rabbitmq", "mariadb")
        ),
        *(
            (f"sink: {mode}", partial(set_mode, mode), partial(set_mode, ""))
            for mode in MODES
            if mode
        ),
        ("redis flushed", stack.flush_redis, processes.revive),
    ]
