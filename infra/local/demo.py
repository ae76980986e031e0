"""Serves the demo page on loopback, with the stack's addresses and tokens to try it with."""

import json
import mimetypes
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dev_token import mint
from ports import HOST

MAX_BODY = 4096
MAX_SUBJECT = 256


class Demo:
    """The server; `url` is where the page is."""

    def __init__(self, page: Path, port: int):
        self._server = ThreadingHTTPServer((HOST, port), Handler)
        self._server.daemon_threads = True
        self._server.page = page.resolve()
        self._server.secret = None
        self._server.websocket_url = None
        self.url = f"http://{HOST}:{self._server.server_address[1]}/"

    def start(self, websocket_url: str, secret: Callable[[], bytes] | None) -> None:
        """Serves from now on. `secret` reads the secret of tokens, which may be rotated meanwhile. None: the page gets
        none, because the stack takes only its issuer's tokens."""
        self._server.secret = secret
        self._server.websocket_url = websocket_url
        threading.Thread(target=self._server.serve_forever, name="demo", daemon=True).start()

    def stop(self) -> None:
        if self._server.websocket_url is not None:  # shutdown() waits for a loop that must have begun.
            self._server.shutdown()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if not self._is_for_us():
            return
        path = urlsplit(self.path).path
        if path == "/config.json":
            self._answer_json({"websocketUrl": self.server.websocket_url, "tokenUrl": "/token"})
        else:
            self._answer_file(unquote(path))

    def do_POST(self) -> None:
        if not self._is_for_us():
            return
        if urlsplit(self.path).path != "/token":
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")
            return
        # Other sites can make a browser post here, but not with this content type, unless we allowed it.
        if self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
            return
        if self.server.secret is None:
            self._refuse(HTTPStatus.NOT_FOUND, "this stack takes no tokens but those of its issuer")
            return
        subject = self._subject()
        if subject is None:
            self._refuse(HTTPStatus.BAD_REQUEST, f'send {{"sub": "alice"}}, at most {MAX_SUBJECT} bytes')
        else:
            self._answer_json({"token": mint(self.server.secret(), subject)})

    def _is_for_us(self) -> bool:
        """Refuses requests for other hosts: any page whose name resolves to loopback could have tokens otherwise."""
        port = self.server.server_address[1]
        if self.headers.get("Host") in (f"{HOST}:{port}", f"localhost:{port}"):
            return True
        self._refuse(HTTPStatus.MISDIRECTED_REQUEST, f"this is http://{HOST}:{port}/")
        return False

    def _subject(self) -> str | None:
        try:
            length = int(self.headers.get("Content-Length", ""))
            if not 0 < length <= MAX_BODY:
                return None
            subject = json.loads(self.rfile.read(length))["sub"]
        except (ValueError, KeyError, TypeError):
            return None
        if not isinstance(subject, str) or not 0 < len(subject.encode()) <= MAX_SUBJECT:
            return None
        return subject

    def _answer_file(self, path: str) -> None:
        page = self.server.page
        file = (page / path.lstrip("/")).resolve()
        if file == page:
            file = page / "index.html"
        if page not in file.parents or not file.is_file():
            reason = "no such page" if page.is_dir() else "the demo page is not built: make local builds it"
            self._refuse(HTTPStatus.NOT_FOUND, reason)
            return
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        self._answer(HTTPStatus.OK, kind, file.read_bytes())

    def _answer_json(self, value: dict) -> None:
        self._answer(HTTPStatus.OK, "application/json", json.dumps(value).encode())

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self.close_connection = True  # A body may be left unread.
        self._answer(status, "text/plain; charset=utf-8", f"{reason}\n".encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        """Keeps the terminal for what matters."""
