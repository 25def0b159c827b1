"""The registry of the kinds of e-mail. ``apps.communication.emails`` declares one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.utils.functional import Promise

type Values = Mapping[str, object]


class UnknownEmailKindError(LookupError):
    """No app has declared an e-mail of this kind."""


@dataclass(frozen=True)
class EmailKind:
    name: str
    label: str | Promise
    placeholders: Mapping[str, str]
    """Names, with sample values for the preview. Those that end in ``_url`` are links."""
    required: frozenset[str]
    """The placeholders that every text must contain."""
    values: Callable[..., Values | None]
    is_logged: bool = True
    """Whether the delivery log keeps the e-mail after it was sent."""


_kinds: dict[str, EmailKind] = {}


def register_kind(kind: EmailKind) -> None:
    """Raises ``ValueError`` if there already is a kind of this name."""
    if kind.name in _kinds:
        raise ValueError(f"The e-mail kind {kind.name!r} is declared twice.")
    _kinds[kind.name] = kind


def get_kind(name: str) -> EmailKind:
    """Return a declared kind. Raises ``UnknownEmailKindError``."""
    try:
        return _kinds[name]
    except KeyError:
        raise UnknownEmailKindError(f"There is no e-mail kind {name!r}.") from None


def all_kinds() -> list[EmailKind]:
    return list(_kinds.values())


def kind_choices() -> list[tuple[str, str | Promise]]:
    return [(kind.name, kind.label) for kind in _kinds.values()]
