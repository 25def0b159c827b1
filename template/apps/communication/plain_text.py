"""Convert the HTML of an e-mail to plain text."""

import re
from html.parser import HTMLParser

_BLOCKS = {"blockquote", "div", "h1", "h2", "h3", "h4", "hr", "ol", "p", "pre", "table", "ul"}
_LINES = {"br", "li", "tr"}


class _PlainText(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._links: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._break(tag)
        if tag == "li":
            self.parts.append("- ")
        elif tag == "hr":
            self.parts.append("----\n\n")
        elif tag == "a":
            self._links.append((dict(attrs).get("href") or "", len(self.parts)))

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"}:
            self.parts.append(" ")
        elif tag == "a" and self._links:
            address, start = self._links.pop()
            words = "".join(self.parts[start:])
            if address == words.strip():
                words = f"<{address}>"
            elif address:
                words = f"{words.rstrip()}: <{address}>"
            self.parts[start:] = [words]
        elif tag in _BLOCKS:
            self._break(tag)

    def handle_data(self, data: str) -> None:
        self.parts.append(re.sub(r"\s+", " ", data))

    def _break(self, tag: str) -> None:
        if tag in _BLOCKS:
            self.parts.append("\n\n")
        elif tag in _LINES:
            self.parts.append("\n")


def html_to_text(html: str) -> str:
    """Convert sanitised HTML to plain text. A link becomes its text and its full URL.

    The URL is in angle brackets (RFC 3986, appendix C), so that mail programs do not treat the full
    stop after it as a part of it.
    """
    parser = _PlainText()
    parser.feed(html)
    parser.close()
    lines = "".join(parser.parts).split("\n")
    text = "\n".join(re.sub(" +", " ", line).strip() for line in lines)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
