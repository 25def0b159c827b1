"""What every HTTP request passes before a view: its body, its charset, its characters.

``RequestBodyMiddleware`` is WSGI middleware (PEP 3333): Django decodes the query string with the
charset of Content-Type before its own middleware runs. ``InvalidRequestMiddleware`` is Django's:
it answers for both, so that a refusal has a language, a request id and a line in the log.
"""

from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, JsonResponse, UnreadablePostError
from django.utils.http import parse_header_parameters
from rest_framework.exceptions import APIException, ParseError, UnsupportedMediaType

from common.drf.errors import PayloadTooLargeError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_REFUSAL = "common.drf.refusal"


class RequestBodyMiddleware:
    """Bound the body, read a chunked one, and refuse any charset but UTF-8 (RFC 8259, 8.1)."""

    def __init__(self, application: "WSGIApplication") -> None:
        self.application = application

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        try:
            _check_body(environ)
            _check_charset(environ)
        except _RefusalError as error:
            environ[_REFUSAL] = error.exception_class
        except OSError:
            environ[_REFUSAL] = ParseError
        if _REFUSAL in environ:
            environ |= {"CONTENT_TYPE": "", "CONTENT_LENGTH": "0", "wsgi.input": BytesIO()}
        return self.application(environ, start_response)


class _RefusalError(Exception):
    """Names the exception to respond with: one that exists already is in no request's language."""

    def __init__(self, exception_class: Callable[[], APIException]) -> None:
        self.exception_class = exception_class


class InvalidRequestMiddleware:
    """Refuse what no view should read, and log no error if a client goes away."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        refusal = request.META.pop(_REFUSAL, None)
        if refusal is None and _contains_nul(request):
            refusal = ParseError
        if refusal is not None:
            return _error_response(refusal())
        # Its case does not matter (RFC 9110, 11.1), but simplejwt compares it as it is.
        scheme, space, credentials = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() == "bearer":
            request.META["HTTP_AUTHORIZATION"] = f"Bearer{space}{credentials}"
        return self.get_response(request)

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        return _error_response(ParseError()) if isinstance(exception, UnreadablePostError) else None


class _Body:
    """A body of a known length. Servers return less of it if the client goes away."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.readline = stream.readline

    def read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        if len(data) < size:
            raise ConnectionResetError("The client disconnected before the end of the body.")
        return data


def _check_charset(environ: "WSGIEnvironment") -> None:
    content_type = environ.get("CONTENT_TYPE", "")
    try:
        _name, parameters = parse_header_parameters(content_type)
    except ValueError as error:
        raise _RefusalError(partial(UnsupportedMediaType, content_type)) from error
    if parameters.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
        # A server may reset a connection that it closes with a part of the body unread.
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        raise _RefusalError(partial(UnsupportedMediaType, content_type))


def _check_body(environ: "WSGIEnvironment") -> None:
    limit = settings.REQUEST_BODY_MAX_BYTES
    # Django takes a body without a length for empty. Its `runserver` does not decode chunks.
    if "HTTP_TRANSFER_ENCODING" in environ and (
        "asgi.scope" in environ or environ.get("wsgi.input_terminated")
    ):
        body = environ["wsgi.input"].read(limit + 1)
        environ |= {"CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body)}
    if int(environ.get("CONTENT_LENGTH") or 0) > limit:
        raise _RefusalError(PayloadTooLargeError)
    environ["wsgi.input"] = _Body(environ["wsgi.input"])


def _contains_nul(request: HttpRequest) -> bool:
    """A database may refuse every query that contains one."""
    values = [request.path_info, *request.COOKIES, *request.COOKIES.values()]
    return "%00" in request.META.get("QUERY_STRING", "") or any("\0" in value for value in values)


def _error_response(error: APIException) -> JsonResponse:
    body = {"detail": error.detail, "code": error.default_code}
    return JsonResponse(body, status=error.status_code)
