"""Makes a Python that root starts run as the owner of the source.

So what the container writes to the mounted folder belongs to the developer, whatever their user
is called and numbered, and also what ``docker compose exec web python manage.py ...`` writes.
Where the folder seems to be root's, as under a rootless engine, nothing changes.
"""

import os
from pathlib import Path

if os.geteuid() == 0:
    owner = Path("/app").stat()
    os.setgroups([])
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)
