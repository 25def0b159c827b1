from django.urls import path

from apps.event_sync.api.viewsets import EventSyncApiView

urlpatterns = [
    path("event-sync/", EventSyncApiView.as_view(), name="event-sync"),
]
