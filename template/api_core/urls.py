"""The root URLs. Those of the API are in ``apps.api.urls_v1``."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path, re_path

from apps.api.home import HomeView
from common.drf.errors import ApiNotFoundView
from common.drf.schema import SchemaView, SwaggerView

admin.site.site_header = admin.site.site_title = settings.SERVICE_NAME
# No "View site" link: production has no page at the root.
admin.site.site_url = None

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/", include("apps.api.urls_v1")),
    path("api/v2/", include("apps.api.urls_v2")),
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", SwaggerView.as_view(url_name="schema"), name="docs"),
    re_path(r"^api/", ApiNotFoundView.as_view()),
    path("", HomeView.as_view(), name="home"),
    path("", include("apps.user.pages")),
]

handler400 = "common.drf.errors.bad_request"
handler403 = "common.drf.errors.permission_denied"
handler404 = "common.drf.errors.page_not_found"
handler500 = "common.drf.errors.server_error"
