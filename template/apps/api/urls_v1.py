"""Version 1 of the API, under ``/api/v1/``."""

from django.urls import include, path

from apps.api.health import HealthView, ReadinessView

urlpatterns = [
    path("health/", HealthView.as_view(), name="health"),
    path("health/ready/", ReadinessView.as_view(), name="health-ready"),
    path("", include("apps.user.api.urls")),
    path("", include("apps.event_sync.api.urls")),
]
