"""Console pages of notifications: the list, sending one or a range again."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from groupbuy.biglists import BigListAdmin, ReadOnly, StateFilter
from groupbuy.errors import GroupBuyError
from groupbuy.history import log_act
from groupbuy.moments import MomentField
from trade import failures, labels, lists, timeline
from trade.act_admin import PromiseActs, ReasonForm, user_id
from trade.acts import Act, send_again
from trade.models import NotifyAttempt, NotifyTask
from trade.notify import outbox
from trade.notify.replay import chosen_by_range

MANY = 500  # notifications that may be chosen one by one


class AttemptInline(ReadOnly, TabularInline):
    model = NotifyAttempt
    extra = 0
    per_page = 25
    fields = ["number", "started_at", "duration_ms", "status_code", "shown_error"]
    readonly_fields = ["shown_error"]
    ordering = ["-id"]
    hide_title = True

    @admin.display(description=_("error"))
    def shown_error(self, attempt: NotifyAttempt) -> str:
        return failures.shown(attempt.error)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True  # on a page that one may view


class ReplayForm(ReasonForm):
    """A range of notifications, by endpoint or time, and why they are sent again."""

    endpoint = forms.CharField(
        label=_("endpoint"),
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "mall.example.com:https"}),
    )
    since = MomentField(label=_("created at or after"), required=False)
    until = MomentField(label=_("created before"), required=False)
    delivered = forms.BooleanField(
        label=_("also delivered ones"), required=False, widget=UnfoldBooleanWidget()
    )

    field_order = ["endpoint", "since", "until", "delivered", "reason"]

    def clean(self) -> dict[str, Any]:
        chosen = self.cleaned_data
        if not any(chosen.get(name) for name in ("endpoint", "since", "until")):
            raise forms.ValidationError(_("Name an endpoint or a time."))
        return chosen


@admin.register(NotifyTask)
class NotifyTaskAdmin(PromiseActs, ReadOnly, BigListAdmin):
    list_display = [
        "key",
        "shown_event",
        "channel",
        "shown_state",
        "attempts",
        "next_attempt_at",
        "shown_error",
    ]
    fields = [
        *("key", "channel", "event", "transport", "target", "payload", "state", "attempts"),
        *("next_attempt_at", "shown_error", "created_at", "delivered_at"),
    ]
    readonly_fields = ["shown_error"]
    states = lists.PROMISES
    list_filter = [StateFilter]
    list_select_related = ["channel"]
    search_fields = ["key"]
    search_help_text = _("A team id, an order id or a key, complete")
    ordering = ["-id"]
    inlines = [AttemptInline]
    actions = ["send_again"]
    change_form_before_template = "admin/timeline.html"
    actions_list = ["replay"]

    @admin.display(description=_("event"))
    def shown_event(self, promise: NotifyTask) -> str:
        return labels.event_of(promise)

    @display(description=_("state"), label=labels.TONES)
    def shown_state(self, promise: NotifyTask) -> labels.Labelled:
        return labels.of_promise(promise)

    @admin.display(description=_("last error"))
    def shown_error(self, promise: NotifyTask) -> str:
        return failures.shown(promise.last_error)

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        promise = context["original"]
        context |= {
            "next": timeline.next_of_promise(promise),
            "about": timeline.subject_of(promise),
        }
        page: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return page

    def exactly(self, term: str) -> Sequence[Q]:
        return [Q(key__in=lists.promise_keys(term))]

    def has_send_permission(self, request: HttpRequest, object_id: str = "") -> bool:
        return request.user.has_perm("trade.send_notifytask")

    @admin.action(description=_("Send again"), permissions=["send"])
    def send_again(self, request: HttpRequest, tasks: QuerySet[NotifyTask]) -> HttpResponse | None:
        """Show a form for the reason; the second POST, with a reason, sends them."""
        if tasks.count() > MANY:
            message = _("These are too many to choose one by one: send a range again.")
            self.message_user(request, message, messages.ERROR)
            return None
        chosen = list(tasks)
        form = ReasonForm(request.POST if "reason" in request.POST else None)
        if not form.is_valid():
            context = self.admin_site.each_context(request) | {
                "title": gettext("Send the notifications again"),
                "tasks": chosen,
                "form": form,
            }
            return render(request, "admin/send_again.html", context)
        act = Act(user_id(request), form.cleaned_data["reason"], seen="")
        try:
            count = send_again([task.pk for task in chosen], act, now=timezone.now())
        except GroupBuyError as exc:  # after too many collisions
            self.message_user(request, str(exc.error.message), messages.ERROR)
        else:
            self._say_sent_again(request, count)
        return None

    @action(description=_("Send a range again"), url_path="replay", permissions=["send"])
    def replay(self, request: HttpRequest) -> HttpResponse:
        """Count the range first; a second POST sends the counted notifications again."""
        form = ReplayForm(request.POST or None, initial=request.GET.dict())
        counted: dict[str, Any] | None = None
        states: dict[str, int] = {}
        if request.method == "POST" and form.is_valid():
            counted = form.cleaned_data | {"until": form.cleaned_data["until"] or timezone.now()}
            reason = counted.pop("reason")
            chosen = chosen_by_range(**counted)
            if "send" in request.POST:
                # Logged first: requeue() commits in pieces, so that workers do not wait.
                self._log_replay(request, counted, reason)
                self._say_sent_again(request, outbox.requeue(chosen, now=timezone.now()))
                return HttpResponseRedirect(reverse("admin:trade_notifytask_changelist"))
            states = _by_state(chosen)
        context = self.admin_site.each_context(request) | {
            "title": _("Send a range again"),
            "form": form,
            "counted": counted,
            "reason": form.data.get("reason", ""),
            "count": sum(states.values()),
            "states": states,
        }
        return render(request, "admin/replay.html", context)

    def _log_replay(self, request: HttpRequest, chosen: dict[str, Any], reason: str) -> None:
        """Log who sent which range again, and why."""
        named = ", ".join(f"{name}: {value}" for name, value in chosen.items() if value)
        log_act(NotifyTask, "send a range again", reason, user_id=user_id(request), named=named)

    def _say_sent_again(self, request: HttpRequest, count: int) -> None:
        self.message_user(
            request,
            ngettext(
                "%(count)d notification will be sent again.",
                "%(count)d notifications will be sent again.",
                count,
            )
            % {"count": count},
        )


def _by_state(tasks: QuerySet[NotifyTask]) -> dict[str, int]:
    """How many there are of each state, by its words."""
    counted = tasks.order_by("state").values_list("state").annotate(Count("pk"))
    return {str(NotifyTask.State(state).label): count for state, count in counted}
