"""Pages that e-mails link to, for services whose front end does not provide them.

They only call the API from the browser. A front end replaces them by serving the same paths
under ``URL_BASE``. The token comes after ``#``, which browsers never send to a server.
"""

from django.urls import path
from django.views.generic import TemplateView

urlpatterns = [
    path(
        f"{page}/",
        TemplateView.as_view(template_name=f"user/{page}.html"),
        name=f"page-{page}",
    )
    for page in (
        "confirm_email",
        "confirm_new_email",
        "cancel_new_email",
        "reset_password",
        "forgot_password",
    )
]
