"""Version 2 of the API, under ``/api/v2/``: reserved, no endpoint yet."""

from django.urls import URLPattern, URLResolver

urlpatterns: list[URLPattern | URLResolver] = []
