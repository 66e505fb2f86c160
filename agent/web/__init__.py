"""Can whoever stands at the till see how it is? The status page: opened, kept open, closed; all in the loop's thread.

Nothing of it is imported before a page is opened, and nothing wakes while nobody looks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from agent.config.secret import CannotReadSecret, resolve_secret
from agent.config.web import Web, WebTls, address
from agent.web.passing import Passing
from agent.web.sight import Sight

if TYPE_CHECKING:
    import ssl

    from agent.web.app import App
    from agent.web.front import Server
    from agent.web.guard import Guard

__all__ = ["Page", "Sight"]

AGAIN_S = 30.0
"""How often a page that cannot be opened is tried again, and certificates are looked at for a renewal."""


GRACE_S = 1.0
"""What is being answered gets so long when the page moves."""


class Page:
    """The status page. No method raises: what is the matter is in `problems`, and the agent watches on."""

    def __init__(self, settings: Web, sight: Sight, state: str | None, env: Mapping[str, str] = os.environ) -> None:
        self.sight = sight
        self._settings, self._state, self._env = settings, state, env
        self._server: Server | None = None
        self._app: App | None = None
        self._problem = ""
        self._tls_problem = ""
        self._reopened = Passing()
        self._certificates: tuple[object, ...] = ()
        self._again_at = 0.0

    def start(self) -> None:
        """Open it, where one is wanted."""
        self._problem = self._tls_problem = ""
        if not self._settings.listen:
            return
        try:
            self._open()
        except CannotReadSecret as error:
            self._problem = f"no status page: {error}"
        except OSError as error:
            self._problem = f"no status page: cannot listen on {self._settings.listen}: {_cause(error)}"
        except RuntimeError as error:  # the limit of threads, of this service or of the PC
            self._problem = f"no status page: cannot start its threads: {error}"

    def _open(self) -> None:
        from agent.web.app import App
        from agent.web.front import Server, hush
        from agent.web.past import Past

        guard, context = self._guard(), None
        if self._settings.tls is not None:
            self._certificates = _marks(self._settings.tls)
            context = self._guarded_context(self._settings.tls)
            if context is None:
                return
        hush()
        app = App(self.sight, guard, Past(self._state))
        self._server = Server(app, *address(self._settings.listen), context)
        self._app = app

    def _guard(self) -> Guard:
        from agent.web.guard import Guard

        token = None if self._settings.token is None else resolve_secret(self._settings.token, self._env)
        return Guard(*address(self._settings.listen), self._settings.hosts, token)

    def _guarded_context(self, tls: WebTls) -> ssl.SSLContext | None:
        try:
            return _context(tls)
        except OSError as error:  # ssl.SSLError is one
            self._problem = f"no status page: cannot use its certificate: {_cause(error)}"
            return None

    def tend(self, now: float) -> None:
        """The loop comes round: what could not be opened is tried again, a renewed certificate is taken."""
        if now < self._again_at:
            return
        self._again_at = now + AGAIN_S
        if not self._settings.listen:
            return
        if self._server is None:
            self.start()
        elif not self._server.alive:
            cause = self._server.died
            self.stop(GRACE_S)
            self.start()
            if self._server is not None:
                self._reopened.say(f"the status page failed and was opened again: {cause}")
        else:
            self._renew()

    def _renew(self) -> None:
        """A certificate that was renewed is taken; one that is no good leaves the old one in use."""
        tls, server = self._settings.tls, self._server
        if tls is None or server is None or (marks := _marks(tls)) == self._certificates:
            return
        try:
            server.context = _context(tls)
        except OSError as error:
            self._tls_problem = f"the status page keeps its old certificate, the new one is no good: {_cause(error)}"
        else:
            self._certificates, self._tls_problem = marks, ""

    def problems(self) -> list[str]:
        """What is the matter with it, one sentence each."""
        inside = "" if self._app is None else self._app.trouble.told
        reopened = "" if self._server is None else self._reopened.told
        return [each for each in (self._problem, self._tls_problem, reopened, inside) if each]

    def arrange(self, settings: Web) -> None:
        """A new configuration, or new files behind the old one. Who looks is not disturbed if the place is the same."""
        same_place = settings.listen == self._settings.listen and settings.tls == self._settings.tls
        self._settings = settings
        self._reopened.forget()
        if self._server is not None and self._app is not None and same_place and self._server.alive:
            try:
                self._app.guard = self._guard()
            except CannotReadSecret as error:
                self.stop(GRACE_S)
                self._problem = f"no status page: {error}"
            else:
                self._app.trouble.forget()
                self._renew()
            return
        self.stop(GRACE_S)
        self.start()

    def stop(self, grace: float) -> None:
        """Close it; what is being answered has `grace` seconds."""
        server, self._server, self._app = self._server, None, None
        if server is not None:
            server.stop(grace)


def _context(tls: WebTls) -> ssl.SSLContext:
    """Raises OSError for files that are not there or no good."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    no_password: Callable[[], str] = lambda: ""  # noqa: E731 -- else OpenSSL asks on the terminal
    context.load_cert_chain(tls.certificate_file, tls.key_file, no_password)
    if tls.client_ca_file is not None:
        context.load_verify_locations(tls.client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _marks(tls: WebTls) -> tuple[object, ...]:
    """What is different once one of the files was renewed."""
    files = (tls.certificate_file, tls.key_file, tls.client_ca_file)
    return tuple(_mark(Path(each)) for each in files if each is not None)


def _mark(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _cause(error: OSError) -> str:
    text = error.strerror or str(error)
    return f"{text}: {error.filename}" if error.filename else text
