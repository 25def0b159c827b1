import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from apps.event_sync.models import EventSync
from apps.event_sync.outgoing import outbox
from apps.event_sync.tests.outgoing.helpers import State, states, store
from apps.user.tests.factories import make_user

pytestmark = pytest.mark.django_db

LIST = reverse("admin:event_sync_eventsync_changelist")


def send_again(client: Client, *events: EventSync) -> int:
    data = {"action": "send_again", "_selected_action": [event.pk for event in events]}
    return client.post(LIST, data).status_code


def test_the_action_sends_events_again(admin_client: Client) -> None:
    dead, sending = store(1, state=State.DEAD, attempts=12), store(2, state=State.SENDING)
    assert send_again(admin_client, dead, sending) == 302
    assert states(dead, sending) == [State.PENDING, State.SENDING]
    dead.refresh_from_db()
    assert dead.attempts == 0


def test_the_action_needs_the_permission_to_change(client: Client) -> None:
    user = make_user(is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_eventsync"))
    client.force_login(user)
    dead = store(1, state=State.DEAD)
    assert client.get(LIST).status_code == 200
    send_again(client, dead)
    assert states(dead) == [State.DEAD]
    user.user_permissions.add(Permission.objects.get(codename="change_eventsync"))
    send_again(client, dead)
    assert states(dead) == [State.PENDING]


def test_the_admin_pages_open(admin_client: Client) -> None:
    event = store(1, state=State.DEAD, last_error="InvalidMessageContents: odd")
    answer = admin_client.get(LIST, {"state": "dead", "_facets": "True", "q": "invoice:1"})
    assert answer.status_code == 200
    assert "InvalidMessageContents" in answer.content.decode()
    page = reverse("admin:event_sync_eventsync_change", args=[event.pk])
    assert admin_client.get(page).status_code == 200
    assert admin_client.post(page, {"obj_type": "other"}).status_code == 403


def test_deleting_a_dead_event_unblocks_its_object(admin_client: Client) -> None:
    dead, second = store(1, state=State.DEAD, next_attempt_at=None), store(1)
    assert outbox.claim(10, in_order=True) == []
    data = {"action": "delete_selected", "_selected_action": dead.pk, "post": "yes"}
    admin_client.post(LIST, data)
    assert outbox.claim(10, in_order=True) == [second]
