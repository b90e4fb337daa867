"""Ids seen outside: decimal strings of at most 19 digits, ordered by time, not guessable by +1.

41 bits of milliseconds since 2024 (good until 2093) and 22 random bits. A collision is a
primary-key conflict; whoever inserts retries with a new id.
"""

import secrets
import time

EPOCH_MS = 1_704_067_200_000
RANDOM_BITS = 22


def new_id() -> int:
    """A fresh id that fits a signed 64-bit column."""
    elapsed_ms = time.time_ns() // 1_000_000 - EPOCH_MS
    return (elapsed_ms << RANDOM_BITS) | secrets.randbits(RANDOM_BITS)
