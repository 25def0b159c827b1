"""The WSGI application, which serves HTTP under every server: ``gunicorn api_core.wsgi``."""

import os

from django.core.wsgi import get_wsgi_application

from api_core.env import exit_on_bad_variable

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "api_core.settings.prod")

with exit_on_bad_variable():
    django_application = get_wsgi_application()

# It uses settings: it can be imported once Django is set up.
from common.drf.middleware import RequestBodyMiddleware

application = RequestBodyMiddleware(django_application)
