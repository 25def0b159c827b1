"""Languages of e-mails: those of ``settings.LANGUAGES``."""

from django.conf import settings
from django.utils import translation
from django.utils.functional import Promise

LAST_RESORT = "en"


def supported_language(code: str | None) -> str:
    """Return the closest language of the service, such as ``pt-br`` for ``pt``, or its default."""
    try:
        return translation.get_supported_language_variant((code or "").lower())
    except LookupError:
        return translation.get_supported_language_variant(settings.LANGUAGE_CODE)


def fallback_languages(code: str) -> list[str]:
    """Return the languages in which to look for a text, in order of preference."""
    chain = [supported_language(code), supported_language(settings.LANGUAGE_CODE), LAST_RESORT]
    return list(dict.fromkeys(chain))


def language_choices() -> list[tuple[str, str | Promise]]:
    return list(settings.LANGUAGES)
