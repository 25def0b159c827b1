from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class UserConfig(AppConfig):
    name = "apps.user"
    verbose_name = _("Users")

    def ready(self) -> None:
        from apps.user import emails, signals  # noqa: F401, PLC0415 - registered on import
