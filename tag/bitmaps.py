"""Bitmaps of crowds in Redis (人群位图): one bit for each numbered user, exact.

A bitmap is the table of one version of a crowd and never changes: every change of the crowd
gives it a new version, whose bitmap is not there until it has been built. Then, and when Redis is
away or emptied, the table answers. So a bitmap is right or missing, whatever is interrupted.

Bit 0 belongs to nobody and is always set: it tells an empty bitmap from a missing one.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import cast

from redis import Redis

from groupbuy.ids import new_id
from groupbuy.redis import ask
from tag.models import CrowdMember, CrowdTag

LIFE = 600  # seconds without refresh() after which a bitmap goes, as those of old versions do
PAGE = 100_000  # members read at once
PIECE = 1024 * 1024  # bytes written at once


def look_up(number: int, versions: Mapping[str, int]) -> frozenset[str] | None:
    """Which of these crowds (tag id -> version) the user of this number is in.

    None: a bitmap is missing or Redis is away. One round trip.
    """

    def bits(redis: Redis) -> list[int]:
        together = redis.pipeline(transaction=True)  # nothing goes between the two questions
        for tag_id, version in versions.items():
            together.getbit(_key(tag_id, version), 0)
            together.getbit(_key(tag_id, version), number)
        answers: list[int] = together.execute()
        return answers

    found = ask(bits)
    if found is None or not all(found[::2]):
        return None
    return frozenset(tag_id for tag_id, bit in zip(versions, found[1::2], strict=True) if bit)


def refresh() -> int:
    """Build the bitmaps that are missing, keep the others alive; return how many were built."""
    built = 0
    for tag in CrowdTag.objects.all():
        if ask(partial(_keep_alive, _key(tag.pk, tag.version))) is False:
            built += build(tag.pk)
    return built


def build(tag_id: str) -> bool:
    """Build the bitmap of the crowd as it is; False when it changed meanwhile or Redis is away."""
    version = _version(tag_id)
    bits = _from_table(tag_id)
    if version is None or _version(tag_id) != version:
        return False  # what was read may be the table of two versions
    return bool(ask(partial(_write, _key(tag_id, version), bits)))


def mismatches() -> Iterator[str]:
    """The crowds whose bitmap is there and is not the table, as sentences."""
    for tag in CrowdTag.objects.all():
        found, wanted = ask(partial(_read, _key(tag.pk, tag.version))), _from_table(tag.pk)
        if found is not None and found != wanted and _version(tag.pk) == tag.version:
            yield f"crowd {tag.pk}: its bitmap is not its table"


def _key(tag_id: str, version: int) -> str:
    return f"gbm:crowd:{{{tag_id}}}:{version}"


def _version(tag_id: str) -> int | None:
    return CrowdTag.objects.filter(pk=tag_id).values_list("version", flat=True).first()


def _from_table(tag_id: str) -> bytes:
    """The members' bits, read in pages."""
    members = CrowdMember.objects.filter(tag_id=tag_id).order_by("user_id")
    bits, last = bytearray(b"\x80"), 0
    while numbers := list(
        members.filter(user_id__gt=last).values_list("user_id", flat=True)[:PAGE]
    ):
        last = numbers[-1]
        bits.extend(bytes(last // 8 + 1 - len(bits)))
        for number in numbers:
            bits[number >> 3] |= 0x80 >> (number & 7)
    return bytes(bits)


def _keep_alive(key: str, redis: Redis) -> bool:
    return bool(redis.expire(key, LIFE))


def _read(key: str, redis: Redis) -> bytes | None:
    return cast("bytes | None", redis.get(key))


def _write(key: str, bits: bytes, redis: Redis) -> bool:
    """In pieces beside it, then at once in its place."""
    unfinished = f"{key}:{new_id()}"
    for start in range(0, len(bits), PIECE):
        redis.setrange(unfinished, start, bits[start : start + PIECE])
        redis.expire(unfinished, LIFE)
    together = redis.pipeline(transaction=True)
    together.rename(unfinished, key)
    together.expire(key, LIFE)
    together.execute()
    return True
