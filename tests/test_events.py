"""GET events: the notifications, for polling."""

from threading import Event, Thread
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from groupbuy.models import ApiKey
from tests.factories import lock, make_activity, make_channel, make_promise, refund
from tests.racing import LATE, meet_after, race
from trade.models import EventCounter, NotifyTask
from trade.notify import events
from trade.notify.events import read_events

EVENTS = "/api/v1/gbm/events"


def ask(mall: APIClient, **query: Any) -> Any:
    return mall.get(EVENTS, query).json()


@pytest.mark.django_db
def test_an_event_has_the_content_of_its_callback(mall: APIClient) -> None:
    make_activity()
    order = lock()
    refund()

    assert ask(mall) == {
        "code": "0000",
        "info": "成功",
        "data": {
            "events": [
                {
                    "no": 1,
                    "id": f"team_refund-{order.pk}-unpaid_unlock",
                    "event": "team_refund",
                    "payload": {
                        "type": "unpaid_unlock",
                        "userId": "xiaofuge",
                        "teamId": str(order.team_id),
                        "orderId": str(order.pk),
                        "outTradeNo": "t-xiaofuge",
                        "activityId": 100123,
                    },
                    "createdAt": "2036-05-01T04:00:00.000+00:00",
                }
            ],
            "next": 1,
            "hasMore": False,
        },
    }


@pytest.mark.django_db
def test_pages_follow_each_other_without_a_gap(
    mall: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PAGE", 3)
    monkeypatch.setattr(events, "BATCH", 4)
    keys = [make_promise(f"team_success-{n}").key for n in range(8)]

    seen, numbers, after, pages = [], [], 0, 0
    while True:
        page = ask(mall, after=after)["data"]
        seen += [event["id"] for event in page["events"]]
        numbers += [event["no"] for event in page["events"]]
        after, pages = page["next"], pages + 1
        if not page["hasMore"]:
            break

    assert seen == keys
    assert numbers == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (after, pages) == (8, 3)
    assert ask(mall, after=8)["data"] == {"events": [], "next": 8, "hasMore": False}


@pytest.mark.django_db
def test_a_repeated_request_gets_the_same_answer(mall: APIClient) -> None:
    make_promise("team_success-1")
    first = ask(mall)
    make_promise("team_success-2")

    assert ask(mall)["data"]["events"][:1] == first["data"]["events"]
    assert [event["id"] for event in ask(mall, after=1)["data"]["events"]] == ["team_success-2"]


@pytest.mark.django_db
def test_a_poll_without_new_events_writes_nothing(mall: APIClient) -> None:
    """Mutation: _number_new() without exists(): each poll would lock the channel's counter."""
    make_promise()
    ask(mall)

    with CaptureQueriesContext(connection) as queries:
        assert ask(mall, after=1)["data"]["events"] == []

    assert {query["sql"].split()[0] for query in queries} == {"SELECT"}
    assert not any("FOR UPDATE" in query["sql"] for query in queries)


@pytest.mark.django_db
def test_a_channel_sees_only_its_own_and_numbers_them_on_its_own(mall: APIClient) -> None:
    other = make_channel("s09", "c09")
    make_promise("team_success-1", channel=other)
    make_promise("team_success-2")
    key, text = ApiKey.issue(channel=other, name="other")
    key.save()
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")

    for asking, expected in ((mall, "team_success-2"), (client, "team_success-1")):
        found = ask(asking)["data"]["events"]
        assert [(event["no"], event["id"]) for event in found] == [(1, expected)]


@pytest.mark.django_db
def test_many_events_of_other_channels_take_no_room(
    mall: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: the first BATCH without a number are read, and then those of the channel kept."""
    monkeypatch.setattr(events, "BATCH", 3)
    other = make_channel("s09", "c09")
    for number in range(5):
        make_promise(f"team_success-{number}", channel=other)
    make_promise("team_success-9")

    found = ask(mall)["data"]["events"]
    assert [(event["no"], event["id"]) for event in found] == [(1, "team_success-9")]


@pytest.mark.django_db
@pytest.mark.parametrize("after", ["x", "-1", "1.5", "00", "1e3", str(2**63), "１", "9" * 40])
def test_an_unreadable_cursor_is_named(mall: APIClient, after: str) -> None:
    make_promise()

    body = ask(mall, after=after)

    assert (body["code"], body["data"]) == ("0002", None)
    assert "after" in body["info"]
    assert NotifyTask.objects.get().event_no is None


@pytest.mark.django_db
def test_a_cursor_that_was_never_given_out_is_refused(mall: APIClient) -> None:
    make_promise()

    assert ask(mall, after=1)["code"] == "0000"
    assert ask(mall, after=2)["code"] == "0002"


@pytest.mark.django_db
def test_events_need_a_key(client: APIClient) -> None:
    make_channel()

    answer = client.get(EVENTS, {"source": "s01", "channel": "c01"})

    assert (answer.status_code, answer.json()["code"]) == (401, "0401")


@pytest.mark.django_db(transaction=True)
def test_concurrent_polls_number_every_event_once(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = make_channel()
    for number in range(20):
        make_promise(f"team_success-{number}")
    monkeypatch.setattr(events, "BATCH", 15)
    if connection.vendor == "mysql":  # SQLite has one writer; there they come one by one
        meet_after(monkeypatch, EventCounter.objects, "get_or_create", parties=4)

    results = race(*[lambda: read_events(channel_id=channel.pk, after=0)] * 4)

    assert [result for result in results if isinstance(result, Exception)] == []
    numbers = NotifyTask.objects.order_by("pk").values_list("event_no", flat=True)
    assert list(numbers) == list(range(1, 21))
    assert EventCounter.objects.get().last == 20


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite commits in the order of begin")
@pytest.mark.django_db(transaction=True)
def test_a_late_commit_is_not_skipped() -> None:
    channel = make_channel()
    begun, commit = Event(), Event()

    def commit_late() -> None:
        with transaction.atomic():
            make_promise("team_success-1", channel=channel)
            begun.set()
            assert commit.wait(LATE)
        connections.close_all()

    late = Thread(target=commit_late)
    late.start()
    assert begun.wait(LATE)
    make_promise("team_success-2", channel=channel)
    first = read_events(channel_id=channel.pk, after=0)
    commit.set()
    late.join(LATE)

    second = read_events(channel_id=channel.pk, after=first.next)

    assert NotifyTask.objects.get(key="team_success-1").pk < first.events[0].pk
    assert [task.key for task in first.events] == ["team_success-2"]
    assert [task.key for task in second.events] == ["team_success-1"]
    assert [task.event_no for task in second.events] == [2]
