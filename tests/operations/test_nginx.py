"""A real nginx with the shipped configuration: what it serves, limits, caches and repeats."""

import socket
import ssl
from pathlib import Path

import pytest

from tests.operations.edge import HOST, OFFER, PATIENCE, Edge, Mall
from tests.operations.shoppers import Shoppers
from tests.stack import queue_length, wait_for

pytestmark = pytest.mark.operations
TRIAL = "/api/v1/gbm/trade/trial"
QUERY = "/api/v1/gbm/index/query_group_buy_market_config"
CALLS: list[tuple[str, dict[str, str]]] = [
    ("/api/v1/gbm/trade/trial", {}),
    (QUERY, {"Authorization": "Bearer gbm_a_b"}),
    ("/mall/api/v1/alipay/group_buy_notify", {}),
    ("/api/v1/alipay/alipay_notify_url", {}),
    ("/api/v1/weixin/portal/receive", {}),
]
SIGNED = [
    "/h/s01/c01",
    "/out/xyz",
    "/api/v1/weixin/portal/receive",
    "/mall/api/v1/weixin/portal/receive",
]
HSTS = "max-age=31536000"


def read_to_end(line: socket.socket) -> bytes:
    received = b""
    try:
        while part := line.recv(65536):
            received += part
    except ConnectionError:
        pass
    return received


# --- TLS --------------------------------------------------------------------------------------


def test_http_leads_to_https(served: Edge) -> None:
    url = f"http://127.0.0.1:{served.http}/t/abc?x=1"
    answer = served.session().get(url, allow_redirects=False, timeout=PATIENCE)

    assert answer.status_code == 301
    assert answer.headers["Location"] == f"https://{HOST}/t/abc?x=1"
    call = served.session().post(
        f"http://127.0.0.1:{served.http}{TRIAL}", json={}, allow_redirects=False, timeout=PATIENCE
    )
    assert (call.status_code, call.json()["code"]) == (400, "0002")
    assert call.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("version", "protocol"),
    [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")],
)
def test_http_2_is_offered_on_both_versions_of_tls(
    served: Edge, version: ssl.TLSVersion, protocol: str
) -> None:
    context = ssl.create_default_context(cafile=served.certificate)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", served.https), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as line,
    ):
        assert (line.version(), line.selected_alpn_protocol()) == (protocol, "h2")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_older_versions_of_tls_are_refused(served: Edge) -> None:
    context = ssl.create_default_context(cafile=served.certificate)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", served.https), PATIENCE) as plain,
        pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"),
    ):
        context.wrap_socket(plain, server_hostname=HOST)


def test_other_names_have_no_certificate(served: Edge) -> None:
    context = ssl.create_default_context(cafile=served.certificate)
    with (
        socket.create_connection(("127.0.0.1", served.https), PATIENCE) as plain,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(plain, server_hostname="other.example.com")


@pytest.mark.parametrize("path", [OFFER, "/nothing", "/api/nothing", "/static/pages.css"])
def test_responses_have_hsts(served: Edge, path: str) -> None:
    assert served.get(path).headers["Strict-Transport-Security"] == HSTS


# --- Where a request goes ---------------------------------------------------------------------


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/mall/goods/1?a=b", "/goods/1?a=b"),
        ("/api/v1/alipay/create_pay_order", "/api/v1/alipay/create_pay_order"),
        ("/api/v1/login/check_login?ticket=1", "/api/v1/login/check_login?ticket=1"),
    ],
)
def test_the_mall_is_on_the_same_origin(edge: Edge, mall: Mall, path: str, sent: str) -> None:
    forged = {"X_Forwarded_For": "192.0.2.1", "X_Forwarded_Proto": "http"}
    seen = edge.get(path, **forged).json()

    assert seen["path"] == sent
    assert seen["Host"] == HOST
    assert (seen["X-Forwarded-For"], seen["X-Forwarded-Proto"]) == ("127.0.0.1", "https")


def test_health_and_metrics_are_not_public(served: Edge) -> None:
    assert served.get("/internal/ready").status_code == 404
    assert served.logged("/internal/ready")[-1].endswith('"-"')  # no upstream was asked


def test_static_files_come_from_the_disk(served: Edge) -> None:
    answer = served.get("/static/pages.css", Accept_Encoding="gzip")

    assert answer.headers["Cache-Control"] == "max-age=300"
    assert answer.headers["Content-Encoding"] == "gzip"
    assert served.logged("/static/pages.css")[-1].endswith('"-"')


def test_uploaded_pictures_come_from_the_disk(served: Edge) -> None:
    path = f"/media/{'0' * 32}.webp"
    (served.var_dir / "media").mkdir(exist_ok=True)
    (served.var_dir / path[1:]).write_bytes(b"picture")

    answer = served.get(path)

    assert (answer.content, answer.headers["Content-Type"]) == (b"picture", "image/webp")
    assert answer.headers["Cache-Control"] == "max-age=315360000"


def test_cookies_are_for_https_only(served: Edge) -> None:
    assert "Secure" in served.get("/admin/login/").headers["Set-Cookie"]


def test_connections_wait_in_long_queues(served: Edge) -> None:
    longest = min(4096, int(Path("/proc/sys/net/core/somaxconn").read_text()))

    for address in (f"127.0.0.1:{served.https}", served.socket_of("a"), served.socket_of("b")):
        assert queue_length(str(address)) == longest


# --- The cache --------------------------------------------------------------------------------


def test_guests_share_a_cached_page_that_others_do_not_get(served: Edge) -> None:
    def hit() -> bool:
        assert '<html lang="en">' in served.get(OFFER, Accept_Language="en").text
        return " HIT " in served.logged(OFFER)[-1]

    wait_for(hit, "a page from the cache")
    chinese = served.get(OFFER, Accept_Language="zh-CN")
    chosen = served.get(OFFER, Accept_Language="en", Cookie="a=b; django_language=zh-hans")
    bypassed = served.logged(OFFER)[-1]
    shopper = served.get(OFFER, Accept_Language="en", Cookie="shopper_0123456789ab=x")

    assert '<html lang="zh-hans">' in chinese.text
    assert '<html lang="zh-hans">' in chosen.text
    assert " BYPASS " in bypassed
    assert " BYPASS " in served.logged(OFFER)[-1]
    for answer in (chinese, chosen, shopper):
        assert answer.headers["Cache-Control"] == "no-store"
        assert "X-Accel-Expires" not in answer.headers


@pytest.mark.parametrize("cookie", ["", "shopper_0123456789ab=x"])
def test_a_poll_that_brings_nothing_new_is_answered_with_304(served: Edge, cookie: str) -> None:
    headers = {"Cookie": cookie} if cookie else {}
    first = served.get(f"{OFFER}?live", **headers)

    again = served.get(f"{OFFER}?live", If_None_Match=first.headers["ETag"], **headers)

    assert (first.status_code, again.status_code) == (200, 304)


# --- Limits -----------------------------------------------------------------------------------


def test_a_slow_sender_is_cut_before_an_upstream_is_asked(served: Edge) -> None:
    head = f"POST {TRIAL}?slow HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000\r\n"
    sent = [b"", b"POST /", head.encode(), f"{head}\r\n{{".encode()]
    lines = [served.connect(each) for each in sent for _ in range(10)]

    assert served.get(OFFER).status_code == 200
    assert [read_to_end(line) for line in lines] == [b""] * len(lines)
    for line in lines:
        line.close()
    assert all(line.endswith('"-"') for line in served.logged(TRIAL))


def test_a_long_body_is_refused_in_the_words_of_the_api(served: Edge) -> None:
    answer = served.session().post(served.url + TRIAL, data=b"[" * 65_537, timeout=PATIENCE)

    assert (answer.status_code, answer.json()["code"]) == (413, "0002")
    assert served.logged(TRIAL)[-1].endswith('"-"')


def test_files_for_the_console_may_be_long(served: Edge) -> None:
    url, form = f"{served.url}/admin/login/", {"username": "x" * 2**20}

    assert served.session().post(url, data=form, timeout=PATIENCE).status_code == 403  # no token


def test_one_address_gets_so_many_answers(lonely: Edge) -> None:
    with lonely.nginx(**{"rate=50r/s": "rate=1r/m", "burst=200": "burst=4"}):
        statuses = [lonely.get("/mall/").status_code for _ in range(6)]
        page = lonely.get("/mall/")
        form = lonely.session().post(f"{lonely.url}/mall/", timeout=PATIENCE)
        refused = lonely.session().post(lonely.url + QUERY, json={}, timeout=PATIENCE)
        calls = [
            lonely.session().post(lonely.url + path, headers=headers, timeout=PATIENCE).status_code
            for path, headers in CALLS
            for _ in range(6)
        ]
        file = lonely.get("/static/nothing")

    assert statuses == [503] * 5 + [429]
    assert (refused.status_code, refused.json()["code"]) == (429, "0006")
    assert (page.status_code, form.status_code) == (429, 429)
    assert page.headers["Content-Type"] == "text/html"
    assert "请稍等" in page.content.decode()
    for answer in (page, refused):
        assert answer.headers["Retry-After"] == "1"
        assert answer.headers["Strict-Transport-Security"] == HSTS
    assert calls == [503] * 6 * len(CALLS)
    assert file.status_code == 404


def test_sign_ins_to_the_mall_are_few(lonely: Edge) -> None:
    with lonely.nginx():
        statuses = [lonely.get("/mall/admin/login/").status_code for _ in range(12)]

    assert statuses == [503] * 11 + [429]


def test_the_error_log_has_no_signature(lonely: Edge) -> None:
    """An upstream that is away and a limit make lines there, with the query of the request."""
    with lonely.nginx(**{"rate=50r/s": "rate=1r/m", "burst=200": "burst=1"}):
        statuses = [lonely.get(f"{path}?sign=xyz").status_code for path in SIGNED * 3]
        lonely.get("/mall/?seen")
    errors = (lonely.root / "error.log").read_text()

    assert set(statuses) == {429, 503}
    assert ("GET /mall/?seen" in errors, "xyz" in errors) == (True, False)


def test_the_access_log_has_no_signature(served: Edge) -> None:
    statuses = [served.get(path).status_code for path in ("/out/xyz", "/h/s01/c01?sign=xyz", "/x")]
    wait_for(lambda: bool(served.logged("/x")), "the line of the last request")

    assert 503 not in statuses
    assert "xyz" not in served.log.read_text()


# --- An upstream that fails -------------------------------------------------------------------


@pytest.mark.parametrize(("method", "times"), [("GET", 2), ("POST", 1)])
def test_a_sent_request_is_repeated_only_if_that_is_safe(
    lonely: Edge, method: str, times: int
) -> None:
    path = lonely.root / "run/groupbuy-mall/web.sock"
    server = f"server unix:{path} max_fails=0;"
    with Mall(path) as mall, lonely.nginx(**{server: server * 2}):
        mall.start()
        answer = lonely.session().request(method, f"{lonely.url}/mall/hang-up", timeout=PATIENCE)
        mall.shutdown()

    assert answer.status_code == 503
    assert mall.lines == [f"{method} /hang-up"] * times


def test_a_killed_upstream_fails_no_request(served: Edge) -> None:
    shoppers = Shoppers(served, served.client())
    with shoppers.buying():
        for name in ("a", "b"):
            served.webs.kill(name)
            shoppers.wait_for_more()
            served.wait_until_up(name)

    assert shoppers.failures == []


def test_without_any_upstream_there_is_an_answer(lonely: Edge) -> None:
    with lonely.nginx():
        page, call = lonely.get("/o/a/b"), lonely.get("/api/v1/gbm/trade/orders/1")
        form = lonely.session().post(f"{lonely.url}/o/a/b/c/buy/join", timeout=PATIENCE)

    assert (page.status_code, call.status_code, form.status_code) == (503, 503, 503)
    assert "Back in a moment" in page.text
    assert call.json() == {"code": "0001", "info": "未知失败", "data": None}
    assert page.headers["Retry-After"] == call.headers["Retry-After"] == "5"
