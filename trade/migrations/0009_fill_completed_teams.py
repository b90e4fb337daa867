from django.db import migrations
from django.db.models import Count, Sum


def fill(apps, schema_editor):
    """Count the teams that are complete; run it while no process serves requests."""
    Team = apps.get_model("trade", "Team")
    CompletedTeams = apps.get_model("trade", "CompletedTeams")
    complete = Team.objects.filter(status__in=(1, 3)).values("activity_id")
    sums = complete.annotate(teams=Count("pk"), seats=Sum("locked_count")).order_by()
    CompletedTeams.objects.bulk_create(CompletedTeams(shard=0, **each) for each in sums)


class Migration(migrations.Migration):
    dependencies = [("trade", "0008_completed_teams")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
