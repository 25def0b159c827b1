"""Authentication with ``APP_KEY``, and the responses of the API to other requests."""

import hmac

import pytest
from environs import ValidationError
from pytest_django import Settings
from rest_framework.test import APIClient, APIRequestFactory
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView

from apps.event_sync.tests.logs import logged
from common.sqs.app_keys import strong_app_keys
from common.sqs.sqs_permission import IsSqsAuthenticated

URL = "/api/v1/event-sync/"
KEY = "the key of today"
FORMER = "the key of yesterday"
STRONG = "no-one-guesses-this-key-of-32-characters"[:32]


@pytest.fixture(autouse=True)
def keys(settings: Settings) -> None:
    settings.APP_KEY = KEY
    settings.APP_KEY_FALLBACKS = [FORMER]


def is_let_in(header: str | None) -> bool:
    headers = {} if header is None else {"Authorization": header}
    request = APIRequestFactory().post(URL, headers=headers)
    return IsSqsAuthenticated().has_permission(APIView().initialize_request(request), APIView())


@pytest.mark.parametrize("header", [f"Token {KEY}", f"token {KEY}", f"Token  {KEY} "])
def test_the_key_is_accepted(header: str) -> None:
    assert is_let_in(header)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Token",
        "Token ",
        KEY,
        f"Bearer {KEY}",
        f"Token{KEY}",
        f"Token {KEY}x",
        f"Token {KEY[:-1]}",
        f"Token {KEY.upper()}",
        f"Token {KEY} {KEY}",
        "Token ключ",
        "Token \xff\x00",
        "Token \ud800",
    ],
)
def test_anything_but_the_key_is_refused(header: str | None) -> None:
    assert not is_let_in(header)


def test_a_key_may_contain_non_ascii_characters(settings: Settings) -> None:
    """WSGI servers decode headers as Latin-1 (PEP 3333)."""
    settings.APP_KEY = "chavé"
    assert is_let_in("Token " + "chavé".encode().decode("latin-1"))


def test_a_previous_key_is_accepted_until_it_is_removed(settings: Settings) -> None:
    assert is_let_in(f"Token {FORMER}")
    settings.APP_KEY_FALLBACKS = []
    assert not is_let_in(f"Token {FORMER}")
    assert is_let_in(f"Token {KEY}")


@pytest.mark.parametrize("header", [None, "", "Token", "Token ", "Token x"])
def test_an_empty_key_accepts_no_request(settings: Settings, header: str | None) -> None:
    settings.APP_KEY = ""
    settings.APP_KEY_FALLBACKS = ["", ""]
    assert not is_let_in(header)


@pytest.mark.parametrize("given", [KEY, FORMER, "another"])
def test_all_keys_are_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """Counts the comparisons instead of timing them: each request is compared with both keys."""
    lengths: list[tuple[int, int]] = []

    def counting(one: bytes, other: bytes) -> bool:
        lengths.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", counting)
    is_let_in(f"Token {given}")
    assert lengths == [(32, 32)] * 2


@pytest.mark.django_db
class TestRefusal:
    def test_a_refusal_names_the_authentication_scheme(self, api: APIClient) -> None:
        for headers in ({}, {"Authorization": "Token wrong"}, {"Authorization": "Bearer x"}):
            response = api.post(URL, {}, headers=headers | {"Accept-Language": "en"})
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"] == "Token"
            assert response.json() == {"detail": "Invalid key.", "code": "not_authenticated"}

    def test_a_users_jwt_is_refused(self, user_api: APIClient) -> None:
        assert user_api.post(URL, {}).status_code == 401

    def test_only_wrong_keys_are_limited(
        self, api: APIClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(SimpleRateThrottle.THROTTLE_RATES, "event-sync-address", "3/min")
        headers = {"Authorization": "Token wrong"}
        answers = [api.post(URL, {}, headers=headers) for _number in range(5)]
        assert [answer.status_code for answer in answers] == [401] * 3 + [429] * 2
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
        right = {"Authorization": f"Token {KEY}"}
        assert [api.post(URL, {}, headers=right).status_code for _number in range(5)] == [400] * 5

    def test_the_key_is_not_logged(self, api: APIClient, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("DEBUG")
        for key in (KEY, "a wrong one"):
            api.post(URL, {}, headers={"Authorization": f"Token {key}"})
        assert len(logged(caplog, "event_sync_key_refused")) == 1
        assert KEY not in caplog.text
        assert "a wrong one" not in caplog.text


@pytest.mark.parametrize("keys", ["", [], ["", STRONG], STRONG, "abcde" + "e" * 27])
def test_production_accepts_strong_keys_or_none(keys: str | list[str]) -> None:
    strong_app_keys(keys)


@pytest.mark.parametrize("keys", ["q", "x" * 50, "abcd" * 8, STRONG[:31], ["q"], [STRONG, "q"]])
def test_production_refuses_keys_that_can_be_guessed(keys: str | list[str]) -> None:
    with pytest.raises(ValidationError, match=r"^Must be at least 32 random characters.$"):
        strong_app_keys(keys)
