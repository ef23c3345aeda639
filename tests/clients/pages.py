"""The authority's pages without a browser: follows redirects, keeps cookies, fills in the forms. As pages.mjs does."""

import html
import re
from urllib.parse import parse_qsl, urljoin, urlsplit

import requests


class Left:
    """The request with which the browser leaves the authority."""

    def __init__(self, url, method, parameters):
        self.url, self.method, self.parameters = url, method, parameters


class Page:
    """A page that leads nowhere."""

    def __init__(self, status, text):
        self.status, self.text = status, text


class Pages:
    def __init__(self, origin, answers):
        self.origin, self.answers, self.shown = origin, answers, []
        self.session = requests.Session()

    def go(self, url):
        self.shown = []
        method, body = "GET", None
        # As many steps as a sign-in with all its pages could take, and some.
        for _ in range(10):
            parts = urlsplit(url)
            if f"{parts.scheme}://{parts.netloc}" != self.origin:
                return Left(url, method, dict(body or parse_qsl(parts.query)))
            answer = self.session.request(method, url, data=body, allow_redirects=False, timeout=30)
            if answer.status_code in (302, 303):
                url, method, body = urljoin(url, answer.headers["location"]), "GET", None
                continue
            action = re.search(r'<form method="post" action="([^"]*)"', answer.text)
            if not answer.ok or not action:
                return Page(answer.status_code, answer.text)
            url, method, body = urljoin(url, html.unescape(action[1])), "POST", self._fill(action[1], answer.text)
        raise AssertionError(f"no end: {self.shown}")

    def _fill(self, action, text):
        hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', text)
        fields = [(html.unescape(name), html.unescape(value)) for name, value in hidden]
        page = action.rsplit("/", 1)[-1]
        typed = {
            "sign-in": ("username", "password"),
            "mfa": ("code",),
            "consent": ("accept",),
            "deviceauth": ("user_code",),
            "device": ("continue",),
        }
        if not action.startswith("/") or page not in typed:
            return fields
        self.shown.append(page)
        if self.answers.get("cancel"):
            return [*fields, ("cancel", "1")]
        return [*fields, *((name, self.answers.get(name, "1")) for name in typed[page])]
