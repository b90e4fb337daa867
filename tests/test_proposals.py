"""Changes that wait for a second person: proposed, shown, and confirmed at most once."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from functools import partial
from threading import Event
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models.signals import pre_save
from django.test import Client
from django.utils import translation
from rest_framework.test import APIClient

from activity.models import Activity, Discount, Offer, Sku
from groupbuy import proposals, rows
from groupbuy.history import text_of
from groupbuy.models import Proposal, Switch, SwitchChange
from tests.factories import NOW, make_activity, make_channel
from tests.forms import as_sent
from tests.racing import LATE, meet_after, overtake, race
from trade.inbox import problems

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]
ALL = ["price", "target", "switches", "blacklist"]
STATES = Proposal.State


@pytest.fixture(autouse=True)
def _second_person(settings: Any) -> Iterator[None]:
    settings.SECOND_PERSON = ALL
    make_activity()
    Discount.objects.create(name="other", plan="ZJ", expression="30")
    with translation.override("en"):
        yield


@pytest.fixture
def second() -> Client:
    """Another operator."""
    return member("second", "operator")


def member(name: str, role: str) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.groups.set([Group.objects.get(name=role)])
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(user)
    return client


def switch(key: str) -> Any:
    return Switch.objects.get(pk=key)


def activity() -> Activity:
    return Activity.objects.get()


CHANGES: dict[str, tuple[Callable[[], Any], str, Callable[[], str], str]] = {
    "switch": (lambda: switch("cutRange"), "value", lambda: "30", "100 → 30"),
    "blacklist": (lambda: switch("scBlacklist"), "value", lambda: "s09c09", "s02c02 → s09c09"),
    "original price": (Sku.objects.get, "original_price", lambda: "120", "100.00 → 120.00"),
    "target": (activity, "target_count", lambda: "5", "3 → 5"),
    "expression": (lambda: activity().discount, "expression", lambda: "30", "20 → 30"),
    "discount": (
        activity,
        "discount",
        lambda: str(Discount.objects.get(name="other").pk),
        "discount → other",
    ),
}


def url_of(row: Any) -> str:
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/change/"


def send(client: Client, row: Any, **values: str) -> str:
    """Change these fields in the row's form; return the page that follows."""
    url = url_of(row)
    sent = as_sent(client.get(url))
    return client.post(url, sent | values, follow=True).content.decode()


def propose(client: Client, what: str) -> Proposal:
    find, name, value, _shown = CHANGES[what]
    page = send(client, find(), reason="a sale", **{name: value()})
    assert "Nothing has changed yet: somebody else has to confirm it." in page
    return Proposal.objects.latest("pk")


def decide(client: Client, proposal: Proposal, decision: str) -> str:
    response = client.post(url_of(proposal), {"decision": decision}, follow=True)
    return response.content.decode()


def everything() -> list[Any]:
    return [
        list(model._default_manager.order_by("pk").values())
        for model in (Switch, Sku, Activity, Discount, Offer, SwitchChange, LogEntry)
    ]


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_waits_until_somebody_else_confirms_it(
    operator: Client, second: Client, what: str
) -> None:
    find, name, value, shown = CHANGES[what]
    before = everything()
    proposal = propose(operator, what)

    assert everything() == before
    page = second.get(url_of(proposal)).content.decode()
    old, new = shown.split(" → ")
    assert f"<td>{old}</td><td>{new}</td>" in page
    assert "a sale" in page
    assert "The change was made." in decide(second, proposal, "confirm")
    field = find()._meta.get_field(name)
    assert getattr(find(), field.attname) == field.to_python(value())
    proposal.refresh_from_db()
    assert (proposal.state, proposal.decided_at) == (STATES.CONFIRMED, NOW)
    assert str(proposal.decided_by) == "second"


def test_the_history_has_both_names_and_the_reason(operator: Client, second: Client) -> None:
    for what in ("target", "discount", "switch"):
        decide(second, propose(operator, what), "confirm")

    assert [(str(each.user), text_of(each)) for each in LogEntry.objects.order_by("pk")] == [
        ("operator", f"{change}; reason: “a sale”; confirmed by: “second”")
        for change in ("people per team: 3 → 5", "discount: discount → other")
    ]
    change = SwitchChange.objects.get()
    assert (change.before, change.after, change.reason) == ("100", "30", "a sale")
    assert (change.by, change.confirmed_by) == ("operator", "second")
    page = operator.get("/admin/groupbuy/switch/cutRange/change/").content.decode()
    assert "confirmed by" in page.lower()
    assert "second" in page


def test_nobody_confirms_what_they_propose(operator: Client) -> None:
    before = everything()
    proposal = propose(operator, "target")
    page = operator.get(url_of(proposal)).content.decode()

    assert 'value="confirm"' not in page
    assert "Somebody else has to confirm what you propose." in decide(operator, proposal, "confirm")
    assert everything() == before
    assert Proposal.objects.get().state == STATES.WAITING


@pytest.mark.parametrize("what", ["target", "switch", "original price"])
def test_a_change_of_a_row_that_has_changed_since_is_not_confirmed(
    operator: Client, second: Client, what: str
) -> None:
    find, name, _value, _shown = CHANGES[what]
    proposal = propose(operator, what)
    find()._meta.model.objects.filter(pk=find().pk).update(**{name: "9"})
    before = everything()

    page = second.get(url_of(proposal)).content.decode()
    assert "The row has changed since this was proposed: it can no longer be confirmed." in page
    assert 'value="confirm"' not in page
    page = decide(second, proposal, "confirm")
    assert "so nothing was done: propose the change again." in page
    assert everything() == before
    assert Proposal.objects.get().state == STATES.WAITING


def test_a_discount_that_has_changed_since_it_was_proposed_is_not_confirmed(
    operator: Client, second: Client
) -> None:
    """It was in no published activity, so one person may change it: here to a price of one fen."""
    proposal = propose(operator, "discount")
    Discount.objects.filter(name="other").update(plan="N", expression="0.01")
    before = everything()

    page = second.get(url_of(proposal)).content.decode()
    assert "The row has changed since this was proposed: it can no longer be confirmed." in page
    assert "so nothing was done: propose the change again." in decide(second, proposal, "confirm")
    assert everything() == before


def test_any_field_of_the_row_counts(operator: Client, second: Client) -> None:
    """An expression of 30 that was proposed as an amount off must not be confirmed as a price."""
    proposal = propose(operator, "expression")
    Discount.objects.update(plan="N")
    before = everything()

    assert "so nothing was done: propose the change again." in decide(second, proposal, "confirm")
    assert everything() == before


def test_a_decision_that_collides_again_and_again_decides_nothing(
    operator: Client, second: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def collide(*_arguments: Any) -> None:
        raise OperationalError(1213, "Deadlock found")

    proposal = propose(operator, "target")
    monkeypatch.setattr(proposals, "_write", collide)

    page = decide(second, proposal, "confirm")

    assert "Two requests collided, please try again" in page
    proposal.refresh_from_db()
    assert proposal.state == STATES.WAITING


@pytest.mark.parametrize(
    ("who", "decision", "state"),
    [("second", "reject", STATES.REJECTED), ("operator", "withdraw", STATES.WITHDRAWN)],
)
def test_it_is_rejected_or_withdrawn(
    operator: Client, second: Client, who: str, decision: str, state: Any
) -> None:
    before = everything()
    proposal = propose(operator, "switch")
    client = second if who == "second" else operator

    assert f'value="{decision}"' in client.get(url_of(proposal)).content.decode()
    assert "Nothing was changed." in decide(client, proposal, decision)
    page = decide(second, proposal, "confirm")
    assert f"The proposal is “{state.label}” by now, so nothing was done." in page
    assert everything() == before
    proposal.refresh_from_db()
    assert (proposal.state, str(proposal.decided_by)) == (state, who)


@pytest.mark.parametrize("form", [{}, {"decision": ""}, {"decision": "maybe"}])
def test_a_form_without_a_decision_decides_nothing(
    operator: Client, second: Client, form: dict[str, str]
) -> None:
    proposal = propose(operator, "switch")

    assert second.post(url_of(proposal), form).status_code == 400
    proposal.refresh_from_db()
    assert proposal.state == STATES.WAITING


def test_it_expires(operator: Client, second: Client, clock: Any) -> None:
    proposal = propose(operator, "switch")
    end = NOW + proposals.WAITS
    before_end = [each.text for each in problems(end - timedelta(seconds=1))]
    assert before_end == ["1 change waits until a second person confirms it."]
    clock.move_to(end)
    second.force_login(User.objects.get(username="second"))
    page = second.get(url_of(proposal)).content.decode()
    assert "status: expired" in page
    assert 'name="decision"' not in page
    with pytest.raises(ValidationError, match="“expired” by now"):
        proposals.confirm(proposal.pk, by=User.objects.get(username="second"), now=end)
    assert problems(end) == []
    assert switch("cutRange").value == "100"


def test_it_must_still_be_valid(operator: Client, second: Client) -> None:
    """Confirming a discount of 30 after the goods' price became 25 would leave nothing to pay."""
    proposal = propose(operator, "expression")
    Sku.objects.update(original_price=25)
    before = everything()

    assert "leaves nothing of the price 25.00" in decide(second, proposal, "confirm")
    assert everything() == before


@pytest.mark.parametrize("word", ALL)
def test_only_the_changes_that_are_set_wait(operator: Client, settings: Any, word: str) -> None:
    settings.SECOND_PERSON = [word]
    waits = {
        "price": {"original price", "expression", "discount"},
        "target": {"target"},
        "switches": {"switch"},
        "blacklist": {"blacklist"},
    }
    for what, (find, name, value, _shown) in CHANGES.items():
        send(operator, find(), reason="a sale", **{name: value()})
        assert Proposal.objects.exists() == (what in waits[word]), what
        Proposal.objects.all().delete()


def test_a_form_names_the_fields_whose_change_waits(operator: Client, settings: Any) -> None:
    def pages() -> list[str]:
        rows = (activity(), activity().discount, Sku.objects.get())
        return [operator.get(url_of(row)).content.decode() for row in rows]

    text = "A second person confirms a change of: "
    of_activity, of_discount, of_goods = pages()
    assert f"{text}Discount, People per team." in of_activity
    assert f"{text}Plan, Expression." in of_discount
    assert f"{text}Original price." in of_goods
    settings.SECOND_PERSON = ["target"]
    of_activity, of_discount, of_goods = pages()
    assert f"{text}People per team." in of_activity
    assert text not in of_discount + of_goods


def test_without_the_setting_and_for_drafts_nothing_waits(operator: Client, settings: Any) -> None:
    Activity.objects.update(status=Activity.Status.CREATED)
    send(operator, activity(), target_count="5")
    assert activity().target_count == 5
    settings.SECOND_PERSON = []
    send(operator, switch("cutRange"), value="30", reason="r")

    assert switch("cutRange").value == "30"
    assert SwitchChange.objects.get().confirmed_by == ""
    assert not Proposal.objects.exists()


def test_a_change_that_waits_is_made_alone(operator: Client) -> None:
    alone = "This change needs a second person: save the other changes first, then this one alone."
    Sku.objects.create(goods_id="tea", name="tea", original_price=Decimal(9))
    before = everything()
    offer = {
        "offers-1-channel": str(make_channel("s01", "c01").pk),
        "offers-1-sku": str(Sku.objects.get(goods_id="tea").pk),
    }
    before = everything()

    assert alone in send(operator, activity(), target_count="5", name="x", reason="r")
    assert alone in send(operator, activity(), target_count="5", reason="r", **offer)
    assert everything() == before
    assert not Proposal.objects.exists()


def test_support_sees_proposals_and_decides_nothing(operator: Client) -> None:
    proposal = propose(operator, "switch")
    support = member("support", "support")

    page = support.get(url_of(proposal)).content.decode()
    assert 'name="decision"' not in page
    for decision in ("confirm", "reject"):
        assert support.post(url_of(proposal), {"decision": decision}).status_code == 403
    assert Proposal.objects.get().state == STATES.WAITING
    assert switch("cutRange").value == "100"


@pytest.mark.parametrize("key", ["cutRange", "scBlackList"])
def test_the_api_cannot_change_what_needs_two(operator_api: APIClient, key: str) -> None:
    before = everything()
    answer = operator_api.get(f"/api/v1/gbm/dcc/update_config?key={key}&value=1")

    assert (answer.status_code, answer.json()["code"]) == (403, "0403")
    assert "propose its change in the console" in answer.json()["info"]
    assert everything() == before


def test_the_list_shows_what_waits(operator: Client, second: Client) -> None:
    for what in ("switch", "target"):
        propose(operator, what)
    decide(second, Proposal.objects.latest("pk"), "reject")

    page = second.get("/admin/groupbuy/proposal/").content.decode()
    assert "switch cutRange" in page
    assert "activity 100123" in page
    page = second.get("/admin/groupbuy/proposal/?state=waiting").content.decode()
    assert "switch cutRange" in page
    assert "activity 100123" not in page
    home = second.get("/admin/").content.decode()
    assert "1 change waits until a second person confirms it." in home


def users(*names: str) -> list[User]:
    return [User.objects.create_superuser(name) for name in names]


def proposal_of(user: User, target: int) -> Proposal:
    row = activity()
    row.target_count = target
    return proposals.propose(row, ["target_count"], "r", by=user, now=NOW)


Decide = Callable[..., None]
CONFIRM, DECLINE = proposals.confirm, proposals.decline


def targets() -> tuple[int, int]:
    """The number of people per team, and how often it has changed."""
    return activity().target_count, LogEntry.objects.count()


def test_the_database_knows_that_two_people_are_needed() -> None:
    [ada] = users("ada")
    proposal = proposal_of(ada, 5)

    with pytest.raises(IntegrityError), transaction.atomic():
        Proposal.objects.filter(pk=proposal.pk).update(state=STATES.CONFIRMED, decided_by=ada)
    Proposal.objects.filter(pk=proposal.pk).update(state=STATES.WITHDRAWN, decided_by=ada)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("other", "name", "state"),
    [
        (CONFIRM, "eve", STATES.CONFIRMED),
        (DECLINE, "eve", STATES.REJECTED),
        (DECLINE, "ada", STATES.WITHDRAWN),
    ],
)
def test_one_of_two_simultaneous_decisions_counts(other: Decide, name: str, state: Any) -> None:
    people = {each.username: each for each in users("ada", "bob", "eve")}
    key = proposal_of(people["ada"], 5).pk

    results = race(
        partial(CONFIRM, key, by=people["bob"], now=NOW),
        partial(other, key, by=people[name], now=NOW),
    )

    assert sum(isinstance(each, ValidationError) for each in results) == 1
    assert results.count(None) == 1
    decided = Proposal.objects.get()
    assert decided.decided_by == people["bob" if results[0] is None else name]
    assert decided.state == (STATES.CONFIRMED if results[0] is None else state)
    assert targets() == ((5, 1) if decided.state == STATES.CONFIRMED else (3, 0))


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has no row locks to look at")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("slow", "quick", "name", "state"),
    [
        (CONFIRM, CONFIRM, "eve", STATES.CONFIRMED),
        (CONFIRM, DECLINE, "ada", STATES.WITHDRAWN),
        (DECLINE, CONFIRM, "eve", STATES.CONFIRMED),
    ],
)
def test_the_faster_decision_stands(
    monkeypatch: pytest.MonkeyPatch, slow: Decide, quick: Decide, name: str, state: Any
) -> None:
    """Mutation: _lock() reads the proposal without its lock, or does not check its state."""
    people = {each.username: each for each in users("ada", "bob", "eve")}
    key = proposal_of(people["ada"], 5).pk

    results = overtake(
        monkeypatch,
        partial(slow, key, by=people["bob"], now=NOW),
        partial(quick, key, by=people[name], now=NOW),
    )

    assert isinstance(results[0], ValidationError)
    assert results[1] is None
    decided = Proposal.objects.get()
    assert (decided.state, decided.decided_by) == (state, people[name])
    assert targets() == ((5, 1) if state == STATES.CONFIRMED else (3, 0))


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has no row locks to look at")
@pytest.mark.django_db(transaction=True)
def test_one_of_two_simultaneous_proposals_for_a_row_is_applied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both have locked their proposal before either reads the row.

    Mutation: _confirm() reads the row without its lock.
    """
    ada, bob = users("ada", "bob")
    keys = [proposal_of(ada, target).pk for target in (5, 6)]
    meet_after(monkeypatch, rows, "lock", parties=2)

    results = race(*[partial(CONFIRM, key, by=bob, now=NOW) for key in keys])

    assert sum(isinstance(each, ValidationError) for each in results) == 1
    assert targets() == (5 if results[0] is None else 6, 1)
    states = list(Proposal.objects.order_by("pk").values_list("state", flat=True))
    assert sorted(states) == [STATES.WAITING, STATES.CONFIRMED]
    assert states[results.index(None)] == STATES.CONFIRMED


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has no row locks to look at")
@pytest.mark.django_db(transaction=True)
def test_the_form_of_a_discount_waits_while_a_change_to_it_is_confirmed(operator: Client) -> None:
    """Mutation: _confirm() reads the discount without its lock, and the form saves its 0.01."""
    [bob] = users("bob")
    named = Discount.objects.get(name="other")
    proposal = propose(operator, "discount")
    url, sent = url_of(named), as_sent(operator.get(url_of(named)))
    confirming, saved = Event(), Event()

    def hold(**_signal: Any) -> None:
        confirming.set()
        saved.wait(0.5)  # in vain: the form waits for this transaction

    def save() -> int:
        assert confirming.wait(LATE)
        answer = operator.post(url, sent | {"plan": "N", "expression": "0.01"})
        saved.set()
        return answer.status_code

    pre_save.connect(hold, sender=Activity)
    try:
        results = race(partial(CONFIRM, proposal.pk, by=bob, now=NOW), save)
    finally:
        pre_save.disconnect(hold, sender=Activity)

    assert results == [None, 200]  # shown again: the discount has a published activity now
    named.refresh_from_db()
    assert (activity().discount, named.plan, named.expression) == (named, "ZJ", "30")
