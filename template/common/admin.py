"""Base classes for the admin."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, override

from django import forms
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views import main
from django.core.exceptions import ValidationError
from django.db import DataError, ProgrammingError, models
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

# Twice the largest offset of a time zone: the value is converted for storage and for display.
_MARGIN = timedelta(days=2)
_FIRST = datetime.min.replace(tzinfo=UTC) + _MARGIN
_LAST = datetime.max.replace(tzinfo=UTC) - _MARGIN


def validate_in_every_time_zone(value: datetime) -> None:
    """Refuse values that another time zone would move out of the years 1 to 9999.

    Some databases store them, but rows that contain them cannot be read.
    """
    if not _FIRST <= value.replace(tzinfo=UTC) <= _LAST:
        raise ValidationError(_("This date is out of range."))


class SplitDateTimeField(forms.SplitDateTimeField):
    default_validators = [validate_in_every_time_zone]


class ChangeList(main.ChangeList):
    @override
    def get_results(self, request: HttpRequest) -> None:
        """Handle filters that the database refuses like those that Django refuses."""
        try:
            super().get_results(request)
        except (ArithmeticError, LookupError, ValueError, DataError, ProgrammingError) as error:
            raise IncorrectLookupParameters(error) from error


class SafeInputMixin:
    """Refuse dates and filters that are valid for Django, but not for the database."""

    formfield_overrides: ClassVar[Mapping[type[models.Field[Any, Any]], Mapping[str, Any]]] = {
        models.DateTimeField: {"form_class": SplitDateTimeField}
    }

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ChangeList
