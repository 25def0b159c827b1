from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("user", "0001_initial"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="user",
            index=models.Index(
                condition=models.Q(("password__startswith", "argon2$"), _negated=True),
                fields=["password"],
                name="user_older_hasher",
            ),
        ),
    ]
