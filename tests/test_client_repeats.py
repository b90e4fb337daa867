"""The Python client against a platform that fails: which calls it repeats, and which not."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests

from groupbuy_client import Client, GroupBuyError, Settlement
from tests.sink import HANG, RESET, Request, Sink, reply
from tests.stack import wait_for

OK = b'{"code":"0000","info":"","data":'
SETTLED = reply(
    body=OK + b'{"userId":"a","teamId":"1","activityId":7,"outTradeNo":"t-a","more":null}}'
)
NOW = datetime(2036, 5, 1, 4, 0, tzinfo=UTC)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the client has made, in seconds; none of them takes time."""
    made: list[float] = []
    monkeypatch.setattr("time.sleep", made.append)
    return made


Scripted = Callable[..., tuple[Client, list[Request]]]


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A platform that gives these answers, then settles: a client of it, and what it was sent."""
    sinks: list[Sink] = []

    def start(*answers: bytes, **options: Any) -> tuple[Client, list[Request]]:
        script, seen = list(answers), list[Request]()

        def answer(request: Request) -> bytes:
            seen.append(request)
            return script.pop(0) if script else SETTLED

        sinks.append(Sink(answer))
        return Client(sinks[-1].url, "gbm_1_2", source="s01", channel="c01", **options), seen

    yield start
    for sink in sinks:
        sink.stop()


def settle_once(client: Client) -> Settlement:
    return client.settle(user_id="a", out_trade_no="t-a", paid_at=NOW)


def refused(code: str, status: int = 200, **headers: str) -> bytes:
    return reply(status, f'{{"code":"{code}","info":"why","data":null}}'.encode(), **headers)


REPEATED = {
    "no answer": RESET,
    "broken off": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nbroken\r\n",
    "not JSON": reply(body=b"<html>"),
    "not the envelope": reply(body=b"[]"),
    "a proxy's 502": reply(502, b"<html>"),
    "0001 with 500": refused("0001", 500),
    "0001 with 503": refused("0001", 503),
    "0004": refused("0004"),
    "0006": refused("0006", 429),
}


@pytest.mark.parametrize("fault", REPEATED)
def test_a_call_is_repeated_unchanged_where_that_is_safe(
    fault: str, scripted: Scripted, pauses: list[float]
) -> None:
    client, seen = scripted(REPEATED[fault], REPEATED[fault])

    assert settle_once(client) == Settlement("a", "1", 7, "t-a")

    assert [request.body for request in seen] == 3 * [seen[0].body]
    assert 0.25 <= pauses[0] <= 0.5 <= pauses[1] <= 1
    assert len(pauses) == 2


@pytest.mark.parametrize(
    "fault",
    [
        *(refused(code) for code in ("0002", "0003", "E0006", "E0104", "E0106", "E0107")),
        *(refused("0002", status) for status in (400, 404, 405, 415)),
        refused("0401", 401),
        refused("0403", 403),
        reply(403, b"<html>"),
        reply(302, b"", location="/elsewhere"),
    ],
)
def test_no_other_answer_is_repeated(fault: bytes, scripted: Scripted, pauses: list[float]) -> None:
    client, seen = scripted(fault)

    with pytest.raises(GroupBuyError) as error:
        settle_once(client)

    assert not error.value.retryable
    assert (len(seen), pauses) == (1, [])


def test_the_last_repeats_error_is_raised(scripted: Scripted, pauses: list[float]) -> None:
    client, seen = scripted(RESET, refused("0004"), refused("0001", 503), pauses=(1, 2))

    with pytest.raises(GroupBuyError) as error:
        settle_once(client)

    assert (error.value.code, error.value.status, error.value.retryable) == ("0001", 503, True)
    assert (len(seen), len(pauses)) == (3, 2)


def test_without_pauses_nothing_is_repeated(scripted: Scripted, pauses: list[float]) -> None:
    client, seen = scripted(RESET, pauses=())

    with pytest.raises(GroupBuyError) as error:
        settle_once(client)

    assert (error.value.code, error.value.status, error.value.retryable) == ("", None, True)
    assert (len(seen), pauses) == (1, [])


def test_the_client_waits_no_longer_than_timeout_for_an_answer(scripted: Scripted) -> None:
    client, seen = scripted(HANG, timeout=0.1, pauses=())

    with pytest.raises(GroupBuyError, match="no answer") as error:
        settle_once(client)

    assert error.value.retryable
    wait_for(lambda: seen, "the call at the platform")
    assert len(seen) == 1


def test_retry_after_is_waited_for(scripted: Scripted, pauses: list[float]) -> None:
    client, seen = scripted(refused("0006", 429, retry_after="3"), pauses=(0.5, 4))

    settle_once(client)

    assert (len(seen), pauses) == (2, [3])


@pytest.mark.parametrize("retry_after", ["soon", "-5", "9" * 5000])
def test_an_unreadable_retry_after_is_ignored(
    retry_after: str, scripted: Scripted, pauses: list[float]
) -> None:
    client, seen = scripted(refused("0006", 429, retry_after=retry_after), pauses=(0.5,))

    settle_once(client)

    assert len(seen) == 2
    assert 0.25 <= pauses[0] <= 0.5


def test_a_long_retry_after_is_left_to_the_caller(scripted: Scripted, pauses: list[float]) -> None:
    client, seen = scripted(refused("0006", 429, retry_after="60"), pauses=(0.5, 4))

    with pytest.raises(GroupBuyError) as error:
        settle_once(client)

    assert (error.value.retry_after, error.value.retryable) == (60, True)
    assert (len(seen), pauses) == (1, [])


def test_a_page_of_events_is_repeated_too(scripted: Scripted, pauses: list[float]) -> None:
    page = reply(body=OK + b'{"events":[],"next":7,"hasMore":false}}')
    client, seen = scripted(RESET, page)

    assert list(client.events(after=7)) == []
    assert [request.path for request in seen] == 2 * ["/api/v1/gbm/events?after=7"]


def test_an_answer_of_the_wrong_shape_names_the_field(scripted: Scripted) -> None:
    client, _seen = scripted(reply(body=OK + b'{"userId":"a","teamId":7}}'))

    with pytest.raises(GroupBuyError, match=r"Settlement\.teamId"):
        settle_once(client)


def test_threads_share_a_client_and_no_session(scripted: Scripted) -> None:
    made: list[requests.Session] = []

    def session() -> requests.Session:
        made.append(requests.Session())
        return made[-1]

    client, seen = scripted(session=session)

    def settle_twice() -> None:
        settle_once(client)
        settle_once(client)

    threads = [Thread(target=settle_twice) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(seen)) == (4, 8)
    assert {request.headers["authorization"] for request in seen} == {"Bearer gbm_1_2"}


def test_the_key_is_sent_whatever_netrc_says(
    scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client, seen = scripted()

    settle_once(client)

    assert seen[0].headers["authorization"] == "Bearer gbm_1_2"
