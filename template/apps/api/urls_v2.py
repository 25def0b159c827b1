"""Version 2 of the API, under ``/api/v2/``: no endpoint yet."""

from django.urls import URLPattern, URLResolver

app_name = "v2"
urlpatterns: list[URLPattern | URLResolver] = []
