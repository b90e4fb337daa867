"""Console pages of channels, API keys and switches."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django_celery_beat import admin as beat
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from groupbuy import switches
from groupbuy.models import ApiKey, Channel, Switch


@admin.register(Channel)
class ChannelAdmin(ModelAdmin):
    list_display = ["source", "channel", "name", "refund_notify_url", "allow_without_key"]
    list_filter = ["allow_without_key"]
    search_fields = ["source", "channel", "name"]
    fieldsets = [
        (None, {"fields": ["source", "channel", "name", "checkout_url"]}),
        (_("Callbacks"), {"fields": ["callback_hosts", "refund_notify_url"]}),
        (
            _("Secrets"),
            {"fields": ["webhook_secret", "previous_webhook_secret", "allow_without_key"]},
        ),
    ]


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin):
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
    class Meta:
        model = Switch
        fields = ["key", "value"]
        widgets = {"key": UnfoldAdminSelectWidget, "value": UnfoldAdminTextInputWidget}
        help_texts = {
            "value": _(
                "downgradeSwitch: 0 or 1. cutRange: 0 to 100. scBlacklist: s02c02,s03c01. "
                "cacheSwitch: 0 or 1. Deleting a switch restores its default."
            )
        }

    def clean_value(self) -> str:
        value: str = self.cleaned_data["value"]
        return value.replace(" ", "").replace("，", ",")

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        key = self.instance.pk or self.cleaned_data.get("key", "")
        if "value" in self.cleaned_data:
            try:
                switches.validate(key, self.cleaned_data["value"])
            except ValidationError as exc:
                self.add_error(None if "key" in exc.message_dict else "value", exc.messages)
        return cleaned


@admin.register(Switch)
class SwitchAdmin(ModelAdmin):
    form = SwitchForm
    list_display = ["key", "value", "changed_at", "changed_by"]
    list_select_related = ["changed_by"]

    def get_readonly_fields(self, request: HttpRequest, obj: Switch | None = None) -> list[str]:
        return ["key"] if obj else []

    def save_model(self, request: HttpRequest, obj: Switch, form: Any, change: bool) -> None:
        obj.changed_by_id = request.user.pk
        super().save_model(request, obj, form, change)


# Django's and django-celery-beat's own pages, in the console's look.

for model in (
    User,
    Group,
    PeriodicTask,
    IntervalSchedule,
    CrontabSchedule,
    SolarSchedule,
    ClockedSchedule,
):
    admin.site.unregister(model)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    pass


class PeriodicTaskForm(beat.PeriodicTaskForm):
    """Only tasks that exist can be chosen: a misspelt one would silently never run."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tasks = beat.TaskSelectWidget().tasks_as_choices()
        self.fields["regtask"] = forms.ChoiceField(
            label=_("Task"),
            choices=tasks,
            initial=self.instance.task,
            widget=UnfoldAdminSelectWidget,
        )
        self.fields["task"].widget = forms.HiddenInput()


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(beat.PeriodicTaskAdmin, ModelAdmin):
    form = PeriodicTaskForm
    date_hierarchy = None  # asks MySQL for time zone tables


@admin.register(IntervalSchedule)
class IntervalScheduleAdmin(ModelAdmin):
    pass


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(beat.CrontabScheduleAdmin, ModelAdmin):
    pass
