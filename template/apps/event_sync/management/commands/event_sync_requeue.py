from argparse import ArgumentParser
from typing import Any, override

from django.core.management.base import BaseCommand, CommandError

from apps.event_sync.models import EventSync
from apps.event_sync.outgoing import outbox


class Command(BaseCommand):
    help = "Send events again, with all attempts."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "event_ids",
            nargs="*",
            type=int,
            help="Ids of events, including events that were already sent.",
        )
        parser.add_argument("--dead", action="store_true", help="All dead events.")

    @override
    def handle(self, *args: Any, event_ids: list[int], dead: bool, **options: Any) -> None:
        if dead == bool(event_ids):
            raise CommandError("Pass the ids of events, or --dead.")
        events = (
            EventSync.objects.filter(state=EventSync.State.DEAD, sent__isnull=True)
            if dead
            else EventSync.objects.filter(pk__in=event_ids)
        )
        count = outbox.requeue(events)
        self.stdout.write(f"{count} requeued")
