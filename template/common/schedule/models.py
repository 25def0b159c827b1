from django.db import models


class Job(models.Model):
    """The last run of a command in ``settings.SCHEDULE``."""

    command = models.CharField(max_length=255, primary_key=True)
    started_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.command
