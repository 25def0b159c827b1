import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("communication", "0001_initial")]

    operations = [
        migrations.AlterField(
            model_name="email",
            name="next_attempt_at",
            field=models.DateTimeField(
                default=django.utils.timezone.now,
                help_text="While sending: when another worker may take over.",
                null=True,
                verbose_name="next attempt at",
            ),
        ),
        migrations.AlterField(
            model_name="emailtemplate",
            name="is_active",
            field=models.BooleanField(
                default=True,
                help_text="If inactive, the built-in text is sent.",
                verbose_name="active",
            ),
        ),
    ]
