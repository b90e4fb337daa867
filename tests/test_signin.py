"""Signing in to the console: locked after wrong passwords, with an optional second step."""

import re
from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django_otp.oath import totp
from django_otp.plugins.otp_totp.models import TOTPDevice

pytestmark = pytest.mark.django_db
SIGN_IN, STEP = "/admin/login/", "/admin/second-step/"
LIMIT = 10


@pytest.fixture(autouse=True)
def colleague() -> User:
    return User.objects.create_superuser("colleague", password="right")


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock, so that no code expires during a test."""
    monkeypatch.setattr("django_otp.oath.time", lambda: 1_800_000_000.0)
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.0)


def browser() -> Client:
    return Client(headers={"Accept-Language": "en"})


def sign_in(client: Client, *, address: str = "10.0.0.1", **fields: str) -> Any:
    body = {"username": "colleague", "password": "right"} | fields
    return client.post(SIGN_IN, body, REMOTE_ADDR=address)


def is_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def fail(times: int, **fields: str) -> list[int]:
    return [sign_in(browser(), password="wrong", **fields).status_code for _time in range(times)]


def test_the_right_password_signs_in() -> None:
    client = browser()

    assert sign_in(client).status_code == 302
    assert is_in(client)


def test_ten_failures_lock_the_name_for_this_address() -> None:
    assert fail(LIMIT) == [200] * (LIMIT - 1) + [429]
    client = browser()

    refused = sign_in(client)  # with the right password

    assert refused.status_code == 429
    assert refused["Retry-After"] == "900"
    assert "Try again in 15 minutes" in refused.content.decode()
    assert not is_in(client)
    assert sign_in(client, address="10.0.0.2").status_code == 302  # the colleague's own address


def test_another_name_is_not_locked() -> None:
    User.objects.create_superuser("other", password="right")
    fail(LIMIT)

    assert sign_in(browser(), username="other").status_code == 302


def test_a_lock_ends_by_time() -> None:
    fail(LIMIT)
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=14))
    assert sign_in(browser()).status_code == 429

    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))

    assert sign_in(browser()).status_code == 302


def test_a_success_forgets_the_failures() -> None:
    fail(LIMIT - 1)
    sign_in(browser())

    assert fail(LIMIT - 1) == [200] * (LIMIT - 1)


def test_an_administrator_unlocks(operator: Client) -> None:
    fail(LIMIT)
    attempt = AccessAttempt.objects.get()
    assert "colleague" in operator.get("/admin/axes/accessattempt/").content.decode()

    operator.post(f"/admin/axes/accessattempt/{attempt.pk}/delete/", {"post": "yes"})

    assert sign_in(browser()).status_code == 302


def test_the_address_is_the_one_that_the_proxy_names(settings: Any) -> None:
    settings.TRUSTED_PROXIES = 1
    for _time in range(LIMIT):
        browser().post(
            SIGN_IN,
            {"username": "colleague", "password": "wrong"},
            headers={"X-Forwarded-For": "6.6.6.6, 2001:db8:1:2:3::4"},
        )

    assert AccessAttempt.objects.get().ip_address == "2001:db8:1:2::"


def code(device: TOTPDevice, *, steps: int = 0) -> str:
    """The code that the app shows, `steps` times thirty seconds later."""
    return f"{totp(device.bin_key, step=device.step, drift=steps):06d}"


def switch_on(client: Client) -> TOTPDevice:
    client.get(STEP)
    device = TOTPDevice.objects.get()
    client.post(STEP, {"code": code(device)})
    device.refresh_from_db()
    return device


def test_a_code_switches_the_second_step_on(colleague: User) -> None:
    client = browser()
    client.force_login(colleague)

    page = client.get(STEP).content.decode()
    device = TOTPDevice.objects.get()
    wrong = client.post(STEP, {"code": "000000" if code(device) != "000000" else "111111"})

    assert re.search(r'src="data:image/svg\+xml', page)
    assert "The code is wrong" in wrong.content.decode()
    device.refresh_from_db()
    assert not device.confirmed

    TOTPDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)
    client.post(STEP, {"code": code(device)})

    device.refresh_from_db()
    assert device.confirmed
    assert TOTPDevice.objects.count() == 1
    again = client.get(STEP).content.decode()
    assert "The second step is on" in again
    assert "<code>" not in again  # the key is not shown again


def test_two_tabs_that_made_two_keys_do_not_break_the_page(colleague: User) -> None:
    client = browser()
    client.force_login(colleague)
    first, _second = (
        TOTPDevice.objects.create(user=colleague, confirmed=False) for _tab in range(2)
    )

    assert client.get(STEP).status_code == 200
    client.post(STEP, {"code": code(first)})

    assert TOTPDevice.objects.get(confirmed=True) == first


def test_with_the_second_step_a_password_is_not_enough(colleague: User) -> None:
    owner = browser()
    owner.force_login(colleague)
    device = switch_on(owner)
    thief = browser()

    without, wrong = sign_in(thief), sign_in(thief, code="123")

    assert "Enter the code of your authenticator app" in without.content.decode()
    assert "The code is wrong" in wrong.content.decode()
    assert not is_in(thief)
    TOTPDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)
    assert sign_in(thief, code=code(device)).status_code == 200  # it was used to switch on
    TOTPDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)
    assert sign_in(thief, code=code(device, steps=1)).status_code == 302
    assert is_in(thief)


def test_wrong_codes_lock_like_wrong_passwords(colleague: User) -> None:
    owner = browser()
    owner.force_login(colleague)
    device = switch_on(owner)

    for _time in range(LIMIT):
        sign_in(browser(), code="1")
    refused = sign_in(browser(), code=code(device, steps=1))

    assert refused.status_code == 429


def test_the_owner_switches_it_off_with_a_code(colleague: User) -> None:
    client = browser()
    client.force_login(colleague)
    device = switch_on(client)

    client.post(STEP, {"code": "1"})
    assert TOTPDevice.objects.count() == 1
    TOTPDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)
    client.post(STEP, {"code": code(device, steps=1)})

    assert not TOTPDevice.objects.filter(confirmed=True).exists()


def test_an_administrator_switches_it_off_for_somebody_else(
    colleague: User, operator: Client
) -> None:
    client = browser()
    client.force_login(colleague)
    device = switch_on(client)
    page = operator.get(f"/admin/auth/user/{colleague.pk}/change/").content.decode()
    assert "second step when signing in" in page.lower()
    assert device.key not in page

    body = {"username": "colleague", "is_active": "on", "is_staff": "on", "is_superuser": "on"}
    body |= {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    rows = {"totpdevice_set-TOTAL_FORMS": "1", "totpdevice_set-INITIAL_FORMS": "1"}
    rows |= {"totpdevice_set-0-id": str(device.pk), "totpdevice_set-0-user": str(colleague.pk)}
    rows |= {"totpdevice_set-0-DELETE": "on"}
    operator.post(f"/admin/auth/user/{colleague.pk}/change/", body | rows)

    assert not TOTPDevice.objects.exists()


def test_pages_of_the_console_run_nothing_of_other_origins(operator: Client) -> None:
    for path in ("/admin/", SIGN_IN):
        policy = operator.get(path)["Content-Security-Policy"]
        assert "script-src 'self' 'unsafe-eval';" in policy
        assert "frame-ancestors 'none'" in policy
    assert "script-src 'self';" in operator.get("/")["Content-Security-Policy"]


def test_a_session_ends_after_twelve_hours() -> None:
    client = browser()

    sign_in(client)

    assert client.cookies["sessionid"]["max-age"] == 12 * 60 * 60
    assert client.cookies["sessionid"]["httponly"]
    assert client.cookies["sessionid"]["samesite"] == "Lax"
