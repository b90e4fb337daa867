"""The console's preview (预览) of an offer's page as a chosen shopper sees it. It writes nothing.

The page's rules are applied for the chosen moment and with the chosen crowd besides the shopper's
own. A draft is shown as if it were published. Teams and the shopper's orders are the present ones.
"""

from copy import copy
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from activity.catalog import LiveOffer, live_offer
from activity.models import Activity, Offer
from activity.trial import judge
from groupbuy import channels
from groupbuy.moments import MomentField
from pages.headers import HEADERS, dress
from pages.offers import OfferView, view_of
from pages.views import offer_context
from tag.crowd import crowds_of
from tag.models import CrowdTag
from trade.market import mask

NEEDED = ("activity.view_activity", "trade.view_order")  # the page shows the shopper's own order
POLICY = "default-src 'none'; style-src 'self'; img-src 'self' https:; frame-ancestors 'self'"


class ShopperForm(forms.Form):
    """The shopper and the moment of the preview."""

    user_id = forms.CharField(
        label=_("user id; empty: somebody without orders"),
        max_length=64,
        required=False,
        widget=UnfoldAdminTextInputWidget,
    )
    crowd = forms.ModelChoiceField(
        CrowdTag.objects.order_by("pk"),
        label=_("as if in this crowd"),
        required=False,
        widget=UnfoldAdminSelectWidget,
    )
    at = MomentField(label=_("at that time"), required=False, help_text=_("Empty: now."))


def choose(request: HttpRequest, activity_id: int, offer_id: int) -> HttpResponse:
    """Show the form for shopper and moment, and the page in a frame."""
    offer = _offer(request, activity_id, offer_id)
    form = ShopperForm(request.GET)
    asked = {name: request.GET.get(name, "") for name in form.fields}
    source = reverse("preview_page", args=[activity_id, offer_id])
    context = admin.site.each_context(request) | {
        "title": _("What a shopper sees"),
        "offer": offer,
        "form": form,
        "draft": offer.activity.status == Activity.Status.CREATED,
        "source": f"{source}?{urlencode(asked)}" if form.is_valid() else "",
    }
    return render(request, "admin/preview.html", context)


def page(request: HttpRequest, activity_id: int, offer_id: int) -> HttpResponse:
    """Show the shopper's page itself; only a page of this site, such as choose(), may frame it."""
    offer = _offer(request, activity_id, offer_id)
    form = ShopperForm(request.GET)
    if not form.is_valid():
        raise Http404
    user_id, crowd = form.cleaned_data["user_id"], form.cleaned_data["crowd"]
    view = _view(offer, user_id, crowd, form.cleaned_data["at"] or timezone.now())
    shopper = {"shopper": mask(user_id) if user_id else "", "preview": True}
    response = render(request, "pages/offer.html", offer_context(request, view) | shopper)
    for name, value in HEADERS.items():
        response[name] = value
    response["Content-Security-Policy"] = POLICY
    response["X-Frame-Options"] = "SAMEORIGIN"
    return dress(response)


def _offer(request: HttpRequest, activity_id: int, offer_id: int) -> Offer:
    user: Any = request.user
    if not user.has_perms(NEEDED):
        raise PermissionDenied
    rows = Offer.objects.select_related("channel", "sku", "activity__discount")
    return get_object_or_404(rows, pk=offer_id, activity=activity_id)


def _view(row: Offer, user_id: str, crowd: CrowdTag | None, now: datetime) -> OfferView:
    offer, channel = _published(live_offer(row)), channels.get(row.channel_id)
    if channel is None:
        raise Http404
    crowds = crowds_of(user_id, offer.crowds) if user_id else frozenset()
    if crowd:
        crowds |= offer.crowds & {crowd.pk}
    trial = judge(offer, user_id, crowds, now=now)
    return view_of(channel, offer, trial, asked=offer.activity.pk, user_id=user_id, now=now)


def _published(offer: LiveOffer) -> LiveOffer:
    if offer.activity.status != Activity.Status.CREATED:
        return offer
    activity = copy(offer.activity)
    activity.status = Activity.Status.IN_EFFECT
    return replace(offer, activity=activity)
