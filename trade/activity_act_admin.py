"""Buttons of an activity's page: publish (发布), pause (暂停), resume (继续), close (关闭)."""

from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action

from activity.models import Activity
from groupbuy.fields import read_id
from trade import activity_acts as steps
from trade.act_admin import Acts, Plan, possible_actions


class ActivityActs(Acts):
    actions_detail = ["publish", "pause", "resume", "close", "close_now"]

    def has_giving_permission(self, request: HttpRequest, object_id: str = "") -> bool:
        may_change = self.has_change_permission(request)  # type: ignore[attr-defined]
        return bool(may_change and request.user.has_perm("trade.end_team"))

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[UnfoldAction]:
        activity = Activity.objects.filter(pk=read_id(object_id)).first()
        return possible_actions(
            super(),
            request,
            object_id,
            publish=_is_possible(steps.PUBLISH, activity),
            pause=_is_possible(steps.PAUSE, activity),
            resume=_is_possible(steps.RESUME, activity),
            close=_is_possible(steps.CLOSE, activity),
            close_now=_is_possible(steps.CLOSE_NOW, activity),
        )

    @action(description=gettext_lazy("Publish"), url_path="publish", permissions=["change"])
    def publish(self, request: HttpRequest, object_id: str) -> HttpResponse:
        done = _("Published: shoppers see it within a second, from its start until its end.")
        return self._step(request, object_id, steps.PUBLISH, _("Publish the activity"), done)

    @action(description=gettext_lazy("Pause"), url_path="pause", permissions=["change"])
    def pause(self, request: HttpRequest, object_id: str) -> HttpResponse:
        done = _("Paused: from the next second on nobody can open or join a team.")
        return self._step(request, object_id, steps.PAUSE, _("Pause the activity"), done)

    @action(description=gettext_lazy("Resume"), url_path="resume", permissions=["change"])
    def resume(self, request: HttpRequest, object_id: str) -> HttpResponse:
        done = _("Resumed: shoppers can open and join teams again within a second.")
        return self._step(request, object_id, steps.RESUME, _("Resume the activity"), done)

    @action(
        description=gettext_lazy("Close, teams finish"), url_path="close", permissions=["change"]
    )
    def close(self, request: HttpRequest, object_id: str) -> HttpResponse:
        title = _("Close the activity and let its teams finish")
        done = _("Closed: from the next second on nobody can open or join a team.")
        return self._step(request, object_id, steps.CLOSE, title, done)

    @action(
        description=gettext_lazy("Close, money back"),
        url_path="close-now",
        permissions=["giving"],
    )
    def close_now(self, request: HttpRequest, object_id: str) -> HttpResponse:
        title = _("Close the activity and give the money back now")
        done = _("Closed: its forming teams fail within minutes, and their money goes back.")
        return self._step(request, object_id, steps.CLOSE_NOW, title, done)

    def _step(
        self, request: HttpRequest, object_id: str, step: steps.Step, title: str, done: str
    ) -> HttpResponse:
        activity: Activity = self._row(request, object_id)
        refused, facts = _meaning(step, activity)
        plan = Plan(
            title=title,
            facts=refused or facts,
            done=done,
            do=None if refused else lambda act: steps.carry_out(step, activity.pk, act),
            seen=steps.state(step, activity),
            needs_reason=step.needs_reason,
            variant="danger" if step.to == Activity.Status.ABANDONED else "",
        )
        return self._page(request, activity, plan)


def _meaning(step: steps.Step, activity: Activity) -> tuple[list[str], list[str]]:
    """The reasons for which the step is refused, or its consequences; one of the two is empty."""
    if refused := steps.refusal(step, activity):
        return [refused], []
    try:
        return [], step.means(activity)
    except ValidationError as exc:
        return exc.messages, []


def _is_possible(step: steps.Step, activity: Activity | None) -> Any:
    return activity and not steps.refusal(step, activity)
