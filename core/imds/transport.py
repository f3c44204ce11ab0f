# SPDX-License-Identifier: Apache-2.0
"""HTTP by requests over one kept-alive connection. Only imported when the first request is made.

No proxies, no redirects, no cookies, no compression, no retries in here; bodies are bounded and
must come with their length. Everything that waits or counts does so in :mod:`bounded_socket`.
Works with requests 2.28 on urllib3 1.26 (Debian 12) to requests 2.34 on urllib3 2.8.
"""

from collections.abc import Mapping
from typing import Any

from ec2net.core.imds import lean

lean.import_requests()

from http.cookiejar import DefaultCookiePolicy

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from ec2net.core.imds.answer import Answer, BadAnswer, TransportError, whole_number
from ec2net.core.imds.bounded_socket import BODY_LIMIT, BoundedSocket, connect
from ec2net.core.model.errors import Ec2netError
from ec2net.core.runtime.deadline import Deadline


class Transport:
    """One connection to one candidate, opened again by itself when it was closed."""

    def __init__(self, connected: BoundedSocket, *, user_agent: str) -> None:
        """Take over ``connected`` (a race's winner) as the first connection."""
        self.candidate = connected.candidate
        self._ready: BoundedSocket | None = connected
        self._current = connected
        self._deadline = connected.deadline
        self._base = f"http://{self.candidate.endpoint}/"
        self._pool = _Pool(
            str(self.candidate.endpoint.address),
            self.candidate.endpoint.port,
            maxsize=1,
            block=False,
            retries=False,
            transport=self,
        )
        self._session = _Session()
        self._session.mount("http://", _Adapter(self._pool))
        # Prepared once and copied: preparing costs more than the rest of a request.
        self._template = requests.Request(
            "GET",
            self._base,
            headers={"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"},
        ).prepare()

    def close(self) -> None:
        if self._ready is not None:
            self._ready.close()
            self._ready = None
        self._session.close()
        self._pool.close()

    def request(
        self, method: str, path: str, headers: Mapping[str, str], deadline: Deadline
    ) -> Answer:
        """One exchange. Raises ``TransportError``, ``DeadlineExceeded``, interruptions."""
        self._deadline = deadline
        self._current.begin(deadline)
        request = self._template.copy()
        request.method = method
        request.url = self._base + path
        request.headers.update(headers)
        if method == "PUT":
            request.headers["Content-Length"] = "0"
        try:
            response = self._session.send(
                request, stream=True, allow_redirects=False, proxies={}, timeout=None
            )
            with response:  # closes the connection too, unless all was read
                return _read(response)
        except (TransportError, Ec2netError):  # raised by ec2net's socket: also an interruption
            raise
        except Exception as error:
            # Not only the libraries' own errors: a chunk of -8 bytes is a ValueError of http.client.
            raise TransportError(_plain(error)) from error

    def open(self) -> BoundedSocket:
        """For the pool: the socket of a new connection."""
        connection, self._ready = self._ready, None
        if connection is None:
            connection = connect(self.candidate, self._deadline)
        connection.begin(self._deadline)
        self._current = connection
        return connection


def _read(response: requests.Response) -> Answer:
    headers, status = response.headers, response.status_code
    size = whole_number(headers.get("Content-Length", ""), BODY_LIMIT + 1)
    body = b""
    if status == 200:
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            raise BadAnswer("a compressed answer, which ec2net did not ask for")
        if size is None and headers.get("Transfer-Encoding", "").lower() != "chunked":
            raise BadAnswer(
                "an answer without its length, so ec2net cannot know whether it is complete"
            )
        if size is None or size <= BODY_LIMIT:
            body = response.raw.read(BODY_LIMIT + 1, decode_content=False)
        if max(size or 0, len(body)) > BODY_LIMIT:
            raise BadAnswer(f"the answer is longer than {BODY_LIMIT} bytes")
        # urllib3 1.26 and http.client take a short body for a whole one.
        if size is not None and len(body) != size:
            raise TransportError(f"the answer ended after {len(body)} of {size} bytes")
    elif size is not None and size <= BODY_LIMIT:
        response.raw.read(size + 1, decode_content=False)  # otherwise the connection is not kept
    return Answer(
        status,
        body,
        retry_after=headers.get("Retry-After", ""),
        token_ttl=headers.get("X-aws-ec2-metadata-token-ttl-seconds", ""),
    )


def _plain(error: BaseException) -> str:
    """The innermost cause in a few words; never the request's headers."""
    while not error.__suppress_context__ or error.__cause__ is not None:
        if (inner := error.__cause__ or error.__context__) is None:
            break
        error = inner
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return repr(text[:100]) if not text.isprintable() else text[:100]


class _Connection(HTTPConnection):
    def __init__(self, *args: Any, transport: Transport, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._transport = transport

    def _new_conn(self) -> BoundedSocket:
        return self._transport.open()


class _Pool(HTTPConnectionPool):
    """Hands ``transport`` to its connections (urllib3 passes unknown keywords on to them)."""

    ConnectionCls = _Connection


class _Adapter(HTTPAdapter):
    """One pool for whatever is asked: no look-up by URL, no proxy managers."""

    def __init__(self, pool: _Pool) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        self._pool = pool

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> _Pool:
        return self._pool

    def get_connection(self, *_: Any, **__: Any) -> _Pool:
        """Before requests 2.32."""
        return self._pool


class _Session(requests.Session):
    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False  # no proxies, no .netrc
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None: else requests reads a redirect's body, of any size, to prepare the next request."""
        return None
