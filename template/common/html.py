"""The HTML that people may write: one allow-list, made for e-mails."""

import re

import nh3

TAGS = {
    *("a", "b", "blockquote", "br", "code", "div", "em", "h1", "h2", "h3", "h4", "hr", "i", "li"),
    *("ol", "p", "pre", "s", "small", "span", "strong", "sub", "sup", "table", "tbody", "td", "th"),
    *("thead", "tr", "u", "ul"),
}
STYLES = {
    *("background-color", "border", "border-collapse", "border-radius", "color", "display"),
    *("font-size", "font-style", "font-weight", "line-height", "margin", "padding"),
    *("text-align", "text-decoration", "vertical-align", "width"),
}

# As editors leave them: with spaces that do not break, percent signs of a URL, and the http://
# that a link dialog puts before what it takes for a host name.
_SPACE = r"(?:\s|&nbsp;|&#160;|%20|%C2%A0)*"
_WRITTEN_PLACEHOLDER = re.compile(
    rf"(?:https?://)?(?:\{{\{{|%7B%7B){_SPACE}(\w+){_SPACE}(?:\}}\}}|%7D%7D)", re.IGNORECASE
)
_ACTIVE_STYLE = re.compile(r"url\s*\(|expression|\\|@", re.IGNORECASE)


def _filter_attribute(_tag: str, attribute: str, value: str) -> str | None:
    return None if attribute == "style" and _ACTIVE_STYLE.search(value) else value


def _filter_relative_url(url: str) -> str | None:
    # A mail has no address that a path could be relative to.
    return url if url.startswith("{{ ") else None


_cleaner = nh3.Cleaner(
    tags=TAGS,
    attributes={"*": {"style"}, "a": {"href"}, "td": {"colspan"}, "th": {"colspan"}},
    attribute_filter=_filter_attribute,
    filter_style_properties=STYLES,
    url_schemes={"http", "https", "mailto"},
    url_relative=_filter_relative_url,
    link_rel=None,
)


def sanitise_html(html: str) -> str:
    """Return the HTML without what could act, load, or hide something.

    A placeholder (``{{ name }}``) stays, in the one way of writing it, as a link's address too.
    """
    return _cleaner.clean(_WRITTEN_PLACEHOLDER.sub(r"{{ \1 }}", html)).strip()
