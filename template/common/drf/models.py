from django.db import models


class Counter(models.Model):
    """The attempts in the current window of a rate limit: see ``common.drf.throttling``."""

    key = models.CharField(max_length=255, primary_key=True)
    count = models.PositiveIntegerField()
    expires_at = models.FloatField(db_index=True)
    """Unix time, in seconds."""

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.key
