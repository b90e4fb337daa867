"""The members that a crowd has were put in by people: they become its part of that origin."""

from django.db import migrations


def put_into_parts(apps, schema_editor):
    CrowdPart, CrowdMember = apps.get_model("tag", "CrowdPart"), apps.get_model("tag", "CrowdMember")
    for tag in apps.get_model("tag", "CrowdTag").objects.all():
        part, _created = CrowdPart.objects.get_or_create(tag=tag, job=None, is_live=True)
        CrowdMember.objects.filter(tag=tag, part=None).update(part=part)


class Migration(migrations.Migration):
    dependencies = [("tag", "0003_crowd_jobs")]
    operations = [migrations.RunPython(put_into_parts, migrations.RunPython.noop)]
