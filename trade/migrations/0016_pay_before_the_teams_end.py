"""No order's payment deadline is later than its team's end, a thousand orders at a time."""

from django.db import migrations
from django.db.models import F, OuterRef, Subquery

BATCH = 1000


def shorten(apps, schema_editor):
    Order, Team = (apps.get_model("trade", name) for name in ("Order", "Team"))
    end = Subquery(Team.objects.filter(pk=OuterRef("team_id")).values("expires_at"))
    last = 0
    while keys := list(
        Order.objects.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]
    ):
        late = Order.objects.filter(pk__in=keys, pay_deadline__gt=F("team__expires_at"))
        Order.objects.filter(pk__in=list(late.values_list("pk", flat=True))).update(pay_deadline=end)
        last = keys[-1]


class Migration(migrations.Migration):
    dependencies = [("trade", "0015_console_lists")]
    operations = [migrations.RunPython(shorten, migrations.RunPython.noop)]
