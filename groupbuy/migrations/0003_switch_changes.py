"""Who turned a switch becomes a text, because API keys turn switches too; and it is kept."""

import django.db.models.deletion
from django.db import migrations, models


def keep_who_changed(apps, schema_editor):
    Switch = apps.get_model("groupbuy", "Switch")
    SwitchChange = apps.get_model("groupbuy", "SwitchChange")
    for switch in Switch.objects.exclude(changed_by=None).select_related("changed_by"):
        username = switch.changed_by.get_username()
        change = SwitchChange.objects.create(switch=switch, after=switch.value, by=username)
        SwitchChange.objects.filter(pk=change.pk).update(at=switch.changed_at)


def name_who_changed(apps, schema_editor):
    Switch = apps.get_model("groupbuy", "Switch")
    for change in apps.get_model("groupbuy", "SwitchChange").objects.all():
        Switch.objects.filter(pk=change.switch_id).update(changed_by=change.by)
    Switch.objects.get_or_create(key="rateLimiterSwitch", defaults={"value": "open"})


class Migration(migrations.Migration):
    dependencies = [("groupbuy", "0002_every_switch_has_a_row")]
    operations = [
        migrations.AlterField(
            model_name="switch",
            name="key",
            field=models.CharField(
                choices=[
                    ("downgradeSwitch", "downgradeSwitch: refuse every trial"),
                    ("cutRange", "cutRange: per cent of users let in"),
                    ("scBlacklist", "scBlacklist: source+channel refused at settlement"),
                    ("cacheSwitch", "cacheSwitch: bypass every copy"),
                    ("rateLimiterSwitch", "rateLimiterSwitch: limit how often callers ask"),
                ],
                max_length=32,
                primary_key=True,
                serialize=False,
                verbose_name="key",
            ),
        ),
        migrations.CreateModel(
            name="SwitchChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("before", models.CharField(blank=True, max_length=1000, verbose_name="before")),
                ("after", models.CharField(blank=True, max_length=1000, verbose_name="after")),
                ("at", models.DateTimeField(auto_now_add=True, verbose_name="changed at")),
                ("by", models.CharField(max_length=150, verbose_name="changed by")),
                (
                    "switch",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="changes",
                        to="groupbuy.switch",
                        verbose_name="switch",
                    ),
                ),
            ],
            options={
                "verbose_name": "change of a switch",
                "verbose_name_plural": "changes of a switch",
            },
        ),
        migrations.RunPython(keep_who_changed, migrations.RunPython.noop),
        migrations.RemoveField(model_name="switch", name="changed_by"),
        migrations.AddField(
            model_name="switch",
            name="changed_by",
            field=models.CharField(
                blank=True,
                editable=False,
                help_text="user or API key",
                max_length=150,
                verbose_name="changed by",
            ),
        ),
        migrations.RunPython(name_who_changed, migrations.RunPython.noop),
    ]
