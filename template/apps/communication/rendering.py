"""Render an e-mail: subject, HTML and plain text."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from django.conf import settings
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _
from structlog import get_logger

from apps.communication import texts
from apps.communication.kinds import EmailKind
from apps.communication.languages import fallback_languages
from apps.communication.models import EmailTemplate
from apps.communication.plain_text import html_to_text
from apps.communication.texts import Text
from common.html import sanitise_html

logger = get_logger(__name__)


class RenderedEmail(NamedTuple):
    subject: str
    html: str
    text: str


def render_email(kind: EmailKind, language: str, values: Mapping[str, object]) -> RenderedEmail:
    """Render the text of a kind in this language, or in a fallback language."""
    for candidate in fallback_languages(language):
        text = _override(kind, candidate) or texts.shipped_text(kind, candidate)
        if text is not None:
            return render_text(text, candidate, values)
    raise LookupError(f"There is no text for the e-mail kind {kind.name!r}.")


def render_text(text: Text, language: str, values: Mapping[str, object]) -> RenderedEmail:
    """Render a text."""
    subject = texts.fill_subject(text.subject, values)
    content = texts.fill_html(text.html, values)
    with translation.override(language):
        footer = _("This message was sent automatically by %(host)s. Please do not reply.")
        footer %= {"host": urlsplit(settings.URL_BASE).netloc}
        html = render_to_string(
            "communication/email/layout.html",
            {
                "service_name": settings.SERVICE_NAME,
                "subject": subject,
                "content": mark_safe(content),  # noqa: S308 - sanitised by fill_html
                "footer": footer,
            },
        )
    plain = f"{settings.SERVICE_NAME}\n\n{html_to_text(content)}\n-- \n{footer}\n"
    return RenderedEmail(subject, html, plain)


def _override(kind: EmailKind, language: str) -> Text | None:
    template = EmailTemplate.objects.filter(
        kind=kind.name, language=language, is_active=True
    ).first()
    if template is None:
        return None
    html = sanitise_html(template.html)
    if errors := texts.find_errors(kind, template.subject, html):
        # The kind or the rules have changed since it was saved. The built-in text is sent instead.
        logger.error("email_template_unusable", template=str(template), fields=list(errors))
        return None
    return Text(template.subject, html)
