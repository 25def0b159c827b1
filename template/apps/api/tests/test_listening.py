import socket
import sys

import pytest

from api_core.listening import refuse_newcomers


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is one of Linux")
def test_who_waits_is_served_and_newcomers_are_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address, timeout=10) as waiting:
            refuse_newcomers(listener)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.3)
            accepted, _address = listener.accept()
            with accepted:
                waiting.sendall(b"a request")
                assert accepted.recv(100) == b"a request"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=10)
