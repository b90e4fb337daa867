from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('groupbuy', '0011_history_by_object'),
    ]

    operations = [
        migrations.AlterField(
            model_name='switch',
            name='key',
            field=models.CharField(choices=[('downgradeSwitch', 'downgradeSwitch: refuse every trial'), ('cutRange', 'cutRange: percentage of users admitted'), ('scBlacklist', 'scBlacklist: source+channel refused at settlement'), ('cacheSwitch', 'cacheSwitch: bypass every copy'), ('rateLimiterSwitch', 'rateLimiterSwitch: limit request rates'), ('indexUserLimit', 'indexUserLimit: index queries of a shopper at an address'), ('indexAddressLimit', 'indexAddressLimit: index queries of an address'), ('pageAddressLimit', 'pageAddressLimit: shopper pages of an address'), ('tradeUserLimit', 'tradeUserLimit: trials and locks of a shopper'), ('tradeChannelLimit', 'tradeChannelLimit: calls of a channel'), ('holdLimit', 'holdLimit: seats that a shopper may hold unpaid'), ('keepSessions', 'keepSessions: days that ended console sessions are kept'), ('keepNotifications', 'keepNotifications: days that delivered notifications are kept'), ('keepStoppedRuns', 'keepStoppedRuns: days that a stopped crowd run is kept'), ('keepLogEntries', "keepLogEntries: days that the console's history is kept"), ('keepSwitchChanges', 'keepSwitchChanges: days that changes of switches are kept')], max_length=32, primary_key=True, serialize=False, verbose_name='key'),
        ),
    ]
