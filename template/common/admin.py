"""What every ``ModelAdmin`` of this service shares."""

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

# Twice what a time zone can add or take away: once for storing, once for showing.
_MARGIN = timedelta(days=2)
_FIRST = datetime.min.replace(tzinfo=UTC) + _MARGIN
_LAST = datetime.max.replace(tzinfo=UTC) - _MARGIN


def validate_in_every_time_zone(value: datetime) -> None:
    """Refuse what a conversion to another time zone would push out of the years 1 to 9999.

    A database may store it, and every later attempt to read the row would fail.
    """
    if not _FIRST <= value.replace(tzinfo=UTC) <= _LAST:
        raise ValidationError(_("This date is out of range."), code="out_of_range")


class SplitDateTimeField(forms.SplitDateTimeField):
    default_validators = [validate_in_every_time_zone]


class ChangeList(main.ChangeList):
    @override
    def get_results(self, request: HttpRequest) -> None:
        """Respond to a filter that the database refuses as to one that Django refuses."""
        try:
            super().get_results(request)
        except (ArithmeticError, LookupError, ValueError, DataError, ProgrammingError) as error:
            raise IncorrectLookupParameters(error) from error


class SafeInputMixin:
    """Refuses dates and filters that Django lets through and the database does not."""

    formfield_overrides: ClassVar[Mapping[type[models.Field[Any, Any]], Mapping[str, Any]]] = {
        models.DateTimeField: {"form_class": SplitDateTimeField}
    }

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ChangeList
