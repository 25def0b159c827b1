"""Run every Python that root starts as the owner of the source.

Files that the container writes to the mounted folder then belong to the developer, also those that
``docker compose exec web python manage.py ...`` writes. Nothing changes if the folder belongs to
root, as under a rootless engine.
"""

import os
from pathlib import Path

if os.geteuid() == 0:
    owner = Path("/app").stat()
    os.setgroups([])
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)
