"""Daily sums (日汇总) and counts of what the console's first page shows."""

from django.db import models

from groupbuy.models import Channel


class SummedDay(models.Model):
    """A day whose rows are summed (日汇总). It is open while a team of its rows is forming.

    seen is the newest notification when it was summed: later ones may close orders of this day.
    """

    day = models.DateField(primary_key=True)
    is_open = models.BooleanField()
    seen = models.PositiveBigIntegerField()
    summed_at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.day)


class DailySum(models.Model):
    """One sum of a day's rows, see trade/figures/rows.py."""

    day = models.ForeignKey(SummedDay, on_delete=models.CASCADE, db_index=False)
    figure = models.CharField(max_length=16)
    bucket = models.CharField(max_length=48)
    count = models.PositiveBigIntegerField()
    amount = models.DecimalField(max_digits=16, decimal_places=2)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["day", "figure", "bucket"], name="daily_sum_once"),
        ]
        indexes = [models.Index(fields=["figure", "bucket"], name="daily_sum_by_bucket")]

    def __str__(self) -> str:
        return f"{self.day_id} {self.figure} {self.bucket}: {self.count}"


class RefusedLock(models.Model):
    """How many locks of a channel were refused with a code on a day (锁单被拒)."""

    day = models.DateField()
    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="+")
    code = models.CharField(max_length=8)
    count = models.PositiveBigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["day", "channel", "code"], name="refused_lock_once"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.channel_id} {self.code}: {self.count}"
