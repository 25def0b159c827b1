"""What the API leaves to a worker, so that its answers take as long for every address."""

from django.tasks import task
from django.utils import translation

from apps.user import services


@task
def forgot_password(email: str, language: str) -> None:
    with translation.override(language):
        services.forgot_password(email=email)


@task
def resend_confirmation(email: str, language: str) -> None:
    with translation.override(language):
        services.resend_confirmation(email=email)
