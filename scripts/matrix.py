"""Print the variants as outputs of a job of GitHub Actions: ``nox -s matrix``."""

import json

from support import VARIANTS, name_of

# On other operating systems, one variant of each database is enough.
SYSTEMS = [VARIANTS[0], VARIANTS[-1]]

if __name__ == "__main__":
    for output, variants in {"variants": VARIANTS, "systems": SYSTEMS}.items():
        print(f"{output}={json.dumps([name_of(answers) for answers in variants])}")
