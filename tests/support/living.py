"""Installed services that keep their data while their code changes."""

from pathlib import Path

from support import UV, run

ADD_DATA = """
from apps.user.models import User
user = User.objects.create_user("ana@example.com", "a long password", first_name="Ana")
"""
READ_DATA = """
from apps.user.models import User
print("first name:", User.objects.get(email="ana@example.com").first_name)
"""
ANA = "first name: Ana\n"


class Service:
    """An installed service."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        run(UV, "venv", "--quiet", cwd=folder)
        self.install()

    def install(self) -> None:
        lock = ["--require-hashes", "--requirement", "requirements-dev.txt"]
        run(UV, "pip", "install", "--quiet", *lock, cwd=self.folder)

    def run(self, program: str, *arguments: str) -> str:
        return run(self.folder / ".venv/bin" / program, *arguments, cwd=self.folder)

    def manage(self, *arguments: str) -> str:
        return self.run("python", "manage.py", *arguments)

    def shell(self, code: str) -> str:
        return self.manage("shell", "--verbosity=0", "--command", code)

    def lock(self) -> None:
        run(UV, "run", "lock.py", cwd=self.folder)
