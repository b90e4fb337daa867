"""Why a notification failed, in the operator's language."""

import pytest
from django.test import Client
from django.utils import translation

from tests.factories import NOW, make_promise
from trade import failures
from trade.models import NotifyAttempt, NotifyTask
from trade.notify import transports


@pytest.mark.parametrize(
    ("reason", "chinese"),
    [
        ("answered 500 'no, not now'", "商城回答 500 'no, not now'"),
        ("no complete answer within 5 s", "5 秒内没有完整的回答"),
        ("no queue is bound to topic.team_refund", "没有队列绑定到 topic.team_refund"),
        ("the URL is not among the channel's callback hosts", "该 URL 不在渠道的回调主机之内"),
        ("the broker refused it", "消息代理拒收"),
        ("no message broker is set up: AMQP_URL is empty", "未配置消息代理：AMQP_URL 为空"),
        (transports.NOWHERE, "渠道没有退单回调 URL，也没有消息代理"),
        ("OSError: 100% lost", "OSError: 100% lost"),
        ("", ""),
    ],
)
def test_a_reason_is_shown_in_the_operators_language(reason: str, chinese: str) -> None:
    with translation.override("en"):
        assert failures.shown(reason) == reason
    with translation.override("zh-hans"):
        assert failures.shown(reason) == chinese


@pytest.mark.django_db
def test_list_page_and_timeline_show_it(operator: Client) -> None:
    promise, reason = make_promise(), "no complete answer within 5 s"
    NotifyAttempt.objects.create(
        task=promise, number=1, started_at=NOW, duration_ms=5000, error=reason
    )
    NotifyTask.objects.update(last_error=reason)
    listed = f"/admin/trade/notifytask/{promise.pk}/change/"

    def pages(language: str) -> list[int]:
        operator.cookies["django_language"] = language
        text = "5 秒内没有完整的回答" if language == "zh-hans" else reason
        answers = [operator.get(url) for url in ("/admin/trade/notifytask/", listed)]
        return [answer.content.decode().count(text) for answer in answers]

    assert pages("en") == pages("zh-hans") == [1, 2]  # the page: its last error, its attempt
