"""Every channel gets a page secret of its own."""

from django.db import migrations

from groupbuy.models import new_page_secret


def give_secrets(apps, schema_editor):
    Channel = apps.get_model("groupbuy", "Channel")
    for channel in Channel.objects.filter(page_secret=""):
        channel.page_secret = new_page_secret()
        channel.save(update_fields=["page_secret"])


class Migration(migrations.Migration):
    dependencies = [("groupbuy", "0006_channel_page_secret")]
    operations = [migrations.RunPython(give_secrets, migrations.RunPython.noop)]
