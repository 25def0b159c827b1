"""Every page of the admin site opens, including those of apps that are added later."""

import pytest
from django.contrib import admin
from django.db.models import DateField, Model
from django.forms import DateTimeField, SplitDateTimeField
from django.test import Client, RequestFactory
from django.urls import reverse
from pytest_django import Settings

from apps.user.models import User
from common.admin import SafeInputMixin, validate_in_every_time_zone

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
# Without the pages of packages.
OWN_MODELS = [model for model in MODELS if isinstance(admin.site._registry[model], SafeInputMixin)]

pytestmark = pytest.mark.django_db


def page(model: type[Model], name: str) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}")


def changelist(model: type[Model]) -> str:
    return page(model, "changelist")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_every_list_can_be_opened_and_searched(admin_client: Client, model: type[Model]) -> None:
    assert admin_client.get(page(model, "changelist"), {"q": "a"}).status_code == 200


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_every_form_can_be_opened(admin_client: Client, model: type[Model]) -> None:
    allowed = admin.site._registry[model].has_add_permission(
        admin_client.get("/admin/").wsgi_request
    )
    assert admin_client.get(page(model, "add")).status_code == (200 if allowed else 403)


def test_the_index_shows_the_name_of_the_service(admin_client: Client, settings: Settings) -> None:
    index = admin_client.get("/admin/")
    assert index.context["site_header"] == settings.SERVICE_NAME
    assert index.context["site_url"] is None


@pytest.mark.parametrize("object_id", ["٣" * 12, "²", "1_0", "9" * 5000, "x", "_00"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_an_odd_object_id_is_not_found(
    admin_client: Client, model: type[Model], object_id: str
) -> None:
    for view in ("change", "delete", "history"):
        response = admin_client.get(f"{changelist(model)}{object_id}/{view}/")
        assert response.status_code in {302, 403, 404}, view


# One test for all models, because a test without a transaction empties all tables at its end.
@pytest.mark.django_db(transaction=True)
def test_a_filter_that_the_database_refuses_leads_back_to_the_list(admin_client: Client) -> None:
    assert OWN_MODELS
    for model in OWN_MODELS:
        list_filter = admin.site._registry[model].list_filter
        names = [str(name) for name in list_filter if model._meta.get_field(str(name)).concrete]
        filters = {"pk__range": "1", **{f"{name}__range": "x" for name in names}}
        for name in names:
            if isinstance(model._meta.get_field(name), DateField):
                filters |= {f"{name}__year": "10000", f"{name}__year__gte": "9" * 30}
        for lookup, value in filters.items():
            response = admin_client.get(changelist(model), {lookup: value})
            refused = response.headers.get("Location", "").endswith("?e=1")
            assert refused, (model, lookup, value)


def test_every_form_refuses_dates_that_a_time_zone_pushes_out_of_range(rf: RequestFactory) -> None:
    request = rf.get("/")
    request.user = User(is_superuser=True, is_active=True)
    fields = [
        field
        for model, model_admin in admin.site._registry.items()
        for field in model_admin.get_form(request, model(pk=1), change=True)().fields.values()
        if isinstance(field, DateTimeField | SplitDateTimeField)
    ]
    assert fields
    assert all(validate_in_every_time_zone in field.validators for field in fields)


def test_the_api_accepts_no_date_with_a_time(client: Client) -> None:
    """A field with one needs the validator in common.admin."""
    schemas = client.get("/api/schema/", {"format": "json"}).json()["components"]["schemas"]
    taken = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        if name.endswith("Request")
        for field, type_ in schema.get("properties", {}).items()
        if type_.get("format") == "date-time"
    ]
    assert any(name.endswith("Request") for name in schemas)
    assert not taken
