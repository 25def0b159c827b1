import django.core.serializers.json
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="EventSync",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "apps",
                    models.JSONField(
                        default=dict,
                        encoder=django.core.serializers.json.DjangoJSONEncoder,
                        verbose_name="applications",
                    ),
                ),
                ("obj_type", models.CharField(max_length=200, verbose_name="object type")),
                (
                    "obj_data",
                    models.JSONField(
                        default=dict,
                        encoder=django.core.serializers.json.DjangoJSONEncoder,
                        verbose_name="object data",
                    ),
                ),
                (
                    "obj_cmd",
                    models.CharField(
                        choices=[("put", "put"), ("delete", "delete")],
                        max_length=10,
                        verbose_name="command",
                    ),
                ),
                (
                    "obj_key",
                    models.CharField(
                        help_text="Events of one object leave in their order where the queue keeps one (FIFO).",
                        max_length=255,
                        verbose_name="object",
                    ),
                ),
                (
                    "created",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="created at",
                    ),
                ),
                ("sent", models.DateTimeField(blank=True, null=True, verbose_name="sent at")),
                (
                    "received",
                    models.DateTimeField(blank=True, null=True, verbose_name="received at"),
                ),
                (
                    "processed",
                    models.DateTimeField(blank=True, null=True, verbose_name="processed at"),
                ),
                ("log", models.TextField(blank=True, default="", verbose_name="log")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "pending"),
                            ("sending", "sending"),
                            ("sent", "sent"),
                            ("dead", "dead"),
                        ],
                        default="pending",
                        max_length=10,
                        verbose_name="state",
                    ),
                ),
                (
                    "attempts",
                    models.PositiveSmallIntegerField(
                        default=0,
                        help_text="How often the queue refused the message.",
                        verbose_name="attempts",
                    ),
                ),
                (
                    "next_attempt_at",
                    models.DateTimeField(
                        blank=True,
                        db_default=django.db.models.functions.datetime.Now(),
                        help_text="While it is being sent: when another relay may take it over.",
                        null=True,
                        verbose_name="next attempt at",
                    ),
                ),
                ("lease", models.CharField(blank=True, default="", editable=False, max_length=32)),
                (
                    "message_id",
                    models.CharField(
                        blank=True, default="", max_length=100, verbose_name="message id"
                    ),
                ),
                ("last_error", models.TextField(blank=True, default="", verbose_name="last error")),
                (
                    "received_hash",
                    models.CharField(blank=True, default="", editable=False, max_length=64),
                ),
            ],
            options={
                "verbose_name": "event",
                "verbose_name_plural": "events",
                "ordering": ("-pk",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("state__in", ["pending", "sending"])),
                        fields=["next_attempt_at", "id"],
                        name="event_sync_due",
                    ),
                    models.Index(
                        condition=models.Q(("state__in", ["pending", "sending", "dead"])),
                        fields=["obj_key", "id"],
                        name="event_sync_unsent",
                    ),
                    models.Index(
                        condition=models.Q(("state", "sent")),
                        fields=["sent"],
                        name="event_sync_sent",
                    ),
                ],
            },
        ),
    ]
