from typing import Any

from django.db import migrations

from common.email_addresses import normalise_email


def normalise_addresses(apps: Any, schema_editor: Any) -> None:
    """Store domains as IDNA 2008 A-labels. Addresses that can never receive mail are not changed."""
    users = apps.get_model("user", "User").objects.using(schema_editor.connection.alias)
    for pk, email in users.values_list("pk", "email").iterator():
        try:
            normalised = normalise_email(email)
        except ValueError:
            continue
        if normalised == email:
            continue
        twin = users.filter(email=normalised).first()
        if twin:
            print(f"\n  Users {pk} and {twin.pk} have the same mailbox: delete one.", end="")  # noqa: T201
        else:
            users.filter(pk=pk).update(email=normalised)


def drop_waiting_changes(apps: Any, schema_editor: Any) -> None:
    """They were requested without the password, and their links no longer work."""
    users = apps.get_model("user", "User").objects.using(schema_editor.connection.alias)
    users.exclude(pending_email=None).update(pending_email=None)


def forget_addresses_in_tasks(apps: Any, schema_editor: Any) -> None:
    """These tasks had the address as an argument. No code runs them any more."""
    results = apps.get_model("django_tasks_database", "DBTaskResult")
    results.objects.using(schema_editor.connection.alias).filter(
        task_path__in=["apps.user.tasks.forgot_password", "apps.user.tasks.resend_confirmation"]
    ).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("user", "0002_older_hasher_index"),
        ("django_tasks_database", "0001_initial"),
    ]

    operations = [
        migrations.RunPython(operation, migrations.RunPython.noop)
        for operation in (normalise_addresses, drop_waiting_changes, forget_addresses_in_tasks)
    ]
