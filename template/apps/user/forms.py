from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext as _
from rest_framework.parsers import FormParser
from rest_framework.request import Request

from apps.user.api.auth import LoginView


class AdminLoginForm(AdminAuthenticationForm):
    """The admin's login, whose tries count together with those of the API's."""

    def clean(self) -> dict[str, Any]:
        view = LoginView()
        request = Request(self.request or HttpRequest(), parsers=[FormParser()])
        if not all(throttle.allow_request(request, view) for throttle in view.get_throttles()):
            raise ValidationError(_("Too many attempts. Please try again later."), code="throttled")
        return super().clean()
