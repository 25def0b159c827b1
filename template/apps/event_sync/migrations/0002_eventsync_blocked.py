import django.db.models.functions.datetime
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps


def forget_sent(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Mark events that are to be sent again as not sent: the index of unsent events has them."""
    events = apps.get_model("event_sync", "EventSync").objects.using(schema_editor.connection.alias)
    again = events.filter(state__in=["pending", "sending", "dead"], sent__isnull=False)
    again.update(sent=None)


class Migration(migrations.Migration):
    dependencies = [("event_sync", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="eventsync",
            name="blocked",
            field=models.BooleanField(
                db_default=False,
                editable=False,
                help_text="Waits for an earlier event of the same object to be sent (FIFO).",
                verbose_name="blocked",
            ),
        ),
        migrations.RunPython(forget_sent, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name="eventsync",
            index=models.Index(
                condition=models.Q(("next_attempt_at__isnull", False)),
                fields=["next_attempt_at", "id"],
                name="event_sync_next_attempt",
            ),
        ),
        migrations.AddIndex(
            model_name="eventsync",
            index=models.Index(
                condition=models.Q(("sent__isnull", True)),
                fields=["obj_key", "id"],
                name="event_sync_not_sent",
            ),
        ),
        migrations.RemoveIndex(model_name="eventsync", name="event_sync_due"),
        migrations.RemoveIndex(model_name="eventsync", name="event_sync_unsent"),
        migrations.AlterField(
            model_name="eventsync",
            name="next_attempt_at",
            field=models.DateTimeField(
                blank=True,
                db_default=django.db.models.functions.datetime.Now(),
                help_text="While sending: when another relay may take over.",
                null=True,
                verbose_name="next attempt at",
            ),
        ),
        migrations.AlterField(
            model_name="eventsync",
            name="obj_key",
            field=models.CharField(
                help_text="Events of one object are sent in order if the queue is FIFO.",
                max_length=255,
                verbose_name="object",
            ),
        ),
    ]
