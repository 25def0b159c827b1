from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class EventSyncConfig(AppConfig):
    name = "apps.event_sync"
    verbose_name = _("Event sync")
