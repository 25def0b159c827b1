from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("event_sync", "0002_eventsync_blocked")]

    operations = [
        migrations.AddField(
            model_name="eventsync",
            name="traceparent",
            field=models.CharField(
                blank=True, db_default="", default="", editable=False, max_length=55
            ),
        ),
    ]
