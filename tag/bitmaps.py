"""Bitmaps of crowds in Redis (人群位图): one bit for each numbered user, exact.

A bitmap mirrors one version of the membership table and is immutable: every change of a crowd gives
the crowd a new version, and the bitmap of that version is missing until it has been built. While it
is missing, or Redis is down, membership is read from the table. So a bitmap is right or missing,
whatever is interrupted, and each process can keep copies of the bitmaps that it uses.

Bit 0 belongs to no user and is always set: it distinguishes an empty bitmap from a missing one.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import cast

from redis import Redis

from groupbuy.ids import new_id
from groupbuy.redis import try_redis
from tag.models import CrowdMember, CrowdPart, CrowdTag

LIFE = 600  # TTL in seconds; refresh() renews it, old versions expire
PAGE = 100_000  # members read at once
PIECE = 1024 * 1024  # bytes written at once
LARGEST_COPY = 4 * 1024 * 1024  # bytes: 33 million users; larger bitmaps stay in Redis
COPIES = 64 * 1024 * 1024  # upper bound of all copies in a process, in bytes

_copies: dict[str, tuple[int, bytes]] = {}  # tag id -> version, bitmap


def look_up(number: int, versions: Mapping[str, int]) -> frozenset[str] | None:
    """The crowds among these (tag id -> version) that the user with this number belongs to.

    None if a bitmap is missing or Redis is down. Takes one round trip for the bits, one for each
    bitmap to copy, and none if this process has copies of all of them.
    """
    found = {tag_id: _bit_of_copy(tag_id, version, number) for tag_id, version in versions.items()}
    missing = {tag_id: versions[tag_id] for tag_id, bit in found.items() if bit is None}
    if missing:
        bits = try_redis(partial(_read_bits, number, missing))
        if bits is None:
            return None
        found |= bits
    return frozenset(tag_id for tag_id, bit in found.items() if bit)


def refresh() -> int:
    """Build the missing bitmaps and renew the TTL of the others; return how many were built."""
    built = 0
    for tag in CrowdTag.objects.all():
        if tag.size is None or try_redis(partial(_keep_alive, _key(tag.pk, tag.version))) is False:
            built += build(tag.pk)
    return built


def build(tag_id: str) -> bool:
    """Build the bitmap of the current version; False if it changed meanwhile or Redis is down."""
    version, bits = _current(tag_id)
    return version is not None and bool(try_redis(partial(_write, _key(tag_id, version), bits)))


def mismatches() -> Iterator[str]:
    """A sentence for each crowd whose bitmap or size differs from its table."""
    for tag in CrowdTag.objects.all():
        found, expected = try_redis(partial(_read, _key(tag.pk, tag.version))), _from_table(tag.pk)
        if _version(tag.pk) != tag.version:
            continue
        if found is not None and found != expected:
            yield f"crowd {tag.pk}: its bitmap is not its table"
        if tag.size not in (None, _size(expected)):
            yield f"crowd {tag.pk}: has {_size(expected)} members and not {tag.size}"


def _key(tag_id: str, version: int) -> str:
    return f"gbm:crowd:{{{tag_id}}}:{version}"


def _version(tag_id: str) -> int | None:
    return CrowdTag.objects.filter(pk=tag_id).values_list("version", flat=True).first()


def _current(tag_id: str) -> tuple[int | None, bytes]:
    """The crowd's version and bits; saves its size. None if it changed while it was read."""
    version = _version(tag_id)
    bits = _from_table(tag_id)
    same = CrowdTag.objects.filter(pk=tag_id, version=version or 0)
    if not same.update(size=_size(bits)):
        return None, bits  # the bits may mix two versions
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
    """The bit in this process's copy; None without a copy of that version."""
    copied, bits = _copies.get(tag_id, (None, b""))
    if copied != version:
        return None
    index = number >> 3
    return index < len(bits) and bool(bits[index] & 0x80 >> (number & 7))


def _read_bits(number: int, versions: Mapping[str, int], redis: Redis) -> dict[str, bool] | None:
    """The user's bit in each bitmap; None if one is missing. Copies the bitmaps to this process."""
    together = redis.pipeline(transaction=True)  # no bitmap expires between the commands
    for tag_id, version in versions.items():
        key = _key(tag_id, version)
        together.getbit(key, 0)
        together.getbit(key, number)
        together.strlen(key)
    answers = together.execute()
    if not all(answers[::3]):
        return None
    for (tag_id, version), length in zip(versions.items(), answers[2::3], strict=True):
        copies = list(_copies.items())  # other threads may add copies meanwhile
        others = sum(len(bits) for kept, (_version, bits) in copies if kept != tag_id)
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
    """Write pieces under a temporary key, the last one first to allocate once; then rename it."""
    unfinished = f"{key}:{new_id()}"
    for start in reversed(range(0, len(bits), PIECE)):
        redis.setrange(unfinished, start, bits[start : start + PIECE])
        redis.expire(unfinished, LIFE)
    together = redis.pipeline(transaction=True)
    together.rename(unfinished, key)
    together.expire(key, LIFE)
    together.execute()
    return True
