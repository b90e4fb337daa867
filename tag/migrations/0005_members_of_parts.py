import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tag', '0004_members_in_parts'),
    ]

    operations = [
        # MySQL: the foreign key goes before the index that serves it.
        migrations.AlterField(
            model_name='crowdmember',
            name='tag',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='members', to='tag.crowdtag', verbose_name='crowd tag'),
        ),
        migrations.RemoveConstraint(
            model_name='crowdmember',
            name='member_once',
        ),
        migrations.RemoveField(
            model_name='crowdmember',
            name='tag',
        ),
        migrations.AlterField(
            model_name='crowdmember',
            name='part',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='members', to='tag.crowdpart', verbose_name='part of a crowd'),
        ),
        migrations.AddConstraint(
            model_name='crowdmember',
            constraint=models.UniqueConstraint(fields=('part', 'user'), name='member_once'),
        ),
    ]
