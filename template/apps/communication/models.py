from datetime import datetime
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.communication import texts
from apps.communication.kinds import UnknownEmailKindError, get_kind, kind_choices
from apps.communication.languages import language_choices
from common.html import sanitise_html


class EmailQuerySet(models.QuerySet["Email"]):
    def due(self, at: datetime) -> "EmailQuerySet":
        """Return e-mails to be sent by then, including those of killed workers."""
        return self.filter(state__in=Email.WAITING, next_attempt_at__lte=at)


class Email(models.Model):
    """An e-mail to one address: an entry of the delivery log.

    It contains the arguments of its kind (``context``) and not its text, which may contain a token.
    """

    class State(models.TextChoices):
        QUEUED = "queued", _("queued")
        SENDING = "sending", _("sending")
        SENT = "sent", _("sent")
        FAILED = "failed", _("failed")
        SKIPPED = "skipped", _("skipped")

    WAITING: ClassVar[list[State]] = [State.QUEUED, State.SENDING]

    kind = models.CharField(_("kind"), max_length=100, choices=kind_choices)
    to = models.EmailField(_("to"))
    language = models.CharField(_("language"), max_length=10, choices=language_choices)
    context = models.JSONField(_("context"), default=dict)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.QUEUED)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    next_attempt_at = models.DateTimeField(
        _("next attempt at"),
        null=True,
        default=timezone.now,
        help_text=_("While sending: when another worker may take over."),
    )
    last_error = models.TextField(_("last error"), blank=True)
    subject = models.CharField(_("subject"), max_length=255, blank=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    sent_at = models.DateTimeField(_("sent at"), null=True)
    # The trace of the request: https://www.w3.org/TR/trace-context/
    traceparent = models.CharField(
        max_length=55, blank=True, default="", db_default="", editable=False
    )

    objects: ClassVar[models.Manager["Email"]] = EmailQuerySet.as_manager()

    class Meta:
        verbose_name = _("e-mail")
        verbose_name_plural = _("e-mails")
        ordering = ("-pk",)
        indexes = (
            models.Index(
                fields=["next_attempt_at"],
                condition=models.Q(state__in=["queued", "sending"]),
                name="email_due",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} → {self.to}"


class EmailTemplate(models.Model):
    """An administrator's text for a kind of e-mail. It replaces the built-in one."""

    kind = models.CharField(_("kind"), max_length=100, choices=kind_choices)
    language = models.CharField(_("language"), max_length=10, choices=language_choices)
    subject = models.CharField(_("subject"), max_length=200)
    html = models.TextField(_("text"))
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("If inactive, the built-in text is sent.")
    )
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    class Meta:
        verbose_name = _("e-mail template")
        verbose_name_plural = _("e-mail templates")
        ordering = ("kind", "language")
        constraints = (
            models.UniqueConstraint(
                fields=["kind", "language"],
                name="one_template_per_kind_and_language",
                violation_error_message=_("There is already a template for this language."),
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} ({self.language})"

    def save(self, **kwargs: Any) -> None:
        self.html = sanitise_html(self.html)
        super().save(**kwargs)

    def clean(self) -> None:
        """Reject a text that cannot be sent, with a message for each field."""
        self.html = sanitise_html(self.html)
        try:
            kind = get_kind(self.kind)
        except UnknownEmailKindError:
            return  # The field has an error already.
        errors = texts.find_errors(kind, self.subject, self.html)
        if errors:
            raise ValidationError(errors)
