"""Declare an e-mail, and queue it::

    @email_kind(
        "reset_password",
        label=_("Reset the password"),
        placeholders={"first_name": "Ana", "reset_url": "https://example.com/reset/"},
        required={"reset_url"},
    )
    def reset_password(user_id: int) -> dict[str, str] | None: ...


    reset_password.queue(to=user.email, user_id=user.pk)

The function gets the queued arguments, and returns the values of the placeholders, or None if the
e-mail is not needed any more (the user was deleted). It runs when the e-mail is sent, so that no
token is stored, and its lifetime starts then.

The text is in ``templates/communication/email/<name>/<language>.html`` of the app.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from django.utils.functional import Promise

from apps.communication.kinds import EmailKind, Values, register_kind
from apps.communication.models import Email
from apps.communication.services import queue_email


@dataclass(frozen=True)
class QueueableEmail(EmailKind):
    def queue(self, *, to: str, language: str | None = None, **context: object) -> Email:
        """Send this e-mail after the current transaction commits. See ``queue_email``."""
        return queue_email(self.name, to=to, context=context, language=language)


def email_kind(
    name: str,
    *,
    label: str | Promise,
    placeholders: Mapping[str, str],
    required: Collection[str] = (),
    is_logged: bool = True,
) -> Callable[[Callable[..., Values | None]], QueueableEmail]:
    """Declare a kind of e-mail. The decorated function returns the values of its placeholders.

    With ``is_logged=False`` the e-mail and its address are deleted from the log once it is sent.
    """

    def declare(values: Callable[..., Values | None]) -> QueueableEmail:
        kind = QueueableEmail(name, label, placeholders, frozenset(required), values, is_logged)
        register_kind(kind)
        return kind

    return declare
