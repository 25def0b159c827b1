from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("communication", "0002_help_texts")]

    operations = [
        migrations.AddField(
            model_name="email",
            name="traceparent",
            field=models.CharField(
                blank=True, db_default="", default="", editable=False, max_length=55
            ),
        ),
    ]
