"""The door of the API: who is let in, and how a browser gets in.

Programs send a key with each request. A browser is sent to a form, sends a key once and gets a cookie, which
opens what may be looked at. Without keys whoever is on this machine is let in.
"""

import os
from typing import Any
from urllib.parse import urlencode

from flask import Response, request

from attrition import keys, problems, sessions, site
from attrition.config import Config
from attrition.keys import Key
from attrition.limits import Limits
from attrition.openapi import Route
from attrition.problems import Refused
from attrition.sessions import Sessions
from attrition.site import Site, Visitor
from attrition.watching import Noted

LOOKS = ("GET", "HEAD")
LARGEST_LOGIN = 8192
COOKIE = "cookie"


class Door:
    """The keys of one server, its cookies, and what is left of each minute."""

    def __init__(self, config: Config, pages: Site, paths: frozenset[str]) -> None:
        self._keys = keys.known(os.environ.get(config.settings.api.keys_env, ""))
        self._limits = Limits(config.settings.api.per_minute, len(self._keys))
        # a cookie opens what may be looked at
        self._readers = [key for key in self._keys if key.may(keys.READ)]
        self._sessions = Sessions([key.digest for key in self._readers])
        self._pages, self._paths = pages, paths

    def let_in(self, route: Route | None, noted: Noted) -> Response | None:
        """Key or cookie, role, share of the minute: None, Refused, or the way to the login."""
        role = route.role if route else keys.ANY
        if role == keys.OPEN:
            return None
        environ = request.environ
        address = environ.get("REMOTE_ADDR", "")
        if not self._keys:
            keys.check_host(environ.get("HTTP_HOST"))
            self._limits.spend_address(address)
            return None
        authorization = environ.get("HTTP_AUTHORIZATION", "")
        if role == keys.LOGIN or not authorization and self._is_looking():
            self._limits.spend_address(address)
            return self._by_cookie(role, noted)
        noted.key = self._by_key(authorization, address, role).name
        return None

    def login(self) -> Response:
        """The form that asks for a key."""
        wanted = sessions.own_place(request.args.get("next", "/"))
        return self._form(wanted, "") if self._keys else _go_on(wanted)

    def enter(self) -> Response:
        """A cookie for a key, and on to the place wanted."""
        _check_form()
        wanted = sessions.own_place(request.form.get("next", "/"))
        key = keys.find(self._readers, os.fsencode(request.form.get("key", "")))
        if key is None:
            return self._form(wanted, "No such key may look at this. Check it, or ask who runs this server.")
        answer = _go_on(wanted)
        answer.set_cookie(
            sessions.COOKIE, self._sessions.begin(key.digest), max_age=sessions.SECONDS, **_only_here()
        )
        return answer

    def leave(self) -> Response:
        """The end of the cookie."""
        _check_form()
        answer = _go_on("/login")
        answer.delete_cookie(sessions.COOKIE, **_only_here())
        return answer

    def visitor(self) -> Visitor:
        """Who looks at a page."""
        logged_in = bool(self._keys) and self._is_logged_in()
        sees = logged_in or not self._keys or "Authorization" in request.headers
        return Visitor(sees, logged_in, self._paths)

    def for_browsers(self, route: Route | None, response: Response) -> Response:
        """A problem as a page, where a page is asked for or a form was sent."""
        is_page = request.method in LOOKS or (route is not None and route.role == keys.LOGIN)
        if not (response.mimetype == problems.MEDIA and is_page and site.is_browser(request)):
            return response
        problem = response.get_json()
        page = self._pages.refusal(response.status_code, problem["title"], problem["detail"], self.visitor())
        response.set_data(page.get_data())
        response.headers.update(page.headers)
        return response

    def _by_key(self, authorization: str, address: str, role: str) -> Key:
        try:
            key = keys.named(self._keys, authorization)
        except Refused:
            self._limits.spend_address(address)
            raise
        self._limits.spend_key(key.place)
        keys.check_role(key, role)
        return key

    def _by_cookie(self, role: str, noted: Noted) -> Response | None:
        if role == keys.LOGIN:
            return None
        if self._is_logged_in():
            noted.key = COOKIE
            return None
        return _go_on(f"/login?{urlencode({'next': site.wanted_place(request)})}")

    def _is_looking(self) -> bool:
        """Whether a cookie is enough: it comes by itself, so it opens only what changes nothing."""
        return request.method in LOOKS and (site.is_browser(request) or self._is_logged_in())

    def _is_logged_in(self) -> bool:
        cookie = request.cookies.get(sessions.COOKIE)
        return cookie is not None and self._sessions.knows(cookie)

    def _form(self, wanted: str, fault: str) -> Response:
        is_private = request.is_secure or keys.is_here(request.host)
        return self._pages.login(wanted, fault, self.visitor(), is_private)


def _check_form() -> None:
    """Refused where a form was not sent from a page of this server, or is larger than a key makes it."""
    request.max_content_length = LARGEST_LOGIN
    if not sessions.is_own_form(dict(request.headers), request.host):
        raise Refused(
            403, "This form was not sent from a page of this server. Open /login and send it there."
        )


def _only_here() -> dict[str, Any]:
    return {"httponly": True, "samesite": "Strict", "secure": request.is_secure}


def _go_on(place: str) -> Response:
    return Response(status=303, headers={"Location": place})
