"""What stands before every route: who may ask, by which name, and how much they may send.

A page on another site can make a browser send requests here, by a name that it lets resolve to
127.0.0.1 (DNS rebinding) or by plain cross-site requests; hence the checks of Host and Origin.
"""

import hmac
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = ("localhost", "127.0.0.1", "[::1]")
BODY_BYTES = 2 * 2**20
COOKIE = "tuti_token"


def failure(
    status: int, message: str, hint: str = "", *, code: str | None = None, param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An error as OpenAI's clients read it; the remedy is at its end."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    kind = {401: "authentication_error", 429: "rate_limit_error"}.get(status, kind)
    text = f"{message}; hint: {hint}" if hint else message
    text = text.encode("utf-8", "replace").decode()  # JSON may bring lone surrogates
    error = {"message": text, "type": kind, "param": param, "code": code}
    return JSONResponse({"error": error}, status, headers)


class Refused(HTTPException):
    """Ends a request with this answer."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.status_code)
        self.answer = answer


class Guard:
    """ASGI middleware: Host, Origin, token, size of the body."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = (), token: str = "") -> None:
        self.app, self.token = app, token
        self.hosts = {name.lower() for name in (*LOCAL, *hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope["type"] in ("http", "websocket")  # else the server begins or ends
        refusal = self._refusal(HTTPConnection(scope)) if asked else None
        if refusal is not None and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # a policy is violated
        else:
            await (refusal or self.app)(scope, self._measured(receive), send)

    def _refusal(self, asked: HTTPConnection) -> Response | None:
        host = asked.headers.get("host", "").lower()
        if _name(host) not in self.hosts:
            return failure(
                403, f"this server does not answer to the name {_name(host)!r}",
                f"use http://127.0.0.1, or start it with --names {_name(host) or 'NAME'}",
                code="unknown_host",
            )
        origin = asked.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host:
            return failure(
                403, f"a page of {origin} may not use this server",
                "open the page that this server shows, or call it from a program", code="foreign_origin",
            )
        if not self.token:
            return None
        given = asked.query_params.get("token", "")
        if asked.scope["type"] == "http" and self._right(given):
            # A browser came in by the printed address: the cookie lets it stay.
            answer = RedirectResponse(quote(asked.scope["path"]) or "/", status_code=303)
            answer.set_cookie(COOKIE, given, httponly=True, samesite="strict")
            return answer
        kind, _, bearer = asked.headers.get("authorization", "").partition(" ")
        told = bearer.strip() if kind.lower() == "bearer" else ""
        if self._right(told) or self._right(asked.cookies.get(COOKIE, "")):
            return None
        return failure(
            401, "this server asks for its token",
            "send Authorization: Bearer TOKEN, as the server printed it when it started",
            code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"},
        )

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def _measured(self, receive: Receive) -> Receive:
        """Counts the body as it comes, whatever its headers claim."""
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > BODY_BYTES:
                what = f"the request has more than {BODY_BYTES:,} bytes"
                raise Refused(failure(413, what, "send a shorter prompt"))
            return message

        return counted


def _name(host: str) -> str:
    """The host without its port: "[::1]:8000" → "[::1]"."""
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() else host
