"""Exit with 0 if the server in this container responds, for Docker's HEALTHCHECK.

It requests liveness, not readiness: a restart does not bring a database back.
"""

import os
import sys
from http.client import HTTPConnection

from dotenv import load_dotenv

load_dotenv(interpolate=False)

# Any other Host header is refused; ".example.com" stands for each name under it.
host = os.environ.get("DJANGO_ALLOWED_HOSTS", "localhost").split(",")[0].strip()
server = HTTPConnection("127.0.0.1", int(os.environ.get("PORT", "8000")), timeout=4)
path = os.environ.get("SCRIPT_NAME", "") + "/api/v1/health/"
server.request("GET", path, headers={"Host": host.removeprefix(".")})
sys.exit(server.getresponse().status != 200)
