"""The proxies that the platform trusts to name a client's address and scheme."""

import re
from collections.abc import Iterator
from http.cookies import SimpleCookie
from ipaddress import ip_network
from typing import Any

import pytest
from django.db import connection
from django.test import Client, RequestFactory

from groupbuy.proxies import caller
from tests.factories import GOODS, make_activity, set_switch
from tests.test_server import Server, read_to_end

INDEX, SIGN_IN = "/api/v1/gbm/index/query_group_buy_market_config", "/admin/login/"
NGINX, CDN, SHOPPER, FORGED = "10.0.0.1", "192.0.2.7", "203.0.113.9", "6.6.6.6"


@pytest.mark.parametrize(
    ("peer", "header", "proxies", "found"),
    [
        (NGINX, SHOPPER, 1, SHOPPER),
        (NGINX, f"{FORGED}, {SHOPPER}", 1, SHOPPER),
        (NGINX, f"{FORGED},{SHOPPER},{CDN}", 2, SHOPPER),
        (NGINX, f"{FORGED}, {SHOPPER}", 2, SHOPPER),  # past the CDN, straight to nginx
        (NGINX, f"{FORGED}, {SHOPPER}, {CDN}", 1, CDN),
        (NGINX, CDN, 2, CDN),  # the CDN itself
        (NGINX, SHOPPER, 0, NGINX),
        (NGINX, "", 1, NGINX),
        (NGINX, None, 1, NGINX),
        (NGINX, f"{FORGED}, ", 2, NGINX),
        (NGINX, "unknown", 2, "unknown"),
        (NGINX, f"{FORGED}, unknown", 2, "unknown"),
        (SHOPPER, FORGED, 1, SHOPPER),
        (SHOPPER, f"{FORGED}, {NGINX}", 2, SHOPPER),
        (f"::ffff:{NGINX}", SHOPPER, 1, SHOPPER),
        ("fd00::1", "2001:db8::1", 1, "2001:db8::1"),
        ("2001:db8::1", FORGED, 1, "2001:db8::1"),
        ("", SHOPPER, 1, SHOPPER),  # on a Unix socket
        ("", f"{FORGED}, {SHOPPER}", 2, SHOPPER),
        ("", "", 1, ""),
    ],
)
def test_the_client_is_the_last_address_that_a_trusted_proxy_has_seen(
    settings: Any, peer: str, header: str | None, proxies: int, found: str
) -> None:
    networks = [f"{NGINX}/32", f"{CDN}/32", "fd00::/8"]
    settings.PROXY_NETWORKS = [ip_network(each) for each in networks]
    settings.TRUSTED_PROXIES = proxies
    headers = {} if header is None else {"X-Forwarded-For": header}

    request = RequestFactory().get("/", REMOTE_ADDR=peer, headers=headers)

    assert caller(request) == found


# --- Limits -----------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize(
    ("peer", "proxies", "answers"),
    [
        (NGINX, 1, [200, 200, 200]),
        (NGINX, 0, [200, 429, 429]),
        (SHOPPER, 1, [200, 429, 429]),
    ],
)
def test_limits_count_the_address_that_a_trusted_proxy_names(
    settings: Any, client: Client, peer: str, proxies: int, answers: list[int]
) -> None:
    settings.PROXY_NETWORKS, settings.TRUSTED_PROXIES = [ip_network(f"{NGINX}/32")], proxies
    set_switch("indexAddressLimit", "1/60")
    set_switch("pageAddressLimit", "1/60")
    make_activity()
    query = {"userId": "a", "source": "s01", "channel": "c01", "goodsId": GOODS}

    def ask(method: str, path: str, body: Any = None) -> list[int]:
        return [
            getattr(client, method)(
                path,
                body,
                content_type="application/json",
                REMOTE_ADDR=peer,
                headers={"X-Forwarded-For": f"198.51.100.{n}"},
            ).status_code
            for n in range(3)
        ]

    assert ask("post", INDEX, query) == answers
    assert ask("get", f"/o/s01/c01/{GOODS}") == answers


# --- Over TCP ---------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["127.0.0.0/8", "192.0.2.0/24"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, bool]]:
    """A web server, and whether its proxies connect from loopback, as this test does."""
    if connection.vendor == "mysql":
        pytest.skip("has a database of its own: run once")
    variables = {"TRUSTED_PROXIES": "1", "BEHIND_HTTPS_PROXY": "true"}
    directory = tmp_path_factory.mktemp("proxies")
    server = Server(directory, PROXY_NETWORKS=request.param, **variables)
    with server.running():
        yield server, request.param == "127.0.0.0/8"


def test_only_a_trusted_proxy_can_say_that_a_request_came_by_https(
    server: tuple[Server, bool],
) -> None:
    """Django wants a Referer of a form that came by HTTPS, and this one has none."""
    web, is_believed = server

    assert _sign_in(web, "a", X__Forwarded__Proto="https") == (403 if is_believed else 200)


def test_only_a_trusted_proxy_can_name_the_address_of_a_sign_in(
    server: tuple[Server, bool],
) -> None:
    """Ten wrong passwords from one address lock a name; these name ten addresses in a header."""
    web, is_believed = server

    answers = [_sign_in(web, "b", X__Forwarded__For=f"192.0.2.{n}") for n in range(10)]

    assert answers == [200] * 9 + [200 if is_believed else 429]


def _sign_in(web: Server, name: str, **headers: str) -> int:
    """The status of the answer to a wrong password; 403 if the form is refused unread."""
    with web.connect(web.head("GET", SIGN_IN)) as line:
        page = read_to_end(line)
    cookie = SimpleCookie(re.findall(rb"(?i)set-cookie:\s*(csrftoken=[^;]+)", page)[0].decode())
    token = re.findall(rb'name="csrfmiddlewaretoken" value="(\w+)"', page)[0]
    form = f"username={name}&password=wrong&csrfmiddlewaretoken=".encode() + token
    head = web.head(
        path=SIGN_IN,
        Content__Type="application/x-www-form-urlencoded",
        Content__Length=len(form),
        Cookie=f"csrftoken={cookie['csrftoken'].value}",
        **headers,
    )
    return web.send(head + form)[0]
