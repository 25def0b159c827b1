"""A client of the admin site, as behind a proxy that terminates TLS."""

import http.client
from http.cookies import SimpleCookie
from typing import NamedTuple
from urllib.parse import urlencode

from support.live import Server


class Page(NamedTuple):
    status: int
    text: str
    location: str


class AdminSite:
    """Keeps its cookies, and sends the CSRF token in one of them."""

    def __init__(self, server: Server) -> None:
        self._port = server.port
        self._cookies: dict[str, str] = {}
        self._address = server.client_address()

    def log_in(self, username: str, password: str, **fields: str) -> Page:
        self.get("login/")
        return self.post("login/?next=/admin/", username=username, password=password, **fields)

    def get(self, path: str) -> Page:
        return self.send("GET", path)

    def post(self, path: str, **fields: str) -> Page:
        return self.send("POST", path, urlencode(fields), "application/x-www-form-urlencoded")

    def send(self, method: str, path: str, body: str = "", content_type: str = "") -> Page:
        headers = {
            "X-Forwarded-Proto": "https",
            "X-Forwarded-For": self._address,
            "Referer": f"https://127.0.0.1:{self._port}/admin/",
            "Accept-Language": "en",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items()),
            "X-CSRFToken": self._cookies.get("__Secure-csrftoken", ""),
        }
        if content_type:
            headers["Content-Type"] = content_type
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            connection.request(method, f"/admin/{path}", body or None, headers)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        for line in response.headers.get_all("Set-Cookie") or []:
            self._cookies |= {name: morsel.value for name, morsel in SimpleCookie(line).items()}
        return Page(response.status, text, response.headers.get("Location", ""))
