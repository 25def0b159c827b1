"""One log line for each request, and the same ``request_id`` in all lines of a request."""

import logging
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any, cast

from django.core.signals import got_request_exception
from django.dispatch import receiver
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.functional import LazyObject
from structlog import get_logger
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars

logger = get_logger(__name__)

# Levels by the first digit of the status code.
LEVELS = {4: logging.WARNING, 5: logging.ERROR}


class RequestLogMiddleware:
    """Log ``request_finished``, or ``request_failed`` with the exception if there was one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = str(uuid.uuid4())
        bind_contextvars(request_id=request_id)
        try:
            response = self.get_response(request)
            if not hasattr(request, "exception_logged"):
                level = LEVELS.get(response.status_code // 100, logging.INFO)
                logger.log(
                    level, "request_finished", code=response.status_code, **describe(request)
                )
        finally:
            clear_contextvars()
        if isinstance(response, StreamingHttpResponse) and not response.is_async:
            content = cast("Iterator[bytes]", response.streaming_content)
            response.streaming_content = log_interruption(content, request_id)
        return response


def describe(request: HttpRequest) -> dict[str, Any]:
    """Return the request, and the user's id if the user is already loaded.

    Loading it here would cost a query, and fail while the database is unavailable.
    """
    described: dict[str, Any] = {"request": f"{request.method} {request.get_full_path()}"}
    user = getattr(request, "user", None)
    if not isinstance(user, LazyObject) or hasattr(request, "_cached_user"):
        described["user_id"] = getattr(user, "pk", None)
    return described


@receiver(got_request_exception)
def log_exception(request: HttpRequest, **_kwargs: Any) -> None:
    """Log an unhandled exception once."""
    if not hasattr(request, "exception_logged"):
        request.exception_logged = True  # type: ignore[attr-defined]
        logger.error("request_failed", exc_info=sys.exception(), code=500, **describe(request))


def log_interruption(content: Iterator[bytes], request_id: str) -> Iterator[bytes]:
    """Log an exception that ends a streaming response, whose status has already been sent."""
    with bound_contextvars(request_id=request_id):
        try:
            yield from content
        except Exception:
            logger.exception("streaming_failed")
            raise
