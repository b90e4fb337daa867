"""Signing in to the console (登录): locked after wrong passwords, with an optional second step.

django-axes counts failures and locks a name for one address. The second step (两步验证) is the code
of an authenticator app (TOTP, RFC 6238); each person switches it on for their own account.
"""

from typing import Any

import segno
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_otp import match_token
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.forms import AuthenticationForm
from unfold.widgets import UnfoldAdminTextInputWidget

from groupbuy.proxies import caller
from groupbuy.throttling import client_address

CODE = UnfoldAdminTextInputWidget(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"})


class SignInForm(AuthenticationForm):
    code = forms.CharField(
        label=gettext_lazy("Code of the authenticator app"),
        required=False,
        max_length=6,
        widget=CODE,
        help_text=gettext_lazy("Only if you have switched on the second step."),
    )

    def clean(self) -> dict[str, Any]:
        """A wrong code counts like a wrong password."""
        cleaned: dict[str, Any] = super().clean()
        user = self.get_user()
        if not _devices(user).exists():
            return cleaned
        if not cleaned.get("code"):
            raise ValidationError(_("Enter the code of your authenticator app, too."))
        if not match_token(user, cleaned["code"]):
            credentials = {"username": cleaned["username"]}
            user_login_failed.send(__name__, credentials=credentials, request=self.request)
            raise ValidationError(_("The code is wrong, old or already used. Try the next one."))
        return cleaned


class CodeForm(forms.Form):
    code = forms.CharField(label=gettext_lazy("Code"), max_length=6, widget=CODE)


def address(request: HttpRequest) -> str | None:
    """For django-axes: the client's address, or its IPv6 network's."""
    return client_address(caller(request)).partition("/")[0] or None


def locked(request: HttpRequest, response: Any, credentials: Any) -> HttpResponse:
    """For django-axes: too many failures."""
    minutes = settings.AXES_COOLOFF_TIME.total_seconds() / 60
    context = admin.site.each_context(request) | {"title": _("Locked"), "minutes": round(minutes)}
    page = render(request, "admin/locked.html", context, status=429)
    page["Retry-After"] = str(round(minutes * 60))
    return page


def second_step(request: HttpRequest) -> HttpResponse:
    """A page of one's own account: switch the second step on, with a code as proof, or off."""
    user: Any = request.user
    form, is_on = CodeForm(request.POST or None), _devices(user).exists()
    if form.is_valid():
        if _press(user, form.cleaned_data["code"], is_on=is_on):
            text = _("The second step is off.") if is_on else _("The second step is on.")
            messages.success(request, text)
            return redirect("second_step")
        form.add_error("code", _("The code is wrong, old or already used. Try the next one."))
    context = admin.site.each_context(request) | {
        "title": _("Second step when signing in"),
        "form": form,
        "is_on": is_on,
    }
    if not is_on:
        device = _offered(user) or TOTPDevice.objects.create(user=user, confirmed=False)
        context["qr"] = segno.make(device.config_url).svg_data_uri(scale=5, light="white")
        context["key"] = device.config_url.partition("secret=")[2].partition("&")[0]
    return render(request, "admin/second_step.html", context)


def _press(user: User, code: str, *, is_on: bool) -> bool:
    """Change the second step; False for a wrong code."""
    if is_on:
        accepted = match_token(user, code) is not None
        if accepted:
            _devices(user).delete()
        return accepted
    device = _offered(user)
    if device is None or not device.verify_token(code):
        return False
    return bool(TOTPDevice.objects.filter(pk=device.pk, confirmed=False).update(confirmed=True))


def _offered(user: User) -> TOTPDevice | None:
    """The oldest device that waits for its first code: two tabs may have made two."""
    return TOTPDevice.objects.filter(user=user, confirmed=False).order_by("pk").first()


def _devices(user: User) -> Any:
    return TOTPDevice.objects.filter(user=user, confirmed=True)
