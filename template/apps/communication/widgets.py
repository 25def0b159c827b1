from typing import Any

from django import forms
from django.conf import settings
from django.utils.translation import get_language
from django_summernote.utils import LANG_TO_LOCALE

from common.html import sanitise_html


class SummernoteEditor(forms.Textarea):
    """The Summernote editor, with the static files of django-summernote and a script of our own.

    The package's widget is not used: its editor page has a reflected XSS, its upload needs no login,
    and its scripts come from a CDN. This editor is part of the admin's page, uses the admin's
    jQuery, and accepts no images.
    """

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"class": "summernote-editor", **(attrs or {})})

    @property
    def locale(self) -> str:
        language = (get_language() or "").partition("-")[0]
        return str(LANG_TO_LOCALE.get(language, "en-US"))

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        return super().get_context(name, value, {**(attrs or {}), "data-language": self.locale})

    def format_value(self, value: Any) -> str | None:
        # It may have been stored by other means, or come from a rejected form.
        return None if value is None else sanitise_html(str(value))

    def use_required_attribute(self, initial: Any) -> bool:
        # The editor hides the textarea, and browsers cannot show an error at a hidden field.
        return False

    @property
    def media(self) -> forms.Media:
        extra = "" if settings.DEBUG else ".min"
        return forms.Media(
            css={"all": ["summernote/summernote-lite.min.css", "communication/editor.css"]},
            js=[
                f"admin/js/vendor/jquery/jquery{extra}.js",
                # Before jquery.init.js, which removes the global jQuery that Summernote needs.
                "summernote/summernote-lite.min.js",
                f"summernote/lang/summernote-{self.locale}.min.js",
                "admin/js/jquery.init.js",
                "communication/editor.js",
            ],
        )
