"""template_update.py of a service, with a repository on disk and a stand-in for the provider's API."""

import json
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from _pytest.outcomes import Failed
from support import TEMPLATE, run
from support.updating import commit_all, committed, git, update

pytestmark = pytest.mark.updates

BRANCH = "template-update"
TOKEN = secrets.token_hex()


@dataclass
class Api:
    """The calls for pull and merge requests, as the providers document them, for one project.

    https://docs.github.com/rest/pulls/pulls
    https://docs.gitlab.com/api/merge_requests/
    """

    provider: str
    url: str = ""
    request: dict[str, Any] | None = None
    calls: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def variables(self, remotes: Path) -> dict[str, str]:
        """Return the variables that the provider sets for a job."""
        if self.provider == "github":
            return {
                "GITHUB_SERVER_URL": f"file://{remotes}",
                "GITHUB_REPOSITORY": "ana/service",
                "GITHUB_REF_NAME": "main",
                "GITHUB_API_URL": self.url,
            }
        return {
            "CI_SERVER_URL": f"file://{remotes}",
            "CI_PROJECT_URL": f"file://{remotes}/ana/service",
            "CI_PROJECT_ID": "42",
            "CI_DEFAULT_BRANCH": "main",
            "CI_API_V4_URL": f"{self.url}/api/v4",
        }

    def answer(self, method: str, path: str, query: dict[str, str], fields: dict[str, Any]) -> Any:
        self.calls.append(method)
        if self.provider == "github":
            return self.github(method, path, query, fields)
        return self.gitlab(method, path, query, fields)

    def github(self, method: str, path: str, query: dict[str, str], fields: dict[str, Any]) -> Any:
        assert self.headers[-1]["authorization"] == f"Bearer {TOKEN}"
        pulls = "/repos/ana/service/pulls"
        if method == "GET":
            assert (path, query) == (
                pulls,
                {"state": "open", "head": f"ana:{BRANCH}", "base": "main"},
            )
            return [self.request] if self.request else []
        assert not query
        if method == "POST":
            assert path == pulls
            assert (fields.pop("head"), fields.pop("base")) == (BRANCH, "main")
            self.request = {"number": 7, "url": f"{self.url}{pulls}/7", "html_url": "https://x/7"}
        else:
            assert (method, path) == ("PATCH", f"{pulls}/7")
        assert self.request
        assert fields.keys() == {"title", "body"}
        self.request.update(fields)
        return self.request

    def gitlab(self, method: str, path: str, query: dict[str, str], fields: dict[str, Any]) -> Any:
        assert self.headers[-1]["private-token"] == TOKEN
        requests = "/api/v4/projects/42/merge_requests"
        branches = {"source_branch": BRANCH, "target_branch": "main"}
        if method == "GET":
            assert (path, query) == (requests, {"state": "opened", **branches})
            return [self.request] if self.request else []
        assert not query
        if method == "POST":
            assert path == requests
            assert {name: fields.pop(name) for name in branches} == branches
            assert fields.pop("remove_source_branch") is True
            self.request = {"id": 1007, "iid": 7, "web_url": "https://x/7"}
        else:
            assert (method, path) == ("PUT", f"{requests}/7")
        assert self.request
        assert fields.keys() == {"title", "description"}
        self.request.update(title=fields["title"], body=fields["description"])
        return self.request


@contextmanager
def serving(api: Api) -> Iterator[Api]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            api.headers.append({name.lower(): value for name, value in self.headers.items()})
            try:
                fields = json.loads(body or "{}")
                answer = api.answer(self.command, url.path, dict(parse_qsl(url.query)), fields)
                status = 201 if self.command == "POST" else 200
            except AssertionError as error:
                status, answer = 422, {"message": f"Validation Failed: {error}"}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        do_GET = do_POST = do_PATCH = do_PUT = answer  # noqa: N815 - the names of http.server

        def log_message(self, *_arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield api
        server.shutdown()


@pytest.fixture
def api(request: pytest.FixtureRequest) -> Iterator[Api]:
    with serving(Api(getattr(request, "param", "github"))) as api:
        yield api


@pytest.fixture(scope="module")
def small_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small template with the real script and two releases, as an update of ours takes long."""
    folder = tmp_path_factory.mktemp("small") / "template"
    files = folder / "template"
    files.mkdir(parents=True)
    (folder / "copier.yml").write_text(
        "_subdirectory: template\nci_provider: {type: str, default: github}\n"
    )
    (files / "{{_copier_conf.answers_file}}.jinja").write_text("{{ _copier_answers|to_nice_yaml }}")
    shutil.copy(TEMPLATE / "template_update.py.jinja", files)
    git(folder, "init", "--quiet")
    released = ""
    for version in ("1.0.0", "1.1.0"):
        released = f"## {version} - 2027-01-01\n\nChanges of {version}.\n\n{released}"
        (folder / "CHANGELOG.md").write_text(f"# Changelog\n\n{released}")
        for name in ("requirements.txt", "settings.py", "urls.py"):
            with (files / name).open("a") as file:
                file.write(f"# {version}\n")
        commit_all(folder)
        git(folder, "tag", f"v{version}")
    unreleased = "# Changelog\n\n## Unreleased\n\nChanges that are not released.\n\n"
    (folder / "CHANGELOG.md").write_text(unreleased + released)
    commit_all(folder)
    return folder


@pytest.fixture
def remotes(small_template: Path, tmp_path: Path, api: Api) -> Path:
    """A folder with the repository of a service at the release before the newest."""
    service = committed(small_template, tmp_path / "service", "1.0.0", ci_provider=api.provider)
    git(service, "branch", "--move", "main")
    remotes = tmp_path / "remotes"
    git(tmp_path, "clone", "--quiet", "--bare", str(service), f"{remotes}/ana/service.git")
    return remotes


def job(remotes: Path, api: Api, **variables: str) -> str:
    """Run the script as its job does: in a shallow clone, without Git's configuration."""
    clone = remotes.parent / f"clone-{len(list(remotes.parent.glob('clone-*')))}"
    source = f"file://{remotes}/ana/service.git"
    git(remotes, "clone", "--quiet", "--depth=1", source, str(clone))
    environment = {
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "TEMPLATE_UPDATE_TOKEN": TOKEN,
        **api.variables(remotes),
        **variables,
    }
    return run(sys.executable, "template_update.py", cwd=clone, **environment)


def branch(remotes: Path) -> str:
    """Return the commit of the script's branch, or "" if there is none."""
    name = f"refs/heads/{BRANCH}"
    return git(remotes / "ana/service.git", "for-each-ref", "--format=%(objectname)", name).strip()


def edit(remotes: Path, files: dict[str, str], to: str = "main") -> None:
    """Commit lines at the end of files to a branch of the repository."""
    clone = remotes.parent / f"edit-{len(list(remotes.parent.glob('edit-*')))}"
    git(remotes, "clone", "--quiet", f"--branch={to}", f"{remotes}/ana/service.git", str(clone))
    for name, line in files.items():
        with (clone / name).open("a") as file:
            file.write(line)
    commit_all(clone)
    git(clone, "push", "--quiet")


@pytest.mark.parametrize("api", ["github", "gitlab"], indirect=True)
def test_an_update_opens_one_request_and_refreshes_it(
    remotes: Path, api: Api, tmp_path: Path
) -> None:
    said = job(remotes, api)
    assert said == "https://x/7\n"
    assert api.calls == ["GET", "POST"]
    assert api.request
    assert api.request["title"] == "Update the template to 1.1.0"
    text = api.request["body"]
    assert "from 1.0.0 to 1.1.0" in text
    assert "## 1.1.0 - 2027-01-01\n\nChanges of 1.1.0.\n" in text
    assert "not released" not in text
    assert "## 1.0.0" not in text
    assert "Conflict" not in text

    first = branch(remotes)
    expected = tmp_path / "expected"
    git(tmp_path, "clone", "--quiet", f"{remotes}/ana/service.git", str(expected))
    update(expected)
    git(expected, "add", "--all")
    git(expected, "fetch", "--quiet", "origin", BRANCH)
    assert not git(expected, "diff", "--cached", "FETCH_HEAD")
    assert git(expected, "rev-parse", "FETCH_HEAD^") == git(expected, "rev-parse", "main")

    job(remotes, api)
    assert api.calls == ["GET", "POST", "GET", "PATCH" if api.provider == "github" else "PUT"]
    assert branch(remotes) == first


def test_the_request_names_conflicts(remotes: Path, api: Api) -> None:
    edit(remotes, {"settings.py": "# Ours\n", "requirements.txt": "# Ours\n"})
    job(remotes, api)
    assert api.request
    text = api.request["body"]
    assert "- `settings.py`\n" in text
    assert "- `requirements.txt`" not in text
    assert "requirements.txt are the template's" in text
    assert "Changes of 1.1.0." in text
    bare = remotes / "ana/service.git"
    marked = git(bare, "show", f"{BRANCH}:settings.py")
    assert re.search(r"<<<<<<< .*\n# Ours\n=======\n# 1.1.0\n>>>>>>> ", marked)
    lock = git(bare, "show", f"{BRANCH}:requirements.txt")
    assert lock.endswith("# 1.1.0\n")
    assert "# Ours" not in lock


def test_work_on_the_branch_is_left_as_it_is(remotes: Path, api: Api) -> None:
    job(remotes, api)
    edit(remotes, {"mine.py": "Resolved.\n"}, to=BRANCH)
    edit(remotes, {"mine.py": "More.\n"})
    before = branch(remotes)
    assert "Someone has committed to template-update" in job(remotes, api)
    assert branch(remotes) == before
    # Once the request is merged or closed, the branch is free again.
    api.request = None
    job(remotes, api)
    bare = remotes / "ana/service.git"
    assert git(bare, "rev-parse", f"{BRANCH}^") == git(bare, "rev-parse", "main")
    assert api.calls == ["GET", "POST", "GET", "GET", "POST"]


def test_nothing_happens_if_the_template_has_nothing_new(remotes: Path, api: Api) -> None:
    service = remotes.parent / "service"
    update(service)
    commit_all(service)
    git(service, "push", "--quiet", f"{remotes}/ana/service.git", "main", "--force")
    assert job(remotes, api) == "The template has nothing newer than 1.1.0.\n"
    assert not api.calls
    assert not branch(remotes)


@pytest.mark.parametrize("api", ["github", "gitlab"], indirect=True)
def test_without_a_token_the_job_prints_what_to_do(remotes: Path, api: Api) -> None:
    said = job(remotes, api, TEMPLATE_UPDATE_TOKEN="")
    assert said.startswith("Version 1.1.0 of the template is available.")
    assert "fine-grained" in said if api.provider == "github" else "project access token" in said
    assert "uvx copier update" in said
    assert not api.calls
    assert not branch(remotes)


def test_a_refusal_of_the_api_is_shown(remotes: Path, api: Api) -> None:
    with pytest.raises(Failed, match=r"422.*Validation Failed"):
        job(remotes, api, GITHUB_REF_NAME="other")


def test_git_sends_the_token_to_the_server_only(remotes: Path, api: Api) -> None:
    with pytest.raises(Failed, match="git ls-remote") as failed:
        job(remotes, api, GITHUB_SERVER_URL=api.url)
    assert api.headers[-1]["authorization"].startswith("Basic ")
    assert TOKEN not in str(failed.value)
