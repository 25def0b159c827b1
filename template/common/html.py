"""Sanitise the HTML of e-mails by an allow-list."""

import re
from collections.abc import Mapping

import nh3

# Without small, sub and sup, because nested ones make text too small to read.
_TEXT = {"a", "b", "br", "code", "em", "i", "s", "span", "strong", "u"}
_BLOCKS = {"blockquote", "div", "h1", "h2", "h3", "h4", "hr", "li", "ol", "p", "pre", "ul"}
_TABLES = {"table", "tbody", "td", "th", "thead", "tr"}
TAGS = _TEXT | _BLOCKS | _TABLES

# Only values that cannot hide text: legible absolute sizes, no negative distances.
_COLOUR = r"(?:#[0-9a-f]{3}|#[0-9a-f]{6}|rgb\(\d{1,3}, ?\d{1,3}, ?\d{1,3}\))"
_DISTANCES = r"(?:auto|0|\d{1,2}px)(?: (?:auto|0|\d{1,2}px)){0,3}"
STYLES = {
    "background-color": _COLOUR,
    "border": rf"0|none|\d{{1,2}}px (?:solid|dashed|dotted) {_COLOUR}",
    "border-collapse": r"collapse|separate",
    "border-radius": r"\d{1,2}px",
    "color": _COLOUR,
    "display": r"block|inline-block",
    "font-size": r"[1-4]\dpx|(?:[89]|[1-3]\d)pt",
    "font-style": r"normal|italic",
    "font-weight": r"normal|bold|[1-9]00",
    "line-height": r"[12](?:\.\d{1,3})?",
    "margin": _DISTANCES,
    "padding": _DISTANCES,
    "text-align": r"left|right|center|justify|start|end",
    "text-decoration": r"none|underline|line-through",
    "vertical-align": r"baseline|top|middle|bottom",
    "width": r"100%",
}
# https://www.w3.org/TR/WCAG22/#contrast-minimum
_MINIMUM_CONTRAST = 4.5

# As editors write them: with non-breaking spaces, percent-encoded, or with the http:// that a link
# dialog adds.
_SPACE = r"(?:\s|&nbsp;|&#160;|%20|%C2%A0)*"
_WRITTEN_PLACEHOLDER = re.compile(
    rf"(?:https?://)?(?:\{{\{{|%7B%7B){_SPACE}(\w+){_SPACE}(?:\}}\}}|%7D%7D)", re.IGNORECASE
)


def _filter_attribute(tag: str, attribute: str, value: str) -> str | None:
    return _visible_style(tag, value) if attribute == "style" else value


def _visible_style(tag: str, style: str) -> str | None:
    """Return the allowed declarations, or None if there are none."""
    kept = {}
    for declaration in style.lower().split(";"):
        name, _colon, value = (part.strip() for part in declaration.partition(":"))
        if name in STYLES and re.fullmatch(STYLES[name], value, re.ASCII):
            kept[name] = value
    # Only links can have colours, and only both. Links do not nest, so their contrast is known. The
    # colours of other elements may combine with those of the elements around them.
    if tag != "a" or not _is_legible(kept):
        kept = {name: value for name, value in kept.items() if not name.endswith("color")}
    return ";".join(f"{name}:{value}" for name, value in kept.items()) or None


def _is_legible(style: Mapping[str, str]) -> bool:
    if "color" not in style or "background-color" not in style:
        return False
    darker, lighter = sorted(_luminance(style[name]) for name in ("color", "background-color"))
    return (lighter + 0.05) / (darker + 0.05) >= _MINIMUM_CONTRAST


def _luminance(colour: str) -> float:
    """Return a colour's relative luminance: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    if colour.startswith("#"):
        digits = colour[1:] if len(colour) == len("#rrggbb") else "".join(c * 2 for c in colour[1:])
        levels = [int(digits[at : at + 2], 16) for at in (0, 2, 4)]
    else:
        levels = [min(int(level), 255) for level in re.findall(r"\d+", colour)]
    linear = [
        level / 255 / 12.92 if level <= 10 else ((level / 255 + 0.055) / 1.055) ** 2.4
        for level in levels
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _filter_relative_url(url: str) -> str | None:
    # Relative URLs do not work in e-mails. apps.communication.texts validates placeholders.
    return url.strip() if "{{" in url else None


_cleaner = nh3.Cleaner(
    tags=TAGS,
    attributes={"*": {"style"}, "a": {"href"}, "td": {"colspan"}, "th": {"colspan"}},
    attribute_filter=_filter_attribute,
    url_schemes={"http", "https", "mailto"},
    url_relative=_filter_relative_url,
    link_rel=None,
)


def sanitise_html(html: str) -> str:
    """Remove everything that runs, loads something or hides text.

    Placeholders are kept, also as the address of a link, and normalised to ``{{ name }}``.
    """
    return _cleaner.clean(_WRITTEN_PLACEHOLDER.sub(r"{{ \1 }}", html)).strip()
