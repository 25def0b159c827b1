"""The kinds of e-mail that the service sends. Each app declares its own::

    @email_kind(
        "reset_password",
        label=_("Reset the password"),
        placeholders={"first_name": "Ana", "reset_url": "https://example.com/reset/"},
    )
    def reset_password(user_id: int) -> dict[str, str] | None: ...

The function takes what was queued and returns the placeholders' values, or None when there is
nothing to say any more (the user is gone). It runs when the e-mail leaves: so no token rests in
the database, and a token's lifetime begins with the delivery. The values of ``placeholders`` are
examples, for the preview. A placeholder whose name ends in ``_url`` is one that the text needs.

The text of a kind stands in ``templates/communication/email/<kind>/<language>.html`` of its app.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.utils.functional import Promise

type Values = Mapping[str, object]


class UnknownEmailKindError(LookupError):
    """No app declares an e-mail of this kind."""


@dataclass(frozen=True)
class EmailKind:
    name: str
    label: str | Promise
    placeholders: Mapping[str, str]
    values: Callable[..., Values | None]

    @property
    def required(self) -> set[str]:
        """The placeholders without which the e-mail would be of no use."""
        return {name for name in self.placeholders if name.endswith("_url")}


_kinds: dict[str, EmailKind] = {}


def email_kind[F: Callable[..., Values | None]](
    name: str, *, label: str | Promise, placeholders: Mapping[str, str]
) -> Callable[[F], F]:
    """Declare a kind of e-mail; the decorated function computes its values."""

    def register(function: F) -> F:
        if name in _kinds:
            raise ValueError(f"The e-mail kind {name!r} is declared twice.")
        _kinds[name] = EmailKind(name, label, placeholders, function)
        return function

    return register


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
