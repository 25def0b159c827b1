from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.generic import TemplateView


class HomeView(TemplateView):
    """``/``: links for developers. In production, a redirect to ``HOME_URL``, or 404."""

    template_name = "api/home.html"
    extra_context = {"service_name": settings.SERVICE_NAME}

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if settings.HOME_URL:
            return redirect(settings.HOME_URL)
        if not settings.DEBUG:
            raise Http404
        return super().get(request, *args, **kwargs)
