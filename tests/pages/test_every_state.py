"""Every state of every page is named right, has one main action, and shows no ids of others."""

import html
import inspect
import re
from collections.abc import Callable

import pytest

from activity.models import Activity
from pages.states import Bar, Mine, OfferState, Seen
from tests.factories import NOW
from tests.pages import scenes
from tests.pages.scenes import NAMES, OTHERS, SCENES
from trade.models import Order, Team

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_now")]
Look = Callable[..., str]


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_a_page_shows_its_state_and_one_main_action(name: str, language: str, look: Look) -> None:
    at = SCENES[name](NOW)

    page = look(at, language=language)

    assert re.findall(r'data-state="(\w+)"', page) == [at.state]
    # One link, or the two buttons of an invitation, of which a browser shows one as the main one.
    shown = page.count('class="main"')
    assert shown == (2 if "data-share" in page else 1)
    assert "%(" not in page
    assert page.count("<h1") == 1


def test_a_complete_team_says_how_many_had_paid_and_how_many_gave_back(look: Look) -> None:
    [tally] = re.findall(r'"tally soft">([^<]*)<', look(SCENES["team_complete_with_refunds"](NOW)))

    assert tally == "3 of 3 paid · 1 cancelled since"


@pytest.mark.parametrize("state", [*OfferState, *Seen, *Mine, *Bar])
def test_every_state_has_a_scene(state: OfferState | Seen | Mine | Bar) -> None:
    source = inspect.getsource(scenes)

    assert f'"{state.name}"' in source


@pytest.mark.parametrize("name", [*SCENES, *OTHERS])
def test_no_page_shows_the_ids_of_others(name: str, look: Look) -> None:
    at = (SCENES | OTHERS)[name](NOW)

    page = html.unescape(look(at)) + look(at, live="1")

    assert not [each for each in NAMES if each in page and each != at.user_id]
    own = set(Order.objects.filter(user_id=at.user_id).values_list("out_trade_no", flat=True))
    numbers = set(Order.objects.values_list("out_trade_no", flat=True)) - own
    assert not [number for number in numbers if re.search(rf"\b{number}\b", page)]
    assert not [each for each in _internal_ids() if str(each) in page]
    assert "gbp_" not in page
    assert "whsec_" not in page


def _internal_ids() -> list[int]:
    """Ids of rows; they are too long to be mistaken for a price."""
    found = [
        *Team.objects.values_list("pk", flat=True),
        *Order.objects.values_list("pk", flat=True),
        *Activity.objects.values_list("pk", flat=True),
    ]
    assert all(each > 100_000 for each in found)
    return found
