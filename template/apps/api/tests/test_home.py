import re

import pytest
from django.test import Client
from pytest_django import Settings


@pytest.mark.django_db
def test_the_page_of_development_links_to_pages_that_exist(
    client: Client, admin_client: Client, settings: Settings
) -> None:
    settings.DEBUG = True
    page = client.get("/").content.decode()
    links = re.findall(r'<a href="([^"]+)"', page)
    assert links == [
        "/api/docs/",
        "/admin/",
        "/admin/communication/email/",
        "/api/v1/health/ready/",
    ]
    assert [admin_client.get(link).status_code for link in links] == [200] * len(links)


def test_production_has_no_page_at_the_root(client: Client) -> None:
    assert client.get("/").status_code == 404


def test_the_root_redirects_to_the_home_url(client: Client, settings: Settings) -> None:
    settings.HOME_URL = "https://www.example.com/"
    response = client.get("/")
    assert (response.status_code, response["Location"]) == (302, "https://www.example.com/")
