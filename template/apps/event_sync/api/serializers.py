from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.event_sync.managers.consumer_msg import ConsumerMsg, event_id_of
from apps.event_sync.models import EventSync
from apps.event_sync.outgoing.messages import LONGEST_EVENT_ID

OBJ_DATA = {
    "type": "object",
    "description": "The data for the handler of this type, and the id of the event.",
    "properties": {
        "event_id": {
            "type": "integer",
            "minimum": 1,
            "maximum": LONGEST_EVENT_ID,
            "description": "The `event_id` of our message.",
        },
    },
    "required": ["event_id"],
    "additionalProperties": {},
}


@extend_schema_field(OBJ_DATA)
class ObjDataField(serializers.DictField):
    pass


class ConfirmationSerializer(serializers.Serializer[Any]):
    """Another service's confirmation of one of our events, in the format of `data` in our message."""

    obj_type = serializers.CharField(max_length=200, trim_whitespace=False)
    obj_data = ObjDataField()
    obj_cmd = serializers.ChoiceField(EventSync.Command.choices)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        event_id_of(attrs["obj_data"])
        return attrs

    @classmethod
    def read(cls, data: object) -> ConsumerMsg:
        """Return the confirmation in a request body or message. Raises ``ValidationError``."""
        serializer = cls(data=data)
        serializer.is_valid(raise_exception=True)
        return ConsumerMsg(**serializer.validated_data)


class ConfirmedSerializer(serializers.ModelSerializer[EventSync]):
    """The event, and when it was received and processed."""

    event_id = serializers.IntegerField(source="pk", min_value=1, max_value=LONGEST_EVENT_ID)
    received = serializers.DateTimeField()
    processed = serializers.DateTimeField()

    class Meta:
        model = EventSync
        fields = ("event_id", "received", "processed")
