from typing import Any

from django.db import models


class LowercaseEmailField[Set = str, Get = str](models.EmailField[Set, Get]):
    """An e-mail address, lower-case wherever it is stored or looked for."""

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return value.lower() if isinstance(value, str) else value

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:  # noqa: FBT001 - Django's own signature
        value = self.get_prep_value(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, value)
        return value
