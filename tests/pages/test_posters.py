"""Posters and banners: their codes scan, they show the team's state, and they are drawn once."""

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import segno
import zxingcpp
from django.test import Client
from PIL import Image

from activity.models import Sku
from groupbuy.models import Channel
from pages import drawing, posters
from pages.drawing import Banner, Goods, Poster
from pages.lettering import Weight, has
from pages.management.goods import DEMOS
from tests import factories
from tests.factories import GOODS, NOW, set_switch
from tests.pages.conftest import browser
from tests.pages.scenes import ME, MINUTE, NAMES, OFFER, SCENES, Scene, code_of, offer_at, team_at
from tests.racing import LATE

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_now")]
Look = Callable[..., str]
STATIC = Path(__file__).parents[2] / "static"
TEAMS = [name for name in SCENES if name.startswith(("team_", "my_"))]


@pytest.fixture(autouse=True)
def _none_drawn() -> Iterator[None]:
    posters.kept.clear()
    yield
    posters.kept.clear()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[Poster | Banner]:
    """Record what would be drawn."""
    asked: list[Poster | Banner] = []

    def noted(picture: Poster | Banner) -> bytes:
        asked.append(picture)
        return b"PNG"

    monkeypatch.setattr(posters, "draw", noted)
    return asked


def get(path: str, user_id: str = "", **options: Any) -> Any:
    return browser(user_id).get(path, **options)


def image_at(path: str, user_id: str = "") -> Image.Image:
    response = get(path, user_id)
    assert (response.status_code, response["Content-Type"]) == (200, "image/png")
    return Image.open(BytesIO(response.content))


def scanned(image: Image.Image) -> str:
    [code] = zxingcpp.read_barcodes(image.convert("RGB"))
    return str(code.text)


GOODS_SHOWN = Goods("shop", "name", "", "¥80", "¥100", "team of 3", "1 missing", "until today")


def poster_of(url: str = "https://mall.example/t/mpc6t9xd3v", **fields: Any) -> Poster:
    goods = Goods(**{name: getattr(GOODS_SHOWN, name) for name in Goods.__slots__} | fields)
    return Poster(goods, "wa***g", "invites you", "scan", url)


# --- The code ---------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh-hans"])
@pytest.mark.parametrize("name", ["my_team_forming", "team_complete", "team_failed", "team_hidden"])
def test_a_poster_scans_at_a_third_of_its_size(name: str, language: str) -> None:
    at = SCENES[name](NOW)

    image = image_at(f"{at.path}/poster-{language}.png")

    assert image.size == (750, 1334)
    assert scanned(image.resize((250, 445))) == f"http://testserver{at.path}"


@pytest.mark.parametrize("host", ["m.cn", "groups.shopping-platform.example.com.cn", "a" * 180])
def test_the_code_is_large_and_has_its_quiet_zone(host: str) -> None:
    url = f"https://{host}/t/mpc6t9xd3v"

    image = Image.open(BytesIO(drawing.draw(poster_of(url)))).convert("RGB")

    right = image.crop((304, 872, 726, 1310)).convert("L")
    left, top, end, bottom = right.point(lambda value: 255 * (value < 128)).getbbox()  # type: ignore[misc]
    modules, side = segno.make_qr(url, error="m").symbol_size(border=0)[0], end - left
    assert scanned(image) == url
    assert (side, side % modules) == (bottom - top, 0)
    assert 300 <= side <= 360
    quiet = 4 * int(side) // modules
    code: Any = (left, top, end, bottom)
    right.paste(255, code)
    around = right.crop((left - quiet, top - quiet, end + quiet, bottom + quiet))
    assert around.getextrema()[0] > 250  # type: ignore[operator]


@pytest.mark.parametrize("name", ["team_complete", "team_failed", "my_team_complete"])
def test_a_poster_of_a_finished_team_leads_to_a_way_on(name: str) -> None:
    at = SCENES[name](NOW)
    url = urlsplit(scanned(image_at(f"{at.path}/poster-en.png")))

    page = browser().get(url.path).content.decode()

    [way] = re.findall(r'class="main"[^>]*href="([^"]+)"', page)
    assert browser().get(way).status_code in (200, 303)


# --- Its texts --------------------------------------------------------------------------------


def test_a_poster_shows_price_people_and_end(said: list[Poster]) -> None:
    at = SCENES["my_team_forming"](NOW)

    get(f"{at.path}/poster-en.png", ME)

    assert said == [
        Poster(
            Goods(
                shop="小书店",
                name="《手写MyBatis：渐进式源码实践》",
                picture="goods/9890001.svg",
                price="¥80",
                alone="¥100",
                people="team of 3",
                standing="1 more person needed",
                until="until 1 May, 12:13",
            ),
            inviter="wa***g",
            invitation="invites you",
            call="Scan with a camera, or press and hold it",
            url=f"http://testserver{at.path}",
        )
    ]


@pytest.mark.parametrize(
    ("name", "standing", "invites", "until"),
    [
        ("team_joinable", "1 more person needed", True, True),
        ("team_full_but_unpaid", "All seats are taken", True, True),
        ("team_being_counted", "Time is up", False, False),
        ("team_complete", "This team is complete", False, False),
        ("team_completed_by_the_shop", "This team is complete", False, False),
        ("team_failed", "Time is up", False, False),
        ("team_withdrawn", "This offer is over", False, False),
        ("team_sold_out", "Sold out", False, False),
        ("team_beyond_my_limit", "2 more people needed", True, True),
    ],
)
def test_a_poster_shows_the_state_of_the_team(
    name: str, standing: str, invites: bool, until: bool, said: list[Poster]
) -> None:
    at = SCENES[name](NOW)

    get(f"{at.path}/poster-en.png", at.user_id)

    [poster] = said
    assert (poster.goods.standing, bool(poster.inviter), bool(poster.invitation)) == (
        standing,
        invites,
        invites,
    )
    assert bool(poster.goods.until) is until


@pytest.mark.parametrize("kind", ["poster", "banner"])
def test_an_offer_that_is_hidden_leaves_no_trace(kind: str, said: list[Any]) -> None:
    at = SCENES["team_hidden"](NOW)

    get(f"{at.path}/{kind}-en.png", at.user_id)

    [drawn] = said
    assert drawn.goods == Goods(
        "小书店", "《手写MyBatis：渐进式源码实践》", "goods/9890001.svg", "¥100", "", "", "", ""
    )
    if kind == "poster":
        assert (drawn.inviter, drawn.invitation) == ("", "")


@pytest.mark.parametrize("name", ["offer_hidden", "offer_not_invited"])
def test_the_banner_of_an_offer_for_others_shows_the_single_price(
    name: str, said: list[Banner]
) -> None:
    at = SCENES[name](NOW)

    get(f"{OFFER}/banner-en.png", at.user_id)

    assert (said[0].goods.price, said[0].goods.alone, said[0].goods.people) == ("¥100", "", "")


def test_a_member_who_has_left_is_not_named_as_the_inviter(said: list[Poster]) -> None:
    offer_at(NOW)
    team = team_at(NOW - MINUTE, NAMES[1], ME, paid=1)
    code = code_of(team, ME)
    factories.refund(ME, now=NOW)

    get(f"/t/{code}/poster-en.png")

    assert (said[0].inviter, said[0].invitation) == ("", "")


@pytest.mark.parametrize("name", TEAMS)
def test_every_team_has_a_poster_and_a_banner_without_user_ids(
    name: str, said: list[Poster | Banner]
) -> None:
    at = SCENES[name](NOW)
    for kind in ("poster", "banner"):
        for language in ("en", "zh-hans"):
            assert get(f"{at.path}/{kind}-{language}.png", at.user_id).status_code == 200

    assert {type(each) for each in said} == {Poster, Banner}
    text = repr(said)
    assert not [each for each in NAMES if each in text]
    assert "%(" not in text


# --- Pictures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file", ["", "gone.svg", "broken.webp", "https://mall.example/1.jpg", "../x"]
)
def test_a_picture_that_cannot_be_read_is_a_block_of_colour(
    file: str, settings: Any, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    (tmp_path / "broken.webp").write_bytes(b"RIFF broken")
    picture = f"media/{file}" if file == "broken.webp" else file

    image = Image.open(BytesIO(drawing.draw(poster_of(picture=picture)))).convert("RGB")

    assert image.getpixel((20, 20)) == pytest.approx((233, 226, 214), abs=8)


@pytest.mark.parametrize("size", [(1, 1), (3000, 1), (1, 3000), (40, 30)])
def test_a_picture_of_any_shape_is_drawn(
    size: tuple[int, int], settings: Any, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    Image.new("RGBA", size, (0, 0, 0, 0)).save(tmp_path / "odd.webp")

    assert drawing.draw(poster_of(picture="media/odd.webp"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "名" * 128,
        "w" * 128,
        "《" * 40,
        "，" * 40,
        "🎉 ℃ 馃",
        "a\0b\u202ec\nd",
        "‮עברית",
        "1,234.5 " * 16,
    ],
)
def test_any_text_is_drawn(text: str) -> None:
    goods = {name: text for name in Goods.__slots__ if name != "picture"}

    for picture in (poster_of(**goods), Banner(poster_of(**goods).goods)):
        assert Image.open(BytesIO(drawing.draw(picture))).format == "PNG"


@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.goods_id)
def test_the_demos_goods_have_their_characters_and_their_drawing(demo: Any) -> None:
    assert [each for each in demo.goods if not all(has(weight, each) for weight in Weight)] == []
    assert (STATIC / f"goods/{demo.goods_id}.webp").exists()


def test_a_poster_shows_what_an_operator_uploads(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path
    Image.new("RGB", (600, 600), "green").save(tmp_path / f"{'0' * 32}.webp")
    at = SCENES["my_team_forming"](NOW)
    before = get(f"{at.path}/poster-en.png").content
    Sku.objects.update(picture=f"media/{'0' * 32}.webp")

    image = image_at(f"{at.path}/poster-en.png").convert("RGB")

    assert image.getpixel((375, 200)) == pytest.approx((0, 128, 0), abs=12)
    assert before != get(f"{at.path}/poster-en.png").content


# --- Requests for posters ---------------------------------------------------------------------


def test_a_picture_is_saved_under_a_name_by_a_link_of_its_own() -> None:
    at = SCENES["my_team_forming"](NOW)
    path = f"{at.path}/poster-en.png"

    shown, saved = get(path), get(path, data={"save": "1"})

    assert "Content-Disposition" not in shown
    assert saved["Content-Disposition"] == f'attachment; filename="{at.path[3:]}.png"'
    assert shown.content == saved.content
    assert shown["X-Content-Type-Options"] == "nosniff"


def test_a_browser_that_has_the_picture_gets_304() -> None:
    at = SCENES["my_team_forming"](NOW)
    path = f"{at.path}/poster-en.png"
    first = get(path)

    again = get(path, headers={"If-None-Match": first["ETag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert first["Cache-Control"] == "private, no-cache"


def test_a_picture_is_drawn_once_until_its_texts_change(said: list[Any]) -> None:
    offer_at(NOW)
    team = team_at(NOW - MINUTE, ME, NAMES[1], paid=2)
    path = f"/t/{code_of(team, ME)}/poster-en.png"

    for user_id in ("", ME, NAMES[1]):
        get(path, user_id)
    assert len(said) == 1

    get(f"/t/{code_of(team, NAMES[1])}/poster-en.png")
    get(path.replace("-en", "-zh-hans"))
    assert len(said) == 3
    factories.lock(NAMES[2], now=NOW, team_id=str(team.pk))
    get(path)
    get(path)
    assert [each.goods.standing for each in said[3:]] == ["All seats are taken"]


def test_two_simultaneous_requests_draw_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    both_ask, both_draw = threading.Barrier(2), threading.Barrier(2)
    drawn: list[Poster | Banner] = []

    def draw(picture: Poster | Banner) -> bytes:
        drawn.append(picture)
        with suppress(threading.BrokenBarrierError):
            both_draw.wait(0.5)
        return b"PNG"

    def ask() -> bytes:
        both_ask.wait(LATE)
        return posters.drawn(poster_of())

    monkeypatch.setattr(posters, "draw", draw)
    with ThreadPoolExecutor(2) as pool:
        found = [each.result() for each in [pool.submit(ask), pool.submit(ask)]]

    assert (found, len(drawn)) == ([b"PNG", b"PNG"], 1)


def test_only_the_last_pictures_are_kept(said: list[Any]) -> None:
    for n in range(posters.AT_MOST + 1):
        posters.drawn(poster_of(standing=str(n)))
    posters.drawn(poster_of(standing="1"))
    assert len(said) == posters.AT_MOST + 1

    posters.drawn(poster_of(standing="0"))

    assert len(said) == posters.AT_MOST + 2


@pytest.mark.parametrize(
    "path",
    [
        "/t/aaaaaaaaaa/poster",
        "/t/aaaaaaaaaa/poster-en.png",
        "/t/aaaaaaaaaa/banner-en.png",
        "/t/CODE/poster-fr.png",
        "/t/CODE/poster-.png",
        "/o/s01/c01/gone/banner-en.png",
    ],
)
def test_unknown_pictures_are_not_found(path: str) -> None:
    at = SCENES["my_team_forming"](NOW)

    assert get(path.replace("/t/CODE", at.path)).status_code == 404


@pytest.mark.usefixtures("redis")
def test_pictures_count_as_pages(said: list[Any]) -> None:
    at = SCENES["my_team_forming"](NOW)
    set_switch("pageAddressLimit", "1/60")
    client = Client()

    statuses = [client.get(f"{at.path}/poster-en.png").status_code for _ in range(2)]

    assert statuses == [200, 429]
    assert len(said) == 1


# --- Links to posters -------------------------------------------------------------------------


def test_a_member_finds_the_poster_beside_the_link(look: Look) -> None:
    at = SCENES["my_team_forming"](NOW)

    [path] = re.findall(r'href="([^"]+/poster)"', look(at))
    page = look(Scene(path, ME, ""))

    [shown] = re.findall(r'<img src="([^"]+poster-en.png[^"]*)"', page)
    [saved] = re.findall(r'href="([^"]+save=1)"', page)
    assert path == f"{at.path}/poster"
    assert image_at(shown).size == (750, 1334)
    assert "Content-Disposition" in get(saved.replace("&amp;", "&"))
    alt = 'alt="《手写MyBatis：渐进式源码实践》, ¥80, team of 3, 1 more person needed'
    assert alt in page


def test_others_are_not_offered_a_poster(look: Look) -> None:
    at = SCENES["my_seat_unpaid"](NOW)

    assert "/poster" not in look(at)
    assert "/poster" not in look(Scene(at.path, "", ""))


def test_inside_wechat_the_picture_is_held_and_not_saved() -> None:
    at = SCENES["my_team_forming"](NOW)

    page = get(f"{at.path}/poster", headers={"User-Agent": "x MicroMessenger/8.0.50 y"})

    text = page.content.decode()
    assert "Press and hold the picture" in text
    assert "save=1" not in text
    assert text.count('class="main"') == 1


def og(page: str, name: str) -> str:
    [content] = re.findall(rf'property="og:{name}" content="([^"]*)"', page)
    return str(content).replace("&amp;", "&")


@pytest.mark.parametrize("name", ["team_joinable", "offer_open", "offer_hidden", "team_hidden"])
def test_a_shared_link_has_a_banner(name: str, look: Look) -> None:
    at = SCENES[name](NOW)

    url = og(look(at), "image")

    assert url.startswith(f"http://testserver{at.path}/banner-en.png?v=")
    assert image_at(url).size == (1200, 630)


def test_the_banner_has_another_address_when_its_texts_change(look: Look) -> None:
    offer_at(NOW)
    team = team_at(NOW - MINUTE, ME, paid=1)
    at = Scene(f"/t/{code_of(team, ME)}", "", "")
    first = og(look(at), "image")
    assert og(look(at), "image") == first

    factories.lock(NAMES[1], now=NOW, team_id=str(team.pk))

    assert og(look(at), "image") != first


def test_a_banner_shows_nothing_personal(said: list[Any]) -> None:
    at = SCENES["my_team_forming"](NOW)

    get(f"{at.path}/banner-en.png", ME)
    get(f"{OFFER}/banner-en.png", ME)

    assert "wa***g" not in repr(said)
    assert [each.goods.standing for each in said] == ["1 more person needed", ""]
    assert Channel.objects.get(source="s01").page_secret not in repr(said)
    assert GOODS in said[0].goods.picture
