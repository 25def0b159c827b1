from argparse import ArgumentParser
from typing import Any, override

from django.core.management.base import BaseCommand, CommandError

from apps.event_sync import outbox
from apps.event_sync.models import EventSync
from apps.event_sync.wakeup import wake_relays


class Command(BaseCommand):
    help = "Send events again, with all attempts: the dead ones, or those named."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("event_ids", nargs="*", type=int, help="Also such as were sent.")
        parser.add_argument("--dead", action="store_true", help="All that are dead.")

    @override
    def handle(self, *args: Any, event_ids: list[int], dead: bool, **options: Any) -> None:
        if dead == bool(event_ids):
            raise CommandError("Name the events by their ids, or all the dead ones: --dead")
        events = (
            EventSync.objects.filter(state=EventSync.State.DEAD, sent__isnull=True)
            if dead
            else EventSync.objects.filter(pk__in=event_ids)
        )
        count = outbox.requeue(events)
        wake_relays()
        self.stdout.write(f"{count} to be sent again")
