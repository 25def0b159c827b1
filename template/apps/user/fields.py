from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator
from django.db import models

from common.email_addresses import normalise_email


def validate_mailbox(value: str) -> None:
    """Reject an address that can never receive mail."""
    try:
        normalise_email(value)
    except ValueError as error:
        raise ValidationError(EmailValidator.message, code=EmailValidator.code) from error


class LowercaseEmailField[Set = str, Get = str](models.EmailField[Set, Get]):
    """An e-mail address, normalised when it is stored and when it is queried."""

    default_validators = [validate_mailbox]

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        if not isinstance(value, str):
            return value
        try:
            return normalise_email(value)
        except ValueError:
            # A row from before addresses were validated, or a query that matches nothing.
            return value.lower()

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:  # noqa: FBT001 - Django's own signature
        value = self.get_prep_value(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, value)
        return value
