"""The console's roles as groups; whoever could send again or check before still can."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

APPS = ("activity", "tag", "trade", "groupbuy", "auth", "django_celery_beat")
ALL = ("view", "add", "change", "delete")
VIEWER = {
    "activity": "activity offer sku discount",
    "tag": "crowdtag crowdmember crowdjob",
    "trade": "team order notifytask",
    "groupbuy": "channel switch",
}
ROLES = {  # each may also do what those before it may
    "viewer": [f"{app}.view_{model}" for app, models in VIEWER.items() for model in models.split()],
    "support": ["trade.send_notifytask", "groupbuy.unblock_switch"],
    "operator": [
        *(f"activity.{verb}_{model}" for model in VIEWER["activity"].split() for verb in ALL),
        *(f"tag.{verb}_{model}" for model in ("crowdtag", "crowdjob") for verb in ALL),
        *("tag.delete_crowdmember", "groupbuy.change_switch", "trade.check_team"),
        *(f"django_celery_beat.{verb}_crontabschedule" for verb in ("view", "add")),
    ],
    "administrator": [
        *(f"groupbuy.{verb}_{model}" for model in ("channel", "apikey") for verb in ALL),
        *(f"auth.{verb}_{model}" for model in ("user", "group") for verb in ALL),
        *(
            f"django_celery_beat.{verb}_{model}"
            for model in ("periodictask", "crontabschedule", "intervalschedule")
            for verb in ALL
        ),
    ],
}
SUCCESSORS = {
    "change_notifytask": "send_notifytask",
    "change_team": "check_team",
    "change_switch": "unblock_switch",
}


def create_roles(apps, schema_editor):
    for label in APPS:  # permissions are otherwise created after the last migration
        config = apps.get_app_config(label)
        config.models_module = True
        create_permissions(config, apps=apps, verbosity=0)
        config.models_module = None
    Group, Permission = (apps.get_model("auth", name) for name in ("Group", "Permission"))
    by_name = {
        f"{each.content_type.app_label}.{each.codename}": each
        for each in Permission.objects.select_related("content_type")
    }
    may = []
    for role, names in ROLES.items():
        may += [by_name[name] for name in names]
        group, created = Group.objects.get_or_create(name=role)
        if created:
            group.permissions.set(may)
    for old, new in SUCCESSORS.items():
        for holder in ("group_set", "user_set"):
            holders = getattr(Permission.objects.get(codename=old), holder).all()
            getattr(Permission.objects.get(codename=new), holder).add(*holders)


class Migration(migrations.Migration):
    dependencies = [
        ("trade", "0018_console_permissions"),
        ("groupbuy", "0015_console_permissions"),
        ("tag", "0010_states_in_words"),
        ("activity", "0006_states_in_words"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]
    operations = [migrations.RunPython(create_roles, migrations.RunPython.noop)]
