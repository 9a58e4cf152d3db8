"""This module is the Globus login: who asks, and the token that is good now.

globus-sdk (`compute_nb.globus_app`) does the asking and the keeping; it is imported when a token is
needed. Tokens are asked for by anybody's thread, a person only by the thread that calls `sign_in`.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import os
import sqlite3
import sys
import threading
import types
from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from compute_nb import globus_app, trust
from compute_nb.bearer import checked, token_of
from compute_nb.config import ENVIRONMENT_VARIABLE, GLOBUS, Settings
from compute_nb.errors import AccessRefused, ComputeError, LoginWanted, ServiceUnreachable
from compute_nb.home import Home

if TYPE_CHECKING:
    from globus_sdk import GlobusApp
    from globus_sdk.gare import GlobusAuthorizationParameters

ID_VARIABLE = "GLOBUS_COMPUTE_CLIENT_ID"
SECRET_VARIABLE = "GLOBUS_COMPUTE_CLIENT_SECRET"

_AGAIN_HERE = "submit again where you can be asked, or `%compute login` first in this notebook"
_AGAIN = "log in by `compute-nb login`, or `%compute login` in a notebook"


class Login:
    """One Globus login; a `Bearer`. For any thread, one at a time: globus-sdk's apps know no threads.

    Args:
        home: Where the tokens are kept.
        app: A GlobusApp of the caller's own, with its own storage, instead of the configured login.
        environ: By default the process's.

    Raises:
        ValueError: A client secret is set and no client id.
    """

    def __init__(self, home: Home, app: GlobusApp | None = None, environ: Mapping[str, str] | None = None):
        environ = os.environ if environ is None else environ
        self._home = home
        self._client_id = environ.get(ID_VARIABLE, "").strip()
        self._secret = environ.get(SECRET_VARIABLE, "").strip()
        if app is None and self._secret and not self._client_id:
            raise ValueError(f"{SECRET_VARIABLE} is set and {ID_VARIABLE} is not: set both or none")
        self._environment = environ.get(ENVIRONMENT_VARIABLE) or "production"
        self._given = app
        self._app = app
        self._authorizer: Any = None
        self._ended = False
        self._wanted: GlobusAuthorizationParameters | None = None
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"Login<{self._who()}>"

    @classmethod
    def of(cls, home: Home) -> Login:
        """Returns the configured login of a home, the same one each time while the environment stays."""
        return _logins.get(cls(home))

    @property
    def key(self) -> Hashable:
        """Equal for two logins as the same user."""
        if self._given is not None:
            return "app", id(self._given)
        return self._home.root, self._namespace, self._secret

    @property
    def there(self) -> bool:
        """True if a token can be had without asking a person: so it is no surprise to use it."""
        if self._given is not None or self._authorizer is not None or self._secret:
            return True
        return globus_app.has_tokens(self._home, self._namespace)

    def sign_in(self, *, force: bool = False) -> None:
        """Makes sure that there is a token; asks the person if need be, on the calling thread.

        Args:
            force: True: asks even if there is a token.

        Raises:
            AccessRefused: There is none and nobody can be asked, or Globus refuses.
            ServiceUnreachable: Globus does not answer.
            ComputeError: globus-sdk is not installed.
        """
        with self._lock:
            again = force or self._ended or self._wanted is not None
            if self._authorizer is not None and not again:
                return
            with self._own_errors():
                app = self._open()
                if not globus_app.is_client(app) and (again or app.login_required()):
                    self._ask(app)
                self._authorizer = app.get_authorizer(globus_app.RESOURCE_SERVER)
                self._ended, self._wanted = False, None
                self._protect()

    def header(self) -> str:
        """Returns `Bearer <token>`, renewed if it is about to expire; raises as `Bearer.header`."""
        with self._lock, self._own_errors():
            if self._authorizer is None:
                app = self._open()
                if not globus_app.is_client(app) and app.login_required():
                    raise AccessRefused(f"nobody is logged in at Globus as {self._who()}: {_AGAIN}")
                self._authorizer = app.get_authorizer(globus_app.RESOURCE_SERVER)
            said = self._authorizer.get_authorization_header()
            return f"Bearer {checked(token_of(said or ''), 'the token of the Globus login')}"

    def renew(self, refused: str) -> bool:
        """True if there is another token than the one that got a 401, or one can be had."""
        with self._lock:
            if self._authorizer is None:
                return False
            if self.header() != refused:  # another thread has renewed it
                return True
            return bool(self._authorizer.handle_missing_authorization())

    def meet(self, refusal: Mapping[str, Any]) -> bool:
        """True if a client has got a token that meets what a service asks; raises as `Bearer.meet`.

        A person is asked for the same by the next `sign_in` of this process.
        """
        with self._lock, self._own_errors():
            app = self._open()
            wanted = globus_app.asked_by(refusal)
            if wanted is None:
                return False
            if not globus_app.is_client(app):
                self._wanted = wanted
                said = wanted.session_message or refusal.get("message") or refusal["code"]
                raise LoginWanted(f"the service asks for another login at Globus ({said}): {_AGAIN_HERE}")
            app.login(auth_params=wanted)
            self._authorizer = app.get_authorizer(globus_app.RESOURCE_SERVER)
            self._protect()
            return True

    def logout(self) -> str:
        """Has Globus revoke the tokens and forgets them here; returns what was done, as a line.

        Raises:
            ComputeError: globus-sdk is not installed, or the tokens can't be removed.
        """
        globus_app.import_sdk()
        import globus_sdk

        with self._lock, self._own_errors():
            app = self._open()
            self._authorizer, self._ended, self._wanted = None, False, None
            try:
                app.logout()
            except globus_sdk.GlobusError as error:
                for server in app.scope_requirements:
                    app.token_storage.token_storage.remove_token_data(server)
                kind = type(error).__name__
                return f"logged out here; Globus could not be told ({kind}), its tokens end by themselves"
            finally:
                self.close()  # the app remembers who it was, and would let nobody else in
        return f"logged out: {self._who()}"

    def close(self) -> None:
        """Closes what globus-sdk has open; it opens again when it is used."""
        with self._lock:
            if self._app is not None and self._given is None:
                self._app.close()
                self._app.token_storage.close()
                self._app = None
            self._authorizer = None

    # -- inside

    @property
    def _namespace(self) -> str:
        if self._secret:
            return f"clientprofile/{self._environment}/{self._client_id}"
        return f"user/{self._environment}"

    def _who(self) -> str:
        if self._given is not None:
            return f"app {self._given.app_name!r}"
        return f"client {self._client_id}" if self._secret else "a user"

    def _open(self) -> GlobusApp:
        if self._app is None:
            globus_app.import_sdk()
            self._app = self._make()
        if self._given is not None and globus_app.RESOURCE_SERVER not in self._app.scope_requirements:
            self._app.add_scope_requirements({globus_app.RESOURCE_SERVER: globus_app.SCOPE})
        return self._app

    def _make(self) -> GlobusApp:
        return globus_app.made(
            self._home,
            self._namespace,
            environment=self._environment,
            client_id=self._client_id,
            secret=self._secret,
        )

    def _ask(self, app: GlobusApp) -> None:
        if self._given is None and not somebody_answers():
            raise AccessRefused(
                f"Globus asks who you are, and nobody can answer here: run `compute-nb login` in a terminal "
                f"first, or set {ID_VARIABLE} and {SECRET_VARIABLE}"
            )
        try:
            app.login(auth_params=self._wanted, force=True)
        except (EOFError, NotImplementedError) as error:
            raise AccessRefused(
                "Globus asks who you are, and the question for the code got no answer: run "
                f"`compute-nb login` in a terminal first, or set {ID_VARIABLE} and {SECRET_VARIABLE}"
            ) from error

    def _protect(self) -> None:
        if self._given is None:
            globus_app.protect(self._home)

    @contextlib.contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Turns what globus-sdk raises into errors of ours."""
        try:
            yield
        except ComputeError:
            raise
        except sqlite3.Error as error:
            raise ComputeError(
                f"the Globus tokens in {self._home.globus_file} can't be read or written: {error}; if it "
                "stays so, delete that file and log in again"
            ) from error
        except Exception as error:
            own = self._as_own(error)
            if own is None:
                raise
            raise own from error

    def _as_own(self, error: Exception) -> ComputeError | None:
        import globus_sdk
        from globus_sdk.token_storage.validating_token_storage import IdentityMismatchError

        if isinstance(error, globus_sdk.NetworkError):
            place = f"Globus Auth ({globus_app.auth_url(self._environment)})"
            refused = trust.explain(error, place)
            if refused is not None:
                return ComputeError(refused)
            return ServiceUnreachable(f"{place} does not answer: {error}")
        if isinstance(error, globus_sdk.AuthAPIError):
            said = globus_app.said(error)
            if error.http_status >= 500 or error.http_status == 429:
                return ServiceUnreachable(f"Globus Auth answers {error.http_status}: {said}")
            self._authorizer, self._ended = None, True
            mend = f"check {ID_VARIABLE} and {SECRET_VARIABLE}" if self._secret else _AGAIN
            return AccessRefused(f"Globus Auth refused {self._who()} ({said}): {mend}")
        if isinstance(error, IdentityMismatchError):
            return AccessRefused("somebody else is logged in at Globus here: `compute-nb logout` first")
        if isinstance(error, globus_sdk.GlobusError):
            return AccessRefused(f"the Globus login failed: {error}; {_AGAIN}")
        return None


def login(service: str = GLOBUS, *, force: bool = False) -> str:
    """Logs in at Globus for a configured service, asking the person if need be; returns a line that says so.

    This is what `compute-nb login` and `%compute login` call.

    Args:
        force: True: even if somebody is logged in.

    Raises:
        ComputeError: It can't be done, or the service takes no Globus login.
        ValueError: A client secret is set and no client id.
    """
    found = _login_for(service)
    found.sign_in(force=force)
    return f"logged in at Globus: {found._who()}; tokens are in {found._home.globus_file}"


def logout(service: str = GLOBUS) -> str:
    """Undoes `login`; returns a line that says so, raises as that."""
    found = _login_for(service)
    return found.logout() if found.there else "nobody was logged in at Globus"


def somebody_answers() -> bool:
    """True if `input()` may find a person.

    A kernel has put its own in place of Python's; without a person at its front end that one raises.
    """
    if not isinstance(builtins.input, types.BuiltinFunctionType):
        return True
    return sys.stdin is not None and sys.stdin.isatty()


def _login_for(service: str) -> Login:
    home = Home.default()
    settings = Settings.load(home).service(service)
    if not settings.needs_login:
        raise ComputeError(f"service {service!r} takes a token, not a Globus login")
    return Login.of(home)


class _Logins:
    """The logins of this process, by what tells them apart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_key: dict[Hashable, Login] = {}

    def get(self, wanted: Login) -> Login:
        with self._lock:
            if not self._by_key:
                atexit.register(self.close)
            return self._by_key.setdefault(wanted.key, wanted)

    def close(self) -> None:
        atexit.unregister(self.close)
        with self._lock:
            logins = list(self._by_key.values())
            self._by_key.clear()
        for one in logins:
            one.close()


_logins = _Logins()
# SQLite connections and locks of the parent are not for a child.
os.register_at_fork(after_in_child=_logins.__init__)  # type: ignore[misc]
