"""Autobahn's fuzzing client against the service behind Daphne and uvicorn: ``nox -s autobahn``.

https://github.com/crossbario/autobahn-testsuite runs 517 cases of RFC 6455 and RFC 7692 against an
echo. The service runs in development with its own limits lifted, for the cases send messages of
16 MB and thousands at once. The report is HTML; this prints what differs from "OK".
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from support.websocket_stack import SERVERS, serving

UNLIMITED = """
from api_core.settings.dev import *

DEBUG = False
WEBSOCKET_MAX_MESSAGE_BYTES = 2**25
WEBSOCKET_MESSAGES = 10**9
WEBSOCKET_CONNECTION_BYTES = 10**15
"""


def fuzz(python: str, address: str, report: Path, agent: str) -> dict[str, dict[str, str]]:
    """Run every case against one server, and return the result of each by its number."""
    spec = report / f"{agent}.json"
    spec.write_text(
        json.dumps(
            {
                "outdir": str(report),
                "servers": [{"agent": agent, "url": f"ws://{address}/ws/echo/"}],
                "cases": ["*"],
                "exclude-cases": [],
                "exclude-agent-cases": {},
            }
        )
    )
    command = [python, "-m", "autobahntestsuite.wstest", "-m", "fuzzingclient", "-s", str(spec)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=7200)
    results: dict[str, dict[str, dict[str, str]]] = json.loads((report / "index.json").read_text())
    return results[agent]


def main() -> None:
    python, service, report = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    report.mkdir(parents=True, exist_ok=True)
    (service / "autobahn_settings.py").write_text(UNLIMITED)
    for server in SERVERS:
        with serving(service, server, {"DJANGO_SETTINGS_MODULE": "autobahn_settings"}) as port:
            results = fuzz(python, f"127.0.0.1:{port}", report, server)
        counts = Counter(result["behavior"] for result in results.values())
        print(f"{server}: {len(results)} cases,", dict(counts))
        for case, result in results.items():
            if result["behavior"] == "FAILED" or result["behaviorClose"] == "FAILED":
                print(f"  {case}: {result['behavior']}, its end {result['behaviorClose']}")


if __name__ == "__main__":
    main()
