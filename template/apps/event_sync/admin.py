from typing import override

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from apps.event_sync.models import EventSync
from apps.event_sync.outgoing import outbox
from common.admin import SafeInputMixin


@admin.register(EventSync)
class EventSyncAdmin(SafeInputMixin, admin.ModelAdmin[EventSync]):
    """The outbox and its history. Read-only, except for sending events again."""

    list_display = (
        "id",
        "created",
        "state",
        "obj_type",
        "obj_cmd",
        "attempts",
        "error",
        "sent",
        "received",
        "processed",
    )
    list_display_links = ("id", "created")
    list_filter = ("state", "obj_type", "obj_cmd", "created", "received", "processed")
    search_fields = ("=id", "obj_key", "=message_id")
    show_full_result_count = False
    actions = ("send_again",)
    fieldsets = (
        (None, {"fields": ("apps", "obj_type", "obj_data", "obj_cmd", "obj_key", "log")}),
        (_("Cycle"), {"fields": ("created", "sent", "received", "processed")}),
        (
            _("Sending"),
            {
                "fields": (
                    "state",
                    "blocked",
                    "attempts",
                    "next_attempt_at",
                    "message_id",
                    "last_error",
                )
            },
        ),
    )

    @admin.display(description=_("last error"))
    def error(self, event: EventSync) -> str:
        return Truncator(event.last_error).chars(80)

    @admin.action(description=_("Send again"), permissions=["send_again"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[EventSync]) -> None:
        count = outbox.requeue(queryset)
        message = ngettext(
            "%(count)d event will be sent again.", "%(count)d events will be sent again.", count
        )
        self.message_user(request, message % {"count": count}, messages.SUCCESS)

    @override
    def delete_model(self, request: HttpRequest, obj: EventSync) -> None:
        super().delete_model(request, obj)
        outbox.unblock_all()

    @override
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[EventSync]) -> None:
        super().delete_queryset(request, queryset)
        outbox.unblock_all()

    def has_send_again_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("event_sync.change_eventsync")

    @override
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @override
    def has_change_permission(self, request: HttpRequest, obj: EventSync | None = None) -> bool:
        return False
