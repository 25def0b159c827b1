"""``/api/v1/event-sync/``: other services confirm our events."""

from typing import NoReturn

from django.db import transaction
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from structlog import get_logger

from apps.event_sync.api.serializers import ConfirmationSerializer, ConfirmedSerializer
from common.drf.throttling import AddressThrottle
from common.sqs.sqs_permission import IsSqsAuthenticated, SqsAuthentication

logger = get_logger(__name__)


# ConsumerMsg manages its own transactions: the log of a failure must survive the rollback.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class EventSyncApiView(APIView):
    authentication_classes = [SqsAuthentication]
    permission_classes = [IsSqsAuthenticated]
    throttle_scope = "event-sync"

    @extend_schema(
        summary="Confirm an event", request=ConfirmationSerializer, responses=ConfirmedSerializer
    )
    def post(self, request: Request) -> Response:
        """Confirm an event. Confirming it again with the same data has no effect.

        404 if no event has this `event_id`, 409 if the event is another one or was confirmed with
        other data. After a 5xx nothing has changed: send the confirmation again later.
        """
        event = ConfirmationSerializer.read(request.data).handle_msg_sync()
        return Response(ConfirmedSerializer(event).data)

    def permission_denied(
        self, request: Request, message: str | None = None, code: str | None = None
    ) -> NoReturn:
        """Refuse and count a wrong key. The right key is accepted after any number of wrong ones.

        OWASP ASVS 5.0: 6.3.1.
        """
        throttle = AddressThrottle()
        if not throttle.allow_request(request, self):
            self.throttled(request, throttle.wait() or 0)
        logger.warning("event_sync_key_refused")
        raise NotAuthenticated(_("Invalid key."))
