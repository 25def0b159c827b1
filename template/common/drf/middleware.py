"""Validate the body, the charset and the characters of each HTTP request.

``RequestBodyMiddleware`` is WSGI middleware (PEP 3333), because Django decodes the query string
with the charset of Content-Type before Django's middleware runs. ``InvalidRequestMiddleware`` is
Django middleware and responds for both, so that a refusal is translated and logged.
"""

from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, UnreadablePostError
from django.utils.http import parse_header_parameters
from rest_framework.exceptions import APIException, ParseError, UnsupportedMediaType

from common.drf.errors import PayloadTooLargeError, error_response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_REFUSAL = "common.drf.refusal"


class RequestBodyMiddleware:
    """Limit the body, read chunked bodies, and refuse charsets other than UTF-8 (RFC 8259, 8.1)."""

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
    """Contains the class of the exception, which is created when the language is known."""

    def __init__(self, exception_class: Callable[[], APIException]) -> None:
        self.exception_class = exception_class


class InvalidRequestMiddleware:
    """Respond to invalid requests, and log no error if a client disconnects."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        refusal = request.META.pop(_REFUSAL, None)
        if refusal is None and _contains_nul(request):
            refusal = ParseError
        if refusal is not None:
            return error_response(refusal())
        # The scheme is case-insensitive (RFC 9110, 11.1), but simplejwt compares case.
        scheme, space, credentials = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() == "bearer":
            request.META["HTTP_AUTHORIZATION"] = f"Bearer{space}{credentials}"
        return self.get_response(request)

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        return error_response(ParseError()) if isinstance(exception, UnreadablePostError) else None


class _Body:
    """A body of known length. Servers return less of it if the client disconnects."""

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
        # A server may reset the connection if the body is not read to its end.
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        raise _RefusalError(partial(UnsupportedMediaType, content_type))


def _check_body(environ: "WSGIEnvironment") -> None:
    limit = settings.REQUEST_BODY_MAX_BYTES
    # For Django, a body without a length is empty. Its `runserver` does not decode chunks.
    if "HTTP_TRANSFER_ENCODING" in environ and environ.get("wsgi.input_terminated"):
        body = environ["wsgi.input"].read(limit + 1)
        environ |= {"CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body)}
    if int(environ.get("CONTENT_LENGTH") or 0) > limit:
        raise _RefusalError(PayloadTooLargeError)
    environ["wsgi.input"] = _Body(environ["wsgi.input"])


def _contains_nul(request: HttpRequest) -> bool:
    """Return whether a NUL is in the path, the query string or a cookie. Databases refuse it."""
    values = [request.path_info, *request.COOKIES, *request.COOKIES.values()]
    return "%00" in request.META.get("QUERY_STRING", "") or any("\0" in value for value in values)
