"""Generate a service with the default answers and start it: ``nox -s demo [-- FOLDER]``."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from service import ROOT, copy, install

HOST = "127.0.0.1"

READY = """
{name} is running at {base}

API documentation: {base}/api/docs/
Health: {base}/api/v1/health/
{users}
The server keeps running after this command. Its log is {log}.
Stop it: kill {pid}
"""


def main(folder: str = "my-service") -> None:
    service = (ROOT / folder).resolve()
    generate(service)
    python = install(service)
    manage = [str(python), "manage.py"]
    base = f"http://{HOST}:{free_port(8000)}"
    os.environ["URL_BASE"] = base
    subprocess.run([*manage, "migrate", "--verbosity=0"], cwd=service, check=True)
    users = subprocess.check_output([*manage, "seed_demo"], cwd=service, text=True)

    log = service / "demo.log"
    server = start([*manage, "runserver", "--noreload", base.removeprefix("http://")], log)
    if not responds(server, f"{base}/api/v1/health/"):
        server.terminate()
        raise SystemExit(f"The service did not start. {log} ends with:\n{log.read_text()[-2000:]}")
    print(READY.format(name=service.name, base=base, log=log, pid=server.pid, users=users))


def generate(service: Path) -> None:
    if (service / ".copier-answers.yml").exists() and (service / "manage.py").exists():
        print(f"{service} already exists and is used as it is.")
    elif service.exists():
        raise SystemExit(
            f"{service} is not a service of this template. Use another folder:"
            " nox -s demo -- FOLDER"
        )
    elif not shutil.which("git"):
        raise SystemExit("Copier needs Git. Install Git and try again.")
    else:
        copy(service)


def start(command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start a server that keeps running when this program ends."""
    with log.open("w") as output:
        return subprocess.Popen(
            command,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def free_port(first: int) -> int:
    """Return the first of 100 ports that no server listens on."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)):
                return port
    raise SystemExit(f"No port is free between {first} and {first + 99}.")


def responds(server: "subprocess.Popen[bytes]", url: str, seconds: int = 60) -> bool:
    """Wait until the server responds with 200, exits, or a time-out has passed."""
    deadline = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            time.sleep(0.2)
    return False


if __name__ == "__main__":
    main(*sys.argv[1:])
