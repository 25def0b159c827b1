"""The least that Django can do: no middleware, no framework, one query without the ORM."""

from django.db import connection
from django.http import JsonResponse
from django.urls import path

from plain.settings import *  # noqa: F403

MIDDLEWARE = []
ROOT_URLCONF = "plain.limit"
FIELDS = (
    "id, email, email_confirmed_at, pending_email, first_name, last_name, phone, gender,"
    " date_of_birth, is_active, is_staff, is_superuser, last_login, date_joined"
)


def respond(data):
    response = JsonResponse(data)
    # Otherwise CommonMiddleware adds it.
    response.headers["Content-Length"] = len(response.content)
    return response


def health(_request):
    return respond({"status": "ok"})


def me(_request):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {FIELDS} FROM plain_user WHERE id = 1")  # noqa: S608
        user = dict(zip(FIELDS.split(", "), cursor.fetchone(), strict=True))
    return respond({"user": user})


urlpatterns = [path("api/v1/health/", health), path("api/v1/users/me/", me)]
