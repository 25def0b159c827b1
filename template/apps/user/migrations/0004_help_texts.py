from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("user", "0003_normalise_addresses")]

    operations = [
        migrations.AlterField(
            model_name="user",
            name="is_staff",
            field=models.BooleanField(
                default=False, help_text="Can log in to the admin site.", verbose_name="staff"
            ),
        ),
    ]
