"""Console pages of the console's own users, their roles (角色) and permissions.

The roles are groups that migration trade/0019 creates; docs/console.md says what each may do.
"""

from typing import Any

from axes.models import AccessAttempt
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Model, QuerySet
from django.forms import ModelMultipleChoiceField
from django.http import HttpRequest
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.admin import ModelAdmin, TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from groupbuy.deletion import UsedRowsStay
from groupbuy.history import KeepsValues
from groupbuy.stale_forms import RefusesStaleForms

ROLES = {
    "viewer": _("viewer: sees everything but secrets, changes nothing"),
    "support": _("support: also gives orders back, sends notifications again, unblocks clients"),
    "operator": _("operator: also ends teams, runs campaigns, crowds and switches"),
    "administrator": _("administrator: also channels, API keys, users and schedules"),
}
WORDS = {
    "view": _("view"),
    "add": _("add"),
    "change": _("change"),
    "delete": _("delete"),
    "check": _("check the data"),
    "send": _("send again"),
    "unblock": _("unblock clients"),
    "refund": _("give back"),
    "end": _("complete and end"),
}


class RolesField(ModelMultipleChoiceField):
    def label_from_instance(self, group: Any) -> str:
        return str(ROLES.get(group.name, group.name))


class PermissionsField(ModelMultipleChoiceField):
    def label_from_instance(self, permission: Any) -> str:
        model = permission.content_type.model_class()
        verb = permission.codename.partition("_")[0]
        return f"{model._meta.verbose_name_plural}: {WORDS[verb]}"


def meaningful() -> QuerySet[Permission]:
    """The permissions that some page of the console checks."""
    pages = admin.site._registry.values()
    codenames = {f"{verb}_{page.opts.model_name}" for page in pages for verb in verbs(page)}
    found = Permission.objects.filter(
        codename__in=codenames, content_type__app_label__in={page.opts.app_label for page in pages}
    )
    return found.select_related("content_type").order_by("content_type", "pk")


def verbs(page: Any) -> list[str]:
    general = getattr(page, "verbs", ("view", "add", "change", "delete"))
    return [*general, *(name.partition("_")[0] for name, _title in page.opts.permissions)]


def choice(db_field: Any) -> ModelMultipleChoiceField:
    """The field for the roles or the permissions of a user or a group."""
    roles = db_field.name == "groups"
    return (RolesField if roles else PermissionsField)(
        Group.objects.order_by("pk") if roles else meaningful(),
        label=capfirst(_("roles") if roles else _("permissions")),
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget(),
    )


admin.site.unregister([User, Group, TOTPDevice])


class SecondStepInline(TabularInline):
    """Deleting the row switches the second step off, for somebody who has lost the app."""

    model = TOTPDevice
    verbose_name_plural = _("second step when signing in")
    extra = max_num = 0
    fields = readonly_fields = ["created_at", "last_used_at"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(confirmed=True)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True  # on a page that one may view

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("auth.change_user")) and _may_touch(request, obj)


@admin.register(AccessAttempt)
class AccessAttemptAdmin(ModelAdmin):
    """Failed sign-ins by name and address. Deleting a row unlocks the name at that address."""

    verbs = ("view", "delete")
    list_display = ["username", "ip_address", "failures_since_start", "attempt_time"]
    fields = readonly_fields = [*list_display, "user_agent"]
    search_fields = ["username", "ip_address"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(User)
class UserAdmin(DjangoUserAdmin, UsedRowsStay):  # type: ignore[misc]  # get_form() of the stubs
    """Only a superuser makes, changes or deletes a superuser."""

    instead = _("To keep this user out, clear the mark “Active”.")
    also_kept_by = ["logentry"]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "first_name", "last_name", "is_active", "is_superuser"]
    filter_horizontal = ()
    inlines = [SecondStepInline]

    def formfield_for_manytomany(
        self, db_field: Any, request: HttpRequest | None = None, **kwargs: Any
    ) -> Any:
        return choice(db_field)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        dates = ("last_login", "date_joined")
        return dates if request.user.is_superuser else (*dates, "is_superuser", "user_permissions")

    def render_change_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        obj: User | None = kwargs.get("obj")
        if obj and obj.is_active and not obj.is_superuser:
            if not obj.is_staff:
                text = _("This user cannot sign in: mark “Staff status”, and choose a role.")
                self.message_user(request, text, messages.WARNING)
            elif not obj.get_all_permissions():
                text = _("This user can sign in and sees nothing: choose a role.")
                self.message_user(request, text, messages.WARNING)
        return super().render_change_form(request, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if obj.is_superuser and "is_superuser" in form.changed_data:
            message = _(
                "%(user)s may now do everything, without limit. "
                "A role is enough for every task here."
            )
            self.message_user(request, message % {"user": obj}, messages.WARNING)


def _may_touch(request: HttpRequest, user: Any) -> bool:
    return bool(request.user.is_superuser or user is None or not user.is_superuser)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, RefusesStaleForms, KeepsValues):
    list_display = ["name", "may"]
    filter_horizontal = ()

    def formfield_for_manytomany(
        self, db_field: Any, request: HttpRequest | None = None, **kwargs: Any
    ) -> Any:
        return choice(db_field)

    @admin.display(description=_("what it may do"), empty_value="–")
    def may(self, group: Group) -> Any:
        return ROLES.get(group.name)
