import uuid

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("user", "0004_help_texts")]

    operations = [
        # A new name in Python only: the column stays, so that processes of the previous release
        # keep running.
        migrations.AlterField(
            model_name="user",
            name="session_id",
            field=models.UUIDField(
                db_column="session_id", default=uuid.uuid4, editable=False, unique=True
            ),
        ),
        migrations.RenameField(model_name="user", old_name="session_id", new_name="security_stamp"),
        migrations.CreateModel(
            name="Session",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="created at"
                    ),
                ),
                (
                    "last_used_at",
                    models.DateTimeField(
                        help_text="The last login or refresh.", verbose_name="last used at"
                    ),
                ),
                ("expires_at", models.DateTimeField(verbose_name="expires at")),
                ("address", models.GenericIPAddressField(null=True, verbose_name="IP address")),
                ("user_agent", models.CharField(max_length=255, verbose_name="user agent")),
                (
                    "user",
                    models.ForeignKey(
                        db_column="security_stamp",
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="sessions",
                        to=settings.AUTH_USER_MODEL,
                        to_field="security_stamp",
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "session",
                "verbose_name_plural": "sessions",
                "ordering": ["-last_used_at"],
                "default_permissions": (),
            },
        ),
    ]
