from django.apps import AppConfig
from django.db.backends.signals import connection_created

from common import telemetry


class TelemetryConfig(AppConfig):
    name = "common.telemetry"

    def ready(self) -> None:
        from common.telemetry.database import trace_queries  # noqa: PLC0415 - imported if used

        telemetry.start()
        connection_created.connect(trace_queries)
