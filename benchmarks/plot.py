"""Bars as SVG, for a page that is read without JavaScript."""

from collections.abc import Mapping
from html import escape

type Groups = Mapping[str, Mapping[str, float]]

COLOURS = ("#2563eb", "#94a3b8", "#d4d4d8")
WIDTH, LABELS, BAR, GAP = 720, 210, 20, 16
STYLE = "text { font: 13px sans-serif; fill: #1f2937 } .title { font-weight: bold }"


def bars(title: str, unit: str, groups: Groups) -> str:
    """Draw one bar for each value, in groups with a name. The series of all groups are the same."""
    largest = max(value for values in groups.values() for value in values.values())
    scale = (WIDTH - LABELS - 90) / largest
    lines, y = [_text(10, 24, title, "title")], 44
    for group, values in groups.items():
        lines.append(_text(10, y + 15, group, "title"))
        for colour, (name, value) in zip(COLOURS, values.items(), strict=True):
            length = max(1, round(value * scale))
            lines.append(_text(90, y + 15, name))
            lines.append(
                f'<rect x="{LABELS}" y="{y}" width="{length}" height="{BAR - 3}" fill="{colour}"/>'
            )
            lines.append(_text(LABELS + length + 6, y + 14, f"{value:.2f} {unit}"))
            y += BAR
        y += GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect width="{WIDTH}" height="{y}" fill="white"/>',
            *lines,
            "</svg>\n",
        ]
    )


def _text(x: int, y: int, text: str, name: str = "") -> str:
    attribute = f' class="{name}"' if name else ""
    return f'<text x="{x}" y="{y}"{attribute}>{escape(text)}</text>'
