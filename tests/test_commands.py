"""Management commands: seed_demo and create_api_key."""

import json
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.core.management import CommandError, call_command
from django.db.models import Model
from django.utils import timezone

from activity.models import Activity, Discount, Offer, Sku
from activity.trial import TrialQuery, run_trial
from groupbuy.models import ApiKey, Channel, digest
from pages.management.commands import seed_demo
from tag.crowd import members_of
from tag.models import CrowdMember, CrowdTag

pytestmark = pytest.mark.django_db
TABLES: list[type[Model]] = [Channel, Sku, Discount, Activity, Offer, CrowdTag, CrowdMember, ApiKey]


def run(*args: str) -> str:
    out = StringIO()
    call_command(*args, stdout=out)
    return out.getvalue()


def test_seed_demo_loads_the_contracts_demo_data() -> None:
    run("seed_demo")

    activity = Activity.objects.get(pk=100123)
    assert (activity.target_count, activity.take_limit, activity.valid_minutes) == (3, 1, 15)
    trial = run_trial(TrialQuery("xiaofuge", "s01", "c01", "9890001"), now=timezone.now())
    offer, price = trial.accept()
    assert offer.goods_name == "《手写MyBatis：渐进式源码实践》"
    assert (price.original, price.pay) == (Decimal("100.00"), Decimal("80.00"))
    crowd = CrowdTag.objects.get(pk="RQ_KJHKL98UU78H66554GFDV")
    assert members_of(crowd.pk).count() == 11
    expressions = set(Discount.objects.values_list("plan", "expression"))
    assert {("ZJ", "20"), ("MJ", "100,10"), ("ZK", "0.8"), ("N", "1.99")} <= expressions


def test_seed_demo_shows_what_there_is_to_configure() -> None:
    run("seed_demo")

    assert Sku.objects.count() == 13
    assert all(finders.find(sku.picture) for sku in Sku.objects.all())
    assert set(Activity.objects.values_list("group_type", flat=True)) == {0, 1}
    assert Activity.objects.filter(restrict_visible=True).exists()
    assert Activity.objects.filter(restrict_join=True, restrict_visible=False).exists()
    assert Discount.objects.exclude(crowd=None).exists()
    for activity in Activity.objects.all():
        activity.full_clean()
    for row in (*Discount.objects.all(), *Sku.objects.all(), *Channel.objects.all()):
        row.full_clean()


def test_seed_demo_repeated_adds_nothing_and_keeps_what_was_changed() -> None:
    run("seed_demo")
    Activity.objects.filter(pk=100123).update(target_count=5)
    counts = [table._default_manager.count() for table in TABLES]

    run("seed_demo")

    assert [table._default_manager.count() for table in TABLES] == counts
    assert Activity.objects.get(pk=100123).target_count == 5


def test_seed_demo_connects_the_mall_and_keeps_what_an_operator_has_entered() -> None:
    refund, checkout = "http://127.0.0.1:{}/api/v1/alipay/group_buy_refund_notify", "/checkout"
    for port in ("8100", "8200"):  # the mall has moved
        urls = refund.format(port), f"http://127.0.0.1:{port}{checkout}"
        run("seed_demo", "--refund-url", urls[0], "--checkout-url", urls[1])
        channel = Channel.objects.get(source="s01", channel="c01")
        assert (channel.refund_notify_url, channel.checkout_url) == urls

    own = ("http://127.0.0.1:9000/refunds", "https://shop.example.com/checkout")
    Channel.objects.filter(pk=channel.pk).update(refund_notify_url=own[0], checkout_url=own[1])
    run("seed_demo", "--refund-url", refund.format("8100"), "--checkout-url", checkout)
    channel.refresh_from_db()
    assert (channel.refund_notify_url, channel.checkout_url) == own


def test_credentials_are_made_in_the_demo_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    path, second_path = tmp_path / "demo.json", tmp_path / "second.json"
    monkeypatch.setattr(seed_demo, "DEMO_FILE", path)
    monkeypatch.setattr(seed_demo, "SECOND_FILE", second_path)
    second = ("seed_demo", "--second-mall", "http://127.0.0.1:8103")
    run(*second)
    assert not path.exists()
    assert not second_path.exists()
    assert ApiKey.objects.count() == 0

    settings.DEMO = True
    run(*second)
    run(*second)

    demo = json.loads(path.read_text("utf-8"))
    assert User.objects.get(username=demo["user"]).check_password(demo["password"])
    of_second = json.loads(second_path.read_text("utf-8"))
    keys = dict(ApiKey.objects.values_list("channel__source", "digest"))
    assert keys == {"s01": digest(demo["api_key"]), "s03": digest(of_second["api_key"])}
    assert ApiKey.objects.count() == 2
    for file in (path, second_path):
        assert file.stat().st_mode & 0o777 == 0o600
    channel = Channel.objects.get(source="s01", channel="c01")
    secrets = {"webhook_secret": channel.webhook_secret, "page_secret": channel.page_secret}
    assert {name: demo[name] for name in secrets} == secrets


def test_a_channels_key_is_printed_once() -> None:
    run("seed_demo")

    text = run("create_api_key", "s01", "c01").strip()

    key = ApiKey.objects.get()
    assert key.channel is not None
    assert (key.channel.source, key.digest) == ("s01", digest(text))
    assert text.startswith(f"gbm_{key.prefix}_")


def test_an_operators_key_has_no_channel() -> None:
    text = run("create_api_key", "--operator", "chen").strip()

    key = ApiKey.objects.get()
    assert (key.channel, key.name, key.digest) == (None, "chen", digest(text))


@pytest.mark.parametrize(
    "args", [[], ["s01"], ["s09", "c09"], ["s01", "c01", "--operator", "chen"]]
)
def test_create_api_key_names_what_it_needs(args: list[str]) -> None:
    with pytest.raises(CommandError, match=r"SOURCE|no channel"):
        run("create_api_key", *args)
    assert ApiKey.objects.count() == 0
