from typing import Any

from django import forms
from django.conf import settings
from django.utils.translation import get_language
from django_summernote.utils import LANG_TO_LOCALE

from common.html import sanitise_html


class SummernoteEditor(forms.Textarea):
    """Summernote from the files of django-summernote, started by a script of ours.

    The package's own widget is not used: its editor page reflects what is in the URL, its upload
    asks nobody to log in, and its scripts come from other people's servers. Here the editor
    stands in the admin's page, with the admin's jQuery, and takes no images.
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
        # What was stored by other means, or comes back from a form that was refused.
        return None if value is None else sanitise_html(str(value))

    def use_required_attribute(self, initial: Any) -> bool:
        # The editor hides the textarea, and a browser cannot point at what is hidden.
        return False

    @property
    def media(self) -> forms.Media:
        extra = "" if settings.DEBUG else ".min"
        return forms.Media(
            css={"all": ["summernote/summernote-lite.min.css", "communication/editor.css"]},
            js=[
                f"admin/js/vendor/jquery/jquery{extra}.js",
                # Before jquery.init.js, which takes away the global jQuery that this looks for.
                "summernote/summernote-lite.min.js",
                f"summernote/lang/summernote-{self.locale}.min.js",
                "admin/js/jquery.init.js",
                "communication/editor.js",
            ],
        )
