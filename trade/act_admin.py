"""Console pages of acts (运营操作): each shows the consequences, a reason and one button."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, Sum
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget

from groupbuy.errors import GroupBuyError
from groupbuy.fields import read_id
from trade import acts
from trade.acts import Act
from trade.labels import of_order, of_team
from trade.models import NotifyTask, Order, RefundType, Team
from trade.refund import decide


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("reason"), max_length=200, widget=UnfoldAdminTextInputWidget
    )


@dataclass(frozen=True)
class Plan:
    """An act that an operator may choose. Without `do` the facts say why it cannot be done."""

    title: str
    facts: Sequence[str]
    done: str
    do: Callable[[Act], None] | None
    seen: str = ""
    needs_reason: bool = True
    variant: str = ""  # of its button

    @property
    def is_possible(self) -> bool:
        return self.do is not None


class Acts:
    """For pages of rows: adds buttons, each of which leads to the page of an act."""

    admin_site: Any

    def _row(self, request: HttpRequest, object_id: str) -> Any:
        row = self.get_object(request, object_id)  # type: ignore[attr-defined]
        if row is None:
            raise Http404
        if not self.has_view_permission(request, row):  # type: ignore[attr-defined]
            raise PermissionDenied
        return row

    def _page(self, request: HttpRequest, row: Model, plan: Plan) -> HttpResponse:
        """Show the page of the act on GET, carry the act out on POST."""
        form = ReasonForm(request.POST or None)
        form.fields["reason"].required = plan.needs_reason
        if plan.do and form.is_valid():
            seen = request.POST.get("seen", "")
            try:
                plan.do(Act(user_id(request), form.cleaned_data["reason"], seen))
            except (acts.ChangedError, GroupBuyError):  # the latter after too many collisions
                text = _("It has changed in the meantime, so nothing was done. Look again.")
                messages.error(request, text)
                return HttpResponseRedirect(request.path)
            messages.success(request, plan.done)
            name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
            return HttpResponseRedirect(reverse(name, args=[row.pk]))
        context = self.admin_site.each_context(request) | {
            "title": plan.title,
            "row": row,
            "opts": row._meta,
            "plan": plan,
            "form": form,
        }
        return render(request, "admin/act.html", context)


class OrderActs(Acts):
    actions_detail = ["give_back"]

    def has_refund_permission(self, request: HttpRequest, object_id: str = "") -> bool:
        return request.user.has_perm("trade.refund_order")

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[UnfoldAction]:
        order = Order.objects.select_related("team").filter(pk=read_id(object_id)).first()
        return possible_actions(
            super(), request, object_id, give_back=order and acts.may_give_back(order)
        )

    @action(description=gettext_lazy("Give back"), url_path="give-back", permissions=["refund"])
    def give_back(self, request: HttpRequest, object_id: str) -> HttpResponse:
        order: Order = self._row(request, object_id)
        states = Team.Status(order.team.status), Order.Status(order.status)
        kind = decide(*states)
        plan = Plan(
            title=_("Give the order back"),
            facts=[_meaning_of_refund(order, kind)],
            done=_("The order is given back."),
            do=(lambda act: acts.give_back(order, act, now=timezone.now())) if kind else None,
            seen=acts.state_of_order(order),
            variant="danger",
        )
        return self._page(request, order, plan)


class TeamActs(Acts):
    actions_detail = ["complete", "fail"]

    def has_end_permission(self, request: HttpRequest, object_id: str = "") -> bool:
        return request.user.has_perm("trade.end_team")

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[UnfoldAction]:
        team = Team.objects.filter(pk=read_id(object_id)).first()
        may_complete = team and acts.may_complete(team)
        may_fail = team and acts.may_fail(team)
        return possible_actions(super(), request, object_id, complete=may_complete, fail=may_fail)

    @action(description=gettext_lazy("Complete now"), url_path="complete", permissions=["end"])
    def complete(self, request: HttpRequest, object_id: str) -> HttpResponse:
        team: Team = self._row(request, object_id)
        plan = _ending(
            team,
            title=_("Complete the team now"),
            facts=_meaning_of_completion,
            done=_("The team is complete."),
            may=acts.may_complete,
            do=acts.complete_team,
        )
        return self._page(request, team, plan)

    @action(description=gettext_lazy("End now, money back"), url_path="fail", permissions=["end"])
    def fail(self, request: HttpRequest, object_id: str) -> HttpResponse:
        team: Team = self._row(request, object_id)
        plan = _ending(
            team,
            title=_("End the team now and give the money back"),
            facts=_meaning_of_failure,
            done=_("The team has ended."),
            may=acts.may_fail,
            do=acts.fail_team,
            variant="danger",
        )
        return self._page(request, team, plan)


def _ending(
    team: Team,
    *,
    title: str,
    facts: Callable[[Team], list[str]],
    done: str,
    may: Callable[[Team], bool],
    do: Callable[..., None],
    variant: str = "",
) -> Plan:
    """The plan of an act that ends the team before its time."""
    is_possible = may(team)
    return Plan(
        title=title,
        facts=facts(team) if is_possible else [_why_not(team)],
        done=done,
        do=(lambda act: do(team, act, now=timezone.now())) if is_possible else None,
        seen=acts.state_of_team(team),
        variant=variant,
    )


class PromiseActs(Acts):
    actions_detail = ["send_this_again"]

    @action(description=gettext_lazy("Send again"), url_path="send-again", permissions=["send"])
    def send_this_again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        promise: NotifyTask = self._row(request, object_id)
        where = promise.endpoint or promise.channel.refund_notify_url or "–"  # transports.send()

        def send(act: Act) -> None:
            acts.send_again([promise.pk], act, now=timezone.now())

        plan = Plan(
            title=_("Send the notification again"),
            facts=[
                _("It goes to %(endpoint)s at the next sweep, within seconds.")
                % {"endpoint": where},
                _("It keeps its id, so that a mall which has it already recognises the repeat."),
            ],
            done=_("The notification will be sent again."),
            do=send,
        )
        return self._page(request, promise, plan)


def user_id(request: HttpRequest) -> int:
    return int(request.user.pk or 0)


def possible_actions(
    page: Any, request: HttpRequest, object_id: str, **possible: object
) -> list[UnfoldAction]:
    """The page's buttons without those of acts that are not possible now."""
    found: list[UnfoldAction] = page.get_actions_detail(request, object_id)
    return [each for each in found if possible.get(each.method.original_function_name, True)]


def _meaning_of_refund(order: Order, kind: RefundType | None) -> str:
    price = {"price": f"¥{order.pay_price}"}
    match kind:
        case RefundType.UNPAID_UNLOCK:
            return _("The seat is released; nothing was paid, so no money goes back.")
        case RefundType.PAID_UNFORMED:
            return _("%(price)s goes back, and the seat in the team is free again.") % price
        case RefundType.PAID_FORMED:
            text = _(
                "%(price)s goes back. The team stays complete for the others. If the goods are on"
                " their way, the mall has to see to them."
            )
            return text % price
        case None:
            return _("Not possible: the order is “%(state)s”.") % {"state": of_order(order)}


def _meaning_of_completion(team: Team) -> list[str]:
    paid = team.paid_count
    facts = [
        ngettext(
            "%(n)d shopper who has paid gets the goods (%(sum)s).",
            "%(n)d shoppers who have paid get the goods (%(sum)s).",
            paid,
        )
        % {"n": paid, "sum": _paid(team)},
        _("The mall is notified that the team is complete. This cannot be undone."),
    ]
    return facts[:1] + _meaning_for_unpaid(team) + facts[1:]


def _meaning_of_failure(team: Team) -> list[str]:
    facts = [
        ngettext(
            "%(sum)s goes back to %(n)d shopper who has paid.",
            "%(sum)s goes back to %(n)d shoppers who have paid.",
            team.paid_count,
        )
        % {"n": team.paid_count, "sum": _paid(team)}
        if team.paid_count
        else _("Nobody has paid, so no money goes back."),
        _("The mall is notified of each order. This cannot be undone."),
    ]
    return facts[:1] + _meaning_for_unpaid(team) + facts[1:]


def _meaning_for_unpaid(team: Team) -> list[str]:
    unpaid = team.locked_count - team.paid_count
    if not unpaid:
        return []
    text = ngettext(
        "%(n)d unpaid seat is released; a payment that still arrives goes back.",
        "%(n)d unpaid seats are released; payments that still arrive go back.",
        unpaid,
    )
    return [text % {"n": unpaid}]


def _why_not(team: Team) -> str:
    if acts.may_fail(team):
        return _("Not possible: nobody in this team has paid.")
    return _("Not possible: the team is “%(state)s”.") % {"state": of_team(team, timezone.now())}


def _paid(team: Team) -> str:
    paid = team.orders.filter(status=Order.Status.PAID).aggregate(sum=Sum("pay_price"))
    return f"¥{paid['sum'] or 0:.2f}"
