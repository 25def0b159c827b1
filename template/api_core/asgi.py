"""The ASGI application: ``uvicorn api_core.asgi:application``."""

import os

from django.core.asgi import get_asgi_application

from api_core.env import exit_on_bad_variable

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "api_core.settings.prod")

with exit_on_bad_variable():
    application = get_asgi_application()
