"""Every page of the admin opens, also those that an app adds tomorrow."""

import pytest
from django.contrib import admin
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)

pytestmark = pytest.mark.django_db


def page(model: type[Model], name: str) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_list_and_search(admin_client: Client, model: type[Model]) -> None:
    assert admin_client.get(page(model, "changelist"), {"q": "a"}).status_code == 200


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_add(admin_client: Client, model: type[Model]) -> None:
    allowed = admin.site._registry[model].has_add_permission(
        admin_client.get("/admin/").wsgi_request
    )
    assert admin_client.get(page(model, "add")).status_code == (200 if allowed else 403)


def test_the_index_bears_the_name_of_the_service(admin_client: Client, settings: Settings) -> None:
    index = admin_client.get("/admin/")
    assert index.context["site_header"] == settings.SERVICE_NAME
    assert index.context["site_url"] is None
