"""Console pages of the schedule: django-celery-beat's own, in the console's look."""

from typing import Any

from django import forms
from django.contrib import admin
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
from unfold.widgets import UnfoldAdminSelectWidget

from groupbuy.moments import IN_YEARS

for model in (
    PeriodicTask,
    IntervalSchedule,
    CrontabSchedule,
    SolarSchedule,
    ClockedSchedule,
):
    admin.site.unregister(model)


class PeriodicTaskForm(beat.PeriodicTaskForm):
    """Offers the tasks that exist, because a misspelt task would silently never run."""

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
    formfield_overrides = IN_YEARS
    date_hierarchy = None  # it needs the time zone tables of MySQL

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """None for those who may only look: the package's actions name no permission."""
        actions: dict[str, Any] = super().get_actions(request)
        return actions if self.has_change_permission(request) else {}


@admin.register(IntervalSchedule)
class IntervalScheduleAdmin(ModelAdmin):
    pass


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(beat.CrontabScheduleAdmin, ModelAdmin):
    pass
