"""The WSGI application: ``gunicorn api_core.wsgi:application``."""

import os

from django.core.wsgi import get_wsgi_application

from api_core.env import exit_on_bad_variable

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "api_core.settings.prod")

with exit_on_bad_variable():
    application = get_wsgi_application()
