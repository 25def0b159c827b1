import socket
import sys

import pytest

from api_core.listening import hear, refuse_newcomers


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops their packets")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_waits_is_served_and_newcomers_are_refused(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with socket.create_server((host, 0), family=family) as listener:
        address = listener.getsockname()[:2]
        with socket.create_connection(address, timeout=10) as waiting:
            refuse_newcomers(listener)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.3)
            accepted, _address = listener.accept()
            with accepted:
                hear(accepted)
                waiting.sendall(b"a request")
                assert accepted.recv(100) == b"a request"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=10)
