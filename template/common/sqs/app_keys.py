"""The strength of the keys with which other services confirm events."""

from environs import ValidationError


def strong_app_keys(keys: str | list[str]) -> None:
    """Refuse a key that can be guessed. An empty key is allowed, because it accepts no request."""
    for key in [keys] if isinstance(keys, str) else keys:
        if key and (len(key) < 32 or len(set(key)) < 5):
            raise ValidationError("Must be at least 32 random characters.")
