from django.db import migrations, models


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
    ]
