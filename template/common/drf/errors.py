"""Every error is a JSON object: ``{"detail", "code"}``, or the messages of each refused field.

``detail`` is for people and comes in their language; ``code`` is for programs and does not change.
"""

from typing import Any, NoReturn

from django.core.exceptions import ObjectNotUpdated, RequestDataTooBig
from django.core.exceptions import ValidationError as DjangoValidationError
from django.http import Http404, HttpRequest, HttpResponseBase, JsonResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from rest_framework import exceptions, status
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import ErrorDetail
from rest_framework.fields import get_error_detail
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.views import exception_handler as drf_exception_handler


class PayloadTooLargeError(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = gettext_lazy("The request body is too large.")
    default_code = "payload_too_large"


# Messages in place of simplejwt's, by its codes.
PLAIN_MESSAGES: dict[str | None, Any] = {
    "token_not_valid": gettext_lazy("Token is invalid or has expired."),
    "user_not_found": gettext_lazy("Your session has ended. Log in again."),
}


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Answer what DRF answers, and as well for what Django raises below a view."""
    match exc:
        case DjangoValidationError():
            exc = exceptions.ValidationError(get_error_detail(exc))
        case RequestDataTooBig():
            exc = PayloadTooLargeError()
        case Http404() | ObjectNotUpdated():
            # Django's own text names the model, in English; the other is a row that somebody
            # deleted while it was being changed.
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
            # simplejwt has a code of its own beside the message.
            return {"detail": PLAIN_MESSAGES.get(data.get("code", code), detail), "code": code}
        case [ErrorDetail(code=code), *_] if all(isinstance(each, str) for each in data):
            return {"detail": " ".join(data), "code": code}
        case []:
            return {"detail": exceptions.ValidationError.default_detail, "code": "invalid"}
    return dict(_messages_by_field(data))


def _messages_by_field(data: Any) -> Any:
    """Return the messages of each refused field, and of nested ones by field or by index."""
    match data:
        case str():
            return [data]
        case dict():
            return {str(field): _messages_by_field(value) for field, value in data.items()}
        case list() if any(not isinstance(each, str) for each in data):
            return {str(i): _messages_by_field(value) for i, value in enumerate(data) if value}
    return data


class ApiNotFoundView(APIView):
    """The answer below ``/api/`` where there is no endpoint, the same with ``DEBUG`` on and off."""

    authentication_classes: list[type[BaseAuthentication]] = []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> NoReturn:
        hint = "" if request.path.endswith("/") else _(" Every path ends with a slash.")
        raise exceptions.NotFound(_("There is no such endpoint.") + hint)


def _error(detail: str, code: str, status_code: int) -> JsonResponse:
    return JsonResponse({"detail": detail, "code": code}, status=status_code)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    return _error(_("The request is not valid."), "bad_request", status.HTTP_400_BAD_REQUEST)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    return _error(
        _("You do not have permission to perform this action."),
        "permission_denied",
        status.HTTP_403_FORBIDDEN,
    )


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    return _error(_("Not found."), "not_found", status.HTTP_404_NOT_FOUND)


def server_error(request: HttpRequest) -> HttpResponseBase:
    return _error(
        _("Something went wrong on our side. The error has been logged."),
        "server_error",
        status.HTTP_500_INTERNAL_SERVER_ERROR,
    )
