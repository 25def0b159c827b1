from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Job",
            fields=[
                ("command", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("started_at", models.DateTimeField(null=True)),
            ],
            options={"default_permissions": ()},
        ),
    ]
