from django.apps import AppConfig


class ScheduleConfig(AppConfig):
    """Contains the table of the scheduler's jobs. The label of the app is ``schedule``."""

    name = "common.schedule"
