from typing import Any, override

from django.core.management.base import BaseCommand

from apps.user.models import Session


class Command(BaseCommand):
    help = "Delete sessions of the API that have ended or expired."

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        count, _by_model = Session.objects.ended().delete()
        self.stdout.write(f"{count} deleted")
