"""Bitmaps of crowds in Redis (人群位图): one bit for each numbered user, exact.

A bitmap is the table of one version of a crowd and never changes: every change of the crowd
gives it a new version, whose bitmap is not there until it has been built. Then, and when Redis is
away or emptied, the table answers. So a bitmap is right or missing, whatever is interrupted; and
because it never changes, each process keeps a copy of those it uses and need not ask again.

Bit 0 belongs to nobody and is always set: it tells an empty bitmap from a missing one.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import cast

from redis import Redis

from groupbuy.ids import new_id
from groupbuy.redis import ask
from tag.models import CrowdMember, CrowdPart, CrowdTag

LIFE = 600  # seconds without refresh() after which a bitmap goes, as those of old versions do
PAGE = 100_000  # members read at once
PIECE = 1024 * 1024  # bytes written at once
LARGEST_COPY = 4 * 1024 * 1024  # bytes: 33 million users; larger ones are asked bit by bit
COPIES = 64 * 1024 * 1024  # bytes of all copies in a process

_copies: dict[str, tuple[int, bytes]] = {}  # tag id -> version, bitmap


def look_up(number: int, versions: Mapping[str, int]) -> frozenset[str] | None:
    """Which of these crowds (tag id -> version) the user of this number is in.

    None: a bitmap is missing or Redis is away. One round trip, none for copies.
    """
    found = {tag_id: _bit_of_copy(tag_id, version, number) for tag_id, version in versions.items()}
    missing = {tag_id: versions[tag_id] for tag_id, bit in found.items() if bit is None}
    if missing:
        bits = ask(partial(_ask_bits, number, missing))
        if bits is None:
            return None
        found |= bits
    return frozenset(tag_id for tag_id, bit in found.items() if bit)


def refresh() -> int:
    """Build the bitmaps that are missing, keep the others alive; return how many were built."""
    built = 0
    for tag in CrowdTag.objects.all():
        if tag.size is None or ask(partial(_keep_alive, _key(tag.pk, tag.version))) is False:
            built += build(tag.pk)
    return built


def build(tag_id: str) -> bool:
    """Build the bitmap of the crowd as it is; False when it changed meanwhile or Redis is away."""
    version, bits = _current(tag_id)
    return version is not None and bool(ask(partial(_write, _key(tag_id, version), bits)))


def mismatches() -> Iterator[str]:
    """The crowds whose bitmap or size is there and is not the table's, as sentences."""
    for tag in CrowdTag.objects.all():
        found, wanted = ask(partial(_read, _key(tag.pk, tag.version))), _from_table(tag.pk)
        if _version(tag.pk) != tag.version:
            continue
        if found is not None and found != wanted:
            yield f"crowd {tag.pk}: its bitmap is not its table"
        if tag.size not in (None, _size(wanted)):
            yield f"crowd {tag.pk}: has {_size(wanted)} members and not {tag.size}"


def _key(tag_id: str, version: int) -> str:
    return f"gbm:crowd:{{{tag_id}}}:{version}"


def _version(tag_id: str) -> int | None:
    return CrowdTag.objects.filter(pk=tag_id).values_list("version", flat=True).first()


def _current(tag_id: str) -> tuple[int | None, bytes]:
    """The crowd's version and bits, its size noted; None when it changed while it was read."""
    version = _version(tag_id)
    bits = _from_table(tag_id)
    same = CrowdTag.objects.filter(pk=tag_id, version=version or 0)
    if not same.update(size=_size(bits)):
        return None, bits  # what was read may be the table of two versions
    return version, bits


def _size(bits: bytes) -> int:
    return int.from_bytes(bits).bit_count() - 1


def _from_table(tag_id: str) -> bytes:
    """The members' bits, read part by part in pages."""
    bits = bytearray(b"\x80")
    for part in CrowdPart.objects.filter(tag_id=tag_id, is_live=True):
        members, last = CrowdMember.objects.filter(part=part).order_by("user_id"), 0
        while numbers := list(
            members.filter(user_id__gt=last).values_list("user_id", flat=True)[:PAGE]
        ):
            last = numbers[-1]
            bits.extend(bytes(max(0, last // 8 + 1 - len(bits))))
            for number in numbers:
                bits[number >> 3] |= 0x80 >> (number & 7)
    return bytes(bits)


def _bit_of_copy(tag_id: str, version: int, number: int) -> bool | None:
    """None: there is no copy of that version."""
    copied, bits = _copies.get(tag_id, (None, b""))
    if copied != version:
        return None
    place = number >> 3
    return place < len(bits) and bool(bits[place] & 0x80 >> (number & 7))


def _ask_bits(number: int, versions: Mapping[str, int], redis: Redis) -> dict[str, bool] | None:
    """The user's bits of bitmaps that are all there, which are copied for the next time."""
    together = redis.pipeline(transaction=True)  # nothing goes between the questions
    for tag_id, version in versions.items():
        key = _key(tag_id, version)
        together.getbit(key, 0)
        together.getbit(key, number)
        together.strlen(key)
    answers = together.execute()
    if not all(answers[::3]):
        return None
    for (tag_id, version), length in zip(versions.items(), answers[2::3], strict=True):
        others = sum(len(bits) for kept, (_version, bits) in _copies.items() if kept != tag_id)
        if length <= LARGEST_COPY and length + others <= COPIES:
            bits = _read(_key(tag_id, version), redis)
            if bits:
                _copies[tag_id] = version, bits
    return dict(zip(versions, map(bool, answers[1::3]), strict=True))


def _keep_alive(key: str, redis: Redis) -> bool:
    return bool(redis.expire(key, LIFE))


def _read(key: str, redis: Redis) -> bytes | None:
    return cast("bytes | None", redis.get(key))


def _write(key: str, bits: bytes, redis: Redis) -> bool:
    """In pieces beside it, then at once in its place. The last piece first, which makes room."""
    unfinished = f"{key}:{new_id()}"
    for start in reversed(range(0, len(bits), PIECE)):
        redis.setrange(unfinished, start, bits[start : start + PIECE])
        redis.expire(unfinished, LIFE)
    together = redis.pipeline(transaction=True)
    together.rename(unfinished, key)
    together.expire(key, LIFE)
    together.execute()
    return True
