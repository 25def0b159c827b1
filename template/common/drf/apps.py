from django.apps import AppConfig


class DRFConfig(AppConfig):
    """Contains the table of the rate limits. The label of the app is ``drf``."""

    name = "common.drf"
    verbose_name = "Django REST framework"

    def ready(self) -> None:
        from common.drf import checks  # noqa: F401, PLC0415 - registered on import
