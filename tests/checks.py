"""Questions that several tests ask of the whole database."""

from tag.crowd import crowds_of
from trade import invariants


def broken_invariants() -> dict[str, list[str]]:
    """The sentence of each timeless invariant that does not hold -> the rows that break it."""
    return {sentence: rows for sentence, rows in invariants.check_all() if rows}


def is_member(tag_id: str, user_id: str) -> bool:
    return tag_id in crowds_of(user_id, [tag_id])
