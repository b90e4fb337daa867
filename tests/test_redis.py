"""While Redis is down the database answers, and the log has one line for the outage."""

import pytest
from redis import ConnectionError, Redis

import groupbuy.redis


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch, redis: Redis) -> Redis:
    monkeypatch.setattr(groupbuy.redis, "PAUSE", 0.0)
    return redis


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "groupbuy.redis"]


@pytest.mark.usefixtures("no_pause")
def test_an_outage_is_logged_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    def fail(_redis: Redis) -> None:
        raise ConnectionError("refused")

    for _request in range(3):
        assert groupbuy.redis.try_redis(fail) is None
    assert lines(caplog) == ["Redis is away, the database answers: refused"]

    for _request in range(3):
        assert groupbuy.redis.try_redis(lambda redis: redis.ping()) is True
    assert lines(caplog)[1:] == ["Redis is back."]

    groupbuy.redis.try_redis(fail)
    assert len(lines(caplog)) == 3
