"""Console pages of proposals (双人复核), and how other pages propose instead of saving."""

from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, SuspiciousOperation, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display

from groupbuy import proposals
from groupbuy.biglists import ReadOnly, State, StateFilter
from groupbuy.errors import GroupBuyError
from groupbuy.fields import read_id
from groupbuy.models import Proposal

ALONE = _("This change needs a second person: save the other changes first, then this one alone.")
NEEDS_SECOND = _("A second person confirms this change before it is made.")
DECISIONS = {
    "confirm": proposals.confirm,
    "reject": proposals.decline,
    "withdraw": proposals.decline,
}
TONES = {
    "waiting": "warning",
    "confirmed": "success",
    "rejected": "danger",
    "withdrawn": "",
    "expired": "",
}


class Proposes:
    """For pages of rows: proposed() names the fields whose changes wait for a second person."""

    def proposed(self, form: Any) -> set[str]:
        raise NotImplementedError

    def propose(self, request: HttpRequest, form: Any) -> bool:
        """Keep the change as a proposal if it has to wait; False if it may be saved."""
        names = self.proposed(form)
        if names:
            reason, user = form.cleaned_data["reason"], cast("User", request.user)
            form.instance.proposal = proposals.propose(
                form.instance, names, reason, by=user, now=timezone.now()
            )
        return bool(names)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Log nothing for a proposal: the row has not changed."""
        if not hasattr(obj, "proposal"):
            return super().log_change(request, obj, message)  # type: ignore[misc]
        return None

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        if not hasattr(obj, "proposal"):
            return super().response_change(request, obj)  # type: ignore[misc, no-any-return]
        text = gettext("Nothing has changed yet: somebody else has to confirm it.")
        messages.warning(request, text)
        return redirect("admin:groupbuy_proposal_change", obj.proposal.pk)


@admin.register(Proposal)
class ProposalAdmin(ReadOnly, ModelAdmin):
    list_display = ["__str__", "what", "reason", "user", "at", "shown_state"]
    list_select_related = ["user"]
    list_filter = [StateFilter]
    ordering = ["-id"]
    about = _("Changes that a second person has to confirm are listed here.")
    states = {
        "waiting": State(_("waiting"), proposals.waiting, ()),
        "expired": State(_("expired"), proposals.expired, ()),
    }

    @admin.display(description=_("what changes"))
    def what(self, proposal: Proposal) -> str:
        return gettext(", ").join(str(each.verbose_name) for each in proposals.fields(proposal))

    @display(description=_("state"), label=TONES)
    def shown_state(self, proposal: Proposal) -> Any:
        return proposals.state_of(proposal, timezone.now())

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The values before and after, with buttons for users who may decide."""
        rows = Proposal.objects.select_related("user", "decided_by")
        proposal = rows.filter(pk=read_id(object_id)).first()
        if proposal is None:
            raise Http404
        if not self.has_view_permission(request, proposal):
            raise PermissionDenied
        if request.method == "POST":
            return self._decide(request, proposal)
        return render(request, "admin/proposal.html", self._context(request, proposal))

    def _context(self, request: HttpRequest, proposal: Proposal) -> dict[str, Any]:
        state, label = proposals.state_of(proposal, timezone.now())
        is_waiting, is_own = state == "waiting", proposal.user_id == request.user.pk
        context: dict[str, Any] = self.admin_site.each_context(request) | {
            "title": str(proposal),
            "opts": self.opts,
            "original": proposal,
            "proposal": proposal,
            "state": label,
            "values": list(proposals.shown(proposal)),
            "link": _link(proposal),
            "is_stale": is_waiting and proposals.is_stale(proposal),
            "may_confirm": is_waiting and not is_own and _may_change(request, proposal),
            "may_withdraw": is_waiting and is_own,
        }
        return context

    def _decide(self, request: HttpRequest, proposal: Proposal) -> HttpResponse:
        user = cast("User", request.user)
        if not (_may_change(request, proposal) or proposal.user_id == user.pk):
            raise PermissionDenied
        decision = request.POST.get("decision", "")
        if decision not in DECISIONS:
            raise SuspiciousOperation("decision")
        try:
            DECISIONS[decision](proposal.pk, by=user, now=timezone.now())
        except ValidationError as exc:
            for text in exc.messages:
                messages.error(request, text)
        except GroupBuyError as exc:  # after too many collisions
            messages.error(request, str(exc.error.message))
        else:
            was_made = decision == "confirm"
            done = gettext("The change was made.") if was_made else gettext("Nothing was changed.")
            messages.success(request, done)
        return redirect(request.path)


def _may_change(request: HttpRequest, proposal: Proposal) -> bool:
    app, _dot, model = proposal.model.lower().partition(".")
    return request.user.has_perm(f"{app}.change_{model}")


def _link(proposal: Proposal) -> str:
    name = proposal.model.lower().replace(".", "_")
    return reverse(f"admin:{name}_change", args=[proposal.key])
