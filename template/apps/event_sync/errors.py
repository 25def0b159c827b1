"""Errors of a confirmation. Each is a response of the API."""

from django.utils.translation import gettext_lazy as _
from rest_framework import status
from rest_framework.exceptions import APIException, NotFound, ValidationError


class UnknownObjTypeError(ValidationError):
    """There is no handler for this type. A later release may have one, so it can be sent again."""

    def __init__(self) -> None:
        message = _("This service does not process confirmations of this type.")
        super().__init__({"obj_type": [message]}, "unknown_obj_type")


class UnknownEventError(NotFound):
    default_detail = _("There is no event with this event_id.")
    default_code = "unknown_event"


class EventMismatchError(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_detail = _("The event with this event_id has another obj_type or obj_cmd.")
    default_code = "event_mismatch"


class PayloadConflictError(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_detail = _("This event has already been confirmed with other data.")
    default_code = "payload_conflict"


class HandlerFailedError(APIException):
    """The handler failed, and its writes were rolled back. The sender should try again."""

    status_code = status.HTTP_500_INTERNAL_SERVER_ERROR
    default_detail = _("The confirmation could not be processed. Send it again later.")
    default_code = "handler_failed"
