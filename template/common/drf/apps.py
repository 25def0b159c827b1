from django.apps import AppConfig


class DRFConfig(AppConfig):
    """An app for the table of the rate limits, and for its label: ``drf``."""

    name = "common.drf"
    verbose_name = "Django REST framework"
