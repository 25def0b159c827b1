from typing import ClassVar

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class EventSync(models.Model):
    """An event for other services: its data, and the state of its delivery.

    The table is a transactional outbox: the row is written in the transaction of the change that it
    describes. Only ``apps.event_sync.outgoing.outbox`` changes its state.
    """

    class Command(models.TextChoices):
        PUT = "put", _("put")
        DELETE = "delete", _("delete")

    class State(models.TextChoices):
        PENDING = "pending", _("pending")
        SENDING = "sending", _("sending")
        SENT = "sent", _("sent")
        DEAD = "dead", _("dead")

    # Not sent yet. Dead events are not sent either, but they are not retried.
    WAITING: ClassVar[list[State]] = [State.PENDING, State.SENDING]

    apps = models.JSONField(_("applications"), encoder=DjangoJSONEncoder, default=dict)
    obj_type = models.CharField(_("object type"), max_length=200)
    obj_data = models.JSONField(_("object data"), encoder=DjangoJSONEncoder, default=dict)
    obj_cmd = models.CharField(_("command"), max_length=10, choices=Command.choices)
    obj_key = models.CharField(
        _("object"),
        max_length=255,
        help_text=_("Events of one object are sent in order if the queue is FIFO."),
    )

    created = models.DateTimeField(_("created at"), db_default=Now(), editable=False)
    sent = models.DateTimeField(_("sent at"), null=True, blank=True)
    received = models.DateTimeField(_("received at"), null=True, blank=True)
    processed = models.DateTimeField(_("processed at"), null=True, blank=True)
    log = models.TextField(_("log"), blank=True, default="")

    # Sending

    state = models.CharField(
        _("state"), max_length=10, choices=State.choices, default=State.PENDING
    )
    attempts = models.PositiveSmallIntegerField(
        _("attempts"), default=0, help_text=_("How often the queue refused the message.")
    )
    next_attempt_at = models.DateTimeField(
        _("next attempt at"),
        db_default=Now(),
        null=True,
        blank=True,
        help_text=_("While sending: when another relay may take over."),
    )
    # Only for FIFO queues. db_default: older releases insert rows without this column.
    blocked = models.BooleanField(
        _("blocked"),
        db_default=False,
        editable=False,
        help_text=_("Waits for an earlier event of the same object to be sent (FIFO)."),
    )
    # The fence: each claim writes a new value, and only its holder may change the row.
    lease = models.CharField(max_length=32, blank=True, default="", editable=False)
    message_id = models.CharField(_("message id"), max_length=100, blank=True, default="")
    last_error = models.TextField(_("last error"), blank=True, default="")

    # The trace of the request: https://www.w3.org/TR/trace-context/
    traceparent = models.CharField(
        max_length=55, blank=True, default="", db_default="", editable=False
    )

    # Confirmation

    # SHA-256 of the data that confirmed the event. Other data for it are a conflict.
    received_hash = models.CharField(max_length=64, blank=True, default="", editable=False)

    objects: ClassVar[models.Manager["EventSync"]] = models.Manager()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering = ("-pk",)
        indexes = (
            # The conditions compare with no value: with one, a database may use the index only for
            # queries that contain the same constant.
            #
            # Due events, in the order of the claims.
            models.Index(
                fields=["next_attempt_at", "id"],
                condition=models.Q(next_attempt_at__isnull=False),
                name="event_sync_next_attempt",
            ),
            # Unsent events, dead ones included: they hold back later events of their object.
            models.Index(
                fields=["obj_key", "id"],
                condition=models.Q(sent__isnull=True),
                name="event_sync_not_sent",
            ),
            # Events to prune.
            models.Index(fields=["sent"], condition=models.Q(state="sent"), name="event_sync_sent"),
        )

    def __str__(self) -> str:
        return f"{self.pk} {self.obj_cmd} {self.obj_type}"
