from collections.abc import Iterable
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
        """Return what is to be sent by then, and what a worker that died was sending."""
        return self.filter(state__in=Email.WAITING, next_attempt_at__lte=at)


class Email(models.Model):
    """One e-mail to one address: the queue until it is sent, the delivery log from then on.

    It holds no text, for the text holds tokens: ``context`` is what the text is made of.
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
    """The text of a kind of e-mail as an administrator wrote it, in place of the shipped one."""

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

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        self.html = sanitise_html(self.html)
        super().save(*args, update_fields=update_fields, **kwargs)

    def clean(self) -> None:
        """Refuse a text that could not be sent, and name what is wrong with it."""
        self.html = sanitise_html(self.html)
        try:
            kind = get_kind(self.kind)
        except UnknownEmailKindError:
            return  # The field says so already.
        errors = texts.find_errors(kind, self.subject, self.html)
        if errors:
            raise ValidationError(errors)
