"""Console pages of channels, API keys and switches."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget

from groupbuy import (
    accounts,  # noqa: F401  registers itself
    beat_admin,  # noqa: F401  registers itself
    gcra,
    switch_words,
    switches,
    throttling,
)
from groupbuy.checks import channels_without_refunds
from groupbuy.deletion import UsedRowsStay
from groupbuy.history import KeepsValues, log_act
from groupbuy.models import ApiKey, Channel, Switch, SwitchChange
from groupbuy.proposal_admin import NEEDS_SECOND, Proposes
from groupbuy.stale_forms import RefusesStaleForms

admin.site.index_title = _("Overview")
admin.site.empty_value_display = SafeString('<span class="nothing">-</span>')  # see console.css


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The console's page for a refused permission; the API answers with its envelope."""
    context = admin.site.each_context(request) | {
        "title": _("You do not have the permission for this page")
    }
    return render(request, "admin/forbidden.html", context, status=403)


@admin.register(Channel)
class ChannelAdmin(UsedRowsStay):
    instead = _("To stop selling there, switch off its API keys and remove its offers.")
    list_display = ["source", "channel", "name", "refund_notify_url", "allow_without_key"]
    list_filter = ["allow_without_key"]
    search_fields = ["source", "channel", "name"]
    fieldsets = [
        (None, {"fields": ["source", "channel", "name", "checkout_url", "pays_outside_wechat"]}),
        (_("Callbacks"), {"fields": ["callback_hosts", "refund_notify_url"]}),
        (
            _("Secrets"),
            {
                "fields": [
                    "webhook_secret",
                    "previous_webhook_secret",
                    "page_secret",
                    "previous_page_secret",
                    "allow_without_key",
                ]
            },
        ),
    ]

    def get_fieldsets(self, request: HttpRequest, obj: Channel | None = None) -> Any:
        """The last fieldset holds the secrets; accounts that may only look do not see it."""
        may_change = self.has_change_permission(request, obj)
        return self.fieldsets if may_change else self.fieldsets[:-1]

    def render_change_form(
        self, request: HttpRequest, *args: Any, obj: Channel | None = None, **kwargs: Any
    ) -> Any:
        if obj and channels_without_refunds().filter(pk=obj.pk).exists():
            text = _(
                "Refunds of this channel cannot be reported to its mall: "
                "enter a refund callback URL, or set AMQP_URL."
            )
            self.message_user(request, text, messages.WARNING)
        return super().render_change_form(request, *args, obj=obj, **kwargs)


@admin.register(ApiKey)
class ApiKeyAdmin(RefusesStaleForms, KeepsValues):
    list_display = ["__str__", "channel", "is_active", "created_at"]
    list_filter = ["is_active", "channel"]
    list_select_related = ["channel"]
    search_fields = ["prefix", "name"]
    fields = ["name", "channel", "is_active"]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        return ["channel"] if obj else []

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        text = ""
        if not change:
            issued, text = ApiKey.issue(channel=obj.channel, name=obj.name)
            obj.prefix, obj.digest = issued.prefix, issued.digest
        super().save_model(request, obj, form, change)
        if text:
            self.message_user(
                request,
                _("The key, shown this once: %(key)s") % {"key": text},
                messages.WARNING,
            )


class SwitchForm(forms.ModelForm):
    reason = forms.CharField(label=_("Reason"), max_length=200, widget=UnfoldAdminTextInputWidget)

    class Meta:
        model = Switch
        fields = ["value"]
        widgets = {"value": UnfoldAdminTextInputWidget}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "value" in self.fields:  # absent for accounts that may only view
            setting = switches.SWITCHES[self.instance.key]
            expects = _("Expected: %(form)s.") % {"form": setting.expects}
            self.fields["value"].help_text = f"{setting.means} {expects}"
            if switches.needs_second(self.instance.key):
                self.fields["reason"].help_text = NEEDS_SECOND

    def clean_value(self) -> str:
        value: str = switches.tidy(self.cleaned_data["value"])
        try:
            switches.validate(self.instance.key, value)
        except ValidationError as exc:
            raise ValidationError(exc.messages) from exc
        return value


class SwitchChangeInline(TabularInline):
    model = SwitchChange
    extra = 0
    per_page = 25
    hide_title = True
    fields = ["at", "by", "shown_before", "shown_after", "reason", "confirmed_by"]
    readonly_fields = fields
    ordering = ["-id"]

    @admin.display(description=_("before"))
    def shown_before(self, change: SwitchChange) -> str:
        return switch_words.shown(change.switch_id, change.before)

    @admin.display(description=_("after"))
    def shown_after(self, change: SwitchChange) -> str:
        return switch_words.shown(change.switch_id, change.after)

    def has_add_permission(self, request: HttpRequest, obj: Switch | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Switch | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True  # on a page that one may view


@admin.register(Switch)
class SwitchAdmin(Proposes, RefusesStaleForms, ModelAdmin):
    """Every switch has a row (migration 0002), so none can be added or deleted."""

    verbs = ("view", "change")
    form = SwitchForm
    list_display = ["label", "key_name", "shown_value", "changed_at", "changed_by"]
    readonly_fields = ["label", "key_name", "shown_value"]
    inlines = [SwitchChangeInline]
    actions_list = ["blocked"]

    def get_fields(self, request: HttpRequest, obj: Switch | None = None) -> list[str]:
        may_change = self.has_change_permission(request, obj)
        return ["label", "key_name", *(["value", "reason"] if may_change else ["shown_value"])]

    @admin.display(description=_("switch"), ordering="key")
    def label(self, switch: Switch) -> str:
        return switch.get_key_display()

    @admin.display(description=_("key"))
    def key_name(self, switch: Switch) -> str:
        return switch.key

    @admin.display(description=_("value"), ordering="value")
    def shown_value(self, switch: Switch) -> str:
        return switch_words.shown(switch.key, switch.value)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Switch | None = None) -> bool:
        return False

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        """Redirect to the switch, whose page lists its changes, those made by API too."""
        return HttpResponseRedirect(reverse("admin:groupbuy_switch_change", args=[object_id]))

    def proposed(self, form: Any) -> set[str]:
        return {"value"} if switches.needs_second(form.instance.key) else set()

    def save_model(self, request: HttpRequest, obj: Switch, form: Any, change: bool) -> None:
        if not self.propose(request, form):
            by, reason = request.user.get_username(), form.cleaned_data["reason"]
            switches.change(obj.key, obj.value, by=by, reason=reason)
        if obj.key == Switch.Key.BLACKLIST and (unknown := _unknown_channels(obj.value)):
            text = _("There is no such channel: %(names)s. Nobody is refused because of it.")
            self.message_user(request, text % {"names": ", ".join(unknown)}, messages.WARNING)

    def has_unblock_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("groupbuy.unblock_switch")

    @action(description=_("Blocked clients"), url_path="blocked", permissions=["unblock"])
    def blocked(self, request: HttpRequest) -> HttpResponse:
        """The clients that are blocked, each with a button that ends its block."""
        if request.method == "POST":
            names = ("scope", "client", "reason")
            scope, client, reason = (request.POST.get(name, "").strip() for name in names)
            if not reason:
                self.message_user(request, _("Say why the client is unblocked."), messages.ERROR)
            else:
                self._unblock(request, scope, client, reason[:200])
            return HttpResponseRedirect(reverse("admin:groupbuy_switch_blocked"))
        context = self.admin_site.each_context(request) | {
            "title": _("Blocked clients"),
            "blocks": gcra.blocks(throttling.scopes()),
        }
        return render(request, "admin/blocked.html", context)

    def _unblock(self, request: HttpRequest, scope: str, client: str, reason: str) -> None:
        """End a block. Log it first: a crash then leaves no unblocked client without an entry."""
        named, user = f"{scope}: {client}", int(request.user.pk or 0)
        entry = log_act(Switch, "block lifted", reason, user_id=user, named=named)
        lifted = gcra.lift(scope, client)
        if lifted is False:
            entry.delete()
        texts = {
            True: (_("%(client)s is unblocked."), messages.INFO),
            False: (_("%(client)s is not blocked."), messages.WARNING),
            None: (_("Redis does not answer: look whether the block has ended."), messages.ERROR),
        }
        text, level = texts[lifted]
        self.message_user(request, text % {"client": client}, level)


def _unknown_channels(blacklist: str) -> list[str]:
    known = {f"{channel.source}{channel.channel}" for channel in Channel.objects.all()}
    return [name for name in blacklist.split(",") if name and name not in known]
