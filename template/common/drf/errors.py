"""Error responses: JSON with ``detail`` and ``code``, or with messages by field.

``detail`` is in the language of the client. ``code`` is for programs and does not change.
"""

from typing import Any, NoReturn

from django.core.exceptions import ObjectNotUpdated, RequestDataTooBig
from django.core.exceptions import ValidationError as DjangoValidationError
from django.http import Http404, HttpRequest, JsonResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from rest_framework import exceptions, status
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import ErrorDetail
from rest_framework.fields import get_error_detail
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.views import exception_handler as drf_exception_handler


class PayloadTooLargeError(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = gettext_lazy("The request body is too large.")
    default_code = "payload_too_large"


# Replace simplejwt's messages, by its codes.
TOKEN_MESSAGES: dict[str | None, Any] = {
    "token_not_valid": gettext_lazy("Token is invalid or has expired."),
    "user_not_found": gettext_lazy("Your session has ended. Log in again."),
}


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Handle DRF's exceptions, and those that Django raises in a view."""
    match exc:
        case DjangoValidationError():
            exc = exceptions.ValidationError(get_error_detail(exc))
        case RequestDataTooBig():
            exc = PayloadTooLargeError()
        case Http404() | ObjectNotUpdated():
            # Without Django's message, which names the model. ObjectNotUpdated: the row was deleted
            # while it was being changed.
            exc = exceptions.NotFound()
        case exceptions.Throttled():
            exc.detail = ErrorDetail(_too_many_requests(exc), exc.default_code)
    response = drf_exception_handler(exc, context)
    if response is not None:
        response.data = _error_body(response.data)
    return response


def _too_many_requests(exc: exceptions.Throttled) -> str:
    seconds = exc.wait or 1  # type: ignore[attr-defined]
    return ngettext(
        "Too many requests. Try again in %(seconds)d second.",
        "Too many requests. Try again in %(seconds)d seconds.",
        seconds,
    ) % {"seconds": seconds}


def _error_body(data: Any) -> dict[str, Any]:
    match data:
        case {"detail": ErrorDetail(code=code) as detail}:
            # simplejwt's code is beside its message.
            return {"detail": TOKEN_MESSAGES.get(data.get("code"), detail), "code": code}
        case [ErrorDetail(code=code), *_] if all(isinstance(each, str) for each in data):
            return {"detail": " ".join(data), "code": code}
        case []:
            return {"detail": exceptions.ValidationError.default_detail, "code": "invalid"}
    return dict(_messages_by_field(data))


def _messages_by_field(data: Any) -> Any:
    """Return messages by field, and for nested fields by field or list index."""
    match data:
        case str():
            return [data]
        case dict():
            return {str(field): _messages_by_field(value) for field, value in data.items()}
        case list() if any(not isinstance(each, str) for each in data):
            return {str(i): _messages_by_field(value) for i, value in enumerate(data) if value}
    return data


class ApiNotFoundView(APIView):
    """404 for unknown paths below ``/api/``, with and without ``DEBUG``."""

    authentication_classes: list[type[BaseAuthentication]] = []
    permission_classes = [AllowAny]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> NoReturn:
        hint = "" if request.path.endswith("/") else _(" Every path ends with a slash.")
        raise exceptions.NotFound(_("There is no such endpoint.") + hint)


def error_response(error: exceptions.APIException) -> JsonResponse:
    """Return the response that DRF's views give to this error."""
    body = {"detail": error.detail, "code": error.get_codes()}
    return JsonResponse(body, status=error.status_code)


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    return error_response(exceptions.ParseError(_("The request is invalid."), "bad_request"))


def permission_denied(request: HttpRequest, exception: Exception) -> JsonResponse:
    return error_response(exceptions.PermissionDenied())


def page_not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    return error_response(exceptions.NotFound())


def server_error(request: HttpRequest) -> JsonResponse:
    message = _("Something went wrong on our side. The error has been logged.")
    return error_response(exceptions.APIException(message, "server_error"))
