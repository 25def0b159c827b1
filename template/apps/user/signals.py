"""Signal handlers that log logins and logouts in the admin site."""

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.dispatch import receiver
from structlog import get_logger

from apps.user.models import User

logger = get_logger(__name__)


@receiver(user_logged_in)
def log_login(sender: type[User], user: User, **kwargs: Any) -> None:
    logger.info("login", user=user.pk)


@receiver(user_logged_out)
def log_logout(sender: type[User], user: User | None, **kwargs: Any) -> None:
    if user is not None:
        logger.info("logout", user=user.pk)
