"""batchcore's own connections, opened from connection parameters as libpq would."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import stat
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

from batchcore.errors import DatabaseError
from batchcore.pg.conninfo import Host, home, resolved, wrong
from batchcore.pg.errors import driver_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_CANNOT_CONNECT_NOW: Final = "57P03"
_INVALID_PASSWORD: Final = "28P01"  # noqa: S105  # an SQLSTATE
_NO_PASSWORD: Final = "no password was given, in the URL, in PGPASSWORD or in a passfile"  # noqa: S105  # a sentence
_ANOTHER: Final = "no host has what target_session_attrs asks for"
_PRIVATE: Final = stat.S_IRWXG | stat.S_IRWXO
_SOCKET_OPTIONS: Final = (
    ("keepalives_idle", ("TCP_KEEPIDLE", "TCP_KEEPALIVE")),
    ("keepalives_interval", ("TCP_KEEPINTVL",)),
    ("keepalives_count", ("TCP_KEEPCNT",)),
    ("tcp_user_timeout", ("TCP_USER_TIMEOUT",)),
)


class Connector:
    """Opens connections to the servers that a URL and its environment name."""

    def __init__(self, url: str) -> None:
        """Resolve the URL as libpq does, see `resolved`, and load certificates and keys."""
        self.info = resolved(url)
        values = self.info.values
        self._mode = values.get("sslmode", "prefer")
        if values.get("sslrootcert") == "system":
            self._mode = values.get("sslmode", "verify-full")
            if self._mode != "verify-full":
                raise wrong("sslrootcert=system takes no sslmode but verify-full")
        self._balances = values.get("load_balance_hosts") == "random"
        self._direct = values.get("sslnegotiation") == "direct"
        if self._direct and self._mode in {"disable", "allow", "prefer"}:
            raise wrong("sslnegotiation=direct takes sslmode require, verify-ca or verify-full")
        self._kerberos = {name: values[name] for name in ("krbsrvname", "gsslib") if name in values}
        for name in self._kerberos:
            if name not in signature(asyncpg.connect).parameters:
                raise wrong(f"`{name}` needs asyncpg 0.30, which has Kerberos")
        self._contexts = {
            host: _context(values, self._mode, host)
            for host in self.info.hosts
            if not host.is_socket and self._mode != "disable"
        }

    async def connect(self) -> asyncpg.Connection:
        """Return a connection to the first host that accepts one.

        As with libpq, a host is skipped if it cannot be reached, is starting or stopping, or does
        not match `target_session_attrs`; its answer to a password or certificate is final. The
        error names what happened with each host.
        """
        target = self.info.values.get("target_session_attrs", "any")
        targets = ("standby", "any") if target == "prefer-standby" else (target,)
        hosts, failures = list(self.info.hosts), list[DatabaseError]()
        for wanted in targets:
            failures.clear()
            if self._balances:
                random.shuffle(hosts)
            for host in hosts:
                for address in await self._addresses(host, failures):
                    raw = await self._connected(host, address, wanted, failures)
                    if raw is not None:
                        self._set_options(raw)
                        return raw
        raise _all_of(failures, failures[-1])

    async def _addresses(self, host: Host, failures: list[DatabaseError]) -> list[str]:
        """Return the address to connect to; a name stays a name, as Kerberos needs it."""
        if host.address or host.is_socket or not self._balances:
            return [host.address or host.name]
        loop = asyncio.get_running_loop()
        try:
            with driver_errors():
                found = await loop.getaddrinfo(host.name, host.port, type=socket.SOCK_STREAM)
        except DatabaseError as error:
            failures.append(_at(host, error))
            return []
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        random.shuffle(addresses)
        return addresses

    async def _connected(
        self, host: Host, address: str, target: str, failures: list[DatabaseError]
    ) -> asyncpg.Connection | None:
        """Return a connection, or None to try the next host; raise errors that are final."""
        context = self._contexts.get(host)
        attempts: list[ssl.SSLContext | None] = [context]
        if context is not None and self._mode in {"allow", "prefer"}:
            attempts = [None, context] if self._mode == "allow" else [context, None]
        refused: list[DatabaseError] = []
        for tls in attempts:
            try:
                with driver_errors():
                    return await self._attempt(host, address, target, tls)
            except DatabaseError as error:
                cause = error.__cause__
                if type(cause) is ConnectionError and (refused or tls is not attempts[-1]):
                    continue  # mostly a server without TLS: what the other way says counts
                is_other = isinstance(cause, asyncpg.TargetServerAttributeNotMatched)
                said = _at(host, DatabaseError(_ANOTHER) if is_other else error)
                if is_other or _is_elsewhere(cause) or error.sqlstate == _CANNOT_CONNECT_NOW:
                    failures.append(said)
                    return None
                refused.append(said)
                # The other way may work: with TLS, or without.
                if error.sqlstate is not None and not error.sqlstate.startswith("28"):
                    break
        raise _all_of(refused, refused[0])

    async def _attempt(
        self, host: Host, address: str, target: str, tls: ssl.SSLContext | None
    ) -> asyncpg.Connection:
        info = self.info
        try:
            async with asyncio.timeout(info.timeout_s) as limit:
                return await asyncpg.connect(
                    host=[address],
                    port=host.port,
                    user=info.user,
                    password=host.password,  # of "" the driver looks for none itself
                    database=info.database,
                    ssl=tls or False,
                    direct_tls=self._direct and tls is not None,
                    server_settings=dict(info.settings),
                    target_session_attrs=target,
                    timeout=None,
                    statement_cache_size=0,
                    **self._kerberos,
                )
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TimeoutError(f"no answer within {info.timeout_s:g} s") from error
        except UnicodeError as error:
            raise OSError("the name of the host is not a valid one") from error

    def _set_options(self, raw: asyncpg.Connection) -> None:
        """Set the TCP keepalive options of a connection; 0 is the default of the system."""
        known = raw._transport.get_extra_info("socket")  # noqa: SLF001  # no public name has it
        if known.family not in {socket.AF_INET, socket.AF_INET6}:
            return
        numbers = self.info.numbers
        with socket.fromfd(known.fileno(), known.family, known.type) as own:
            if numbers.get("keepalives", 1):
                own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, constants in _SOCKET_OPTIONS:
                option = next((getattr(socket, one, None) for one in constants), None)
                if option is not None and numbers.get(name, 0) > 0:
                    own.setsockopt(socket.IPPROTO_TCP, option, numbers[name])


def _all_of(errors: list[DatabaseError], main: DatabaseError) -> DatabaseError:
    """Return the most important of several errors, with the texts of all."""
    error = DatabaseError("; ".join(dict.fromkeys(map(str, errors))), main.sqlstate)
    error.__cause__ = main.__cause__
    return error


def _at(host: Host, error: DatabaseError) -> DatabaseError:
    """Return an error that names its server."""
    if host.is_socket:
        where = f'on socket "{host.name}/.s.PGSQL.{host.port}"'
    else:
        address = f" ({host.address})" if host.name and host.address else ""
        where = f'at "{host.name or host.address}"{address}, port {host.port}'
    text = f"connection to server {where} failed: {error}"
    if error.sqlstate == _INVALID_PASSWORD and not host.password:
        text = f"{text}: {_NO_PASSWORD}"
    return _all_of([DatabaseError(text)], error)


def _is_elsewhere(cause: BaseException | None) -> bool:
    """Return whether a server was not reached, rather than that it or its certificate refused."""
    if isinstance(cause, ssl.SSLError) or type(cause) is ConnectionError:  # the driver's, of TLS
        return False
    return isinstance(cause, OSError)


class _Context(ssl.SSLContext):
    """Names and checks a host, whatever address the connection goes to; None names none."""

    host: str | None = None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002  # as the standard library has it
        server_hostname: str | bytes | None = None,  # noqa: ARG002  # the address
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, self.host, session)


def _context(values: Mapping[str, str], mode: str, host: Host) -> _Context:
    """Return the TLS context for a host, set up as libpq sets up OpenSSL."""
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["postgresql"])
    named = values.get("sslsni", "1") == "1"
    context.host = (host.name or None) if named else None
    context.check_hostname = mode == "verify-full"
    if context.check_hostname and not host.name:
        raise wrong("sslmode=verify-full checks the name of a host: give `host` with `hostaddr`")
    if context.check_hostname and not named:
        raise wrong("sslmode=verify-full takes no sslsni=0: the driver checks what it names")
    _set_versions(context, values)
    if _trusts(context, values, mode):
        context.verify_mode = ssl.CERT_REQUIRED
        _revokes(context, values)
    else:
        context.verify_mode = ssl.CERT_NONE
    if values.get("sslcertmode") != "disable":
        _show_certificate(context, values)
    return context


def _set_versions(context: ssl.SSLContext, values: Mapping[str, str]) -> None:
    least, most = (
        ssl.TLSVersion[values[name].replace(".", "_")] if name in values else None
        for name in ("ssl_min_protocol_version", "ssl_max_protocol_version")
    )
    context.minimum_version = ssl.TLSVersion.TLSv1_2 if least is None else least
    if most is not None:
        if most < context.minimum_version:
            raise wrong("ssl_max_protocol_version is below ssl_min_protocol_version")
        context.maximum_version = most


def _trusts(context: ssl.SSLContext, values: Mapping[str, str], mode: str) -> bool:
    """Load the certificates to trust; return whether there are any."""
    given = values.get("sslrootcert")
    if given == "system":
        context.set_default_verify_paths()
        return True
    file = Path(given) if given else _own_file("root.crt")
    if file.exists():
        _load("sslrootcert", partial(context.load_verify_locations, cafile=file), file)
        return True
    if mode.startswith("verify"):
        raise wrong(
            f"sslmode={mode} needs the certificates to trust, but {file} is not there:"
            " name a file in sslrootcert, or sslrootcert=system"
        )
    return False


def _revokes(context: ssl.SSLContext, values: Mapping[str, str]) -> None:
    """Load the revocation lists, if there are any."""
    file, folder = values.get("sslcrl"), values.get("sslcrldir")
    if not file and not folder:
        own = _own_file("root.crl")
        if not own.exists():
            return
        file = str(own)
    name = "sslcrl" if file else "sslcrldir"
    load = partial(context.load_verify_locations, cafile=file, capath=folder)
    _load(name, load, file or folder)
    if folder and not Path(folder).is_dir():
        raise wrong(f"sslcrldir: {folder} is not a folder")
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _show_certificate(context: ssl.SSLContext, values: Mapping[str, str]) -> None:
    """Load the certificate of the client, if there is one."""
    given = values.get("sslcert")
    certificate = Path(given) if given else _own_file("postgresql.crt")
    if not certificate.exists():
        if given:
            raise wrong(f"sslcert: {given} is not there")
        return
    key = Path(values["sslkey"]) if "sslkey" in values else _own_file("postgresql.key")
    if not key.is_file():
        raise wrong(f"sslkey: {certificate} is there, but its key {key} is not")
    found = key.stat()
    # A key of root may be readable for its group, as in libpq.
    allowed = stat.S_IRGRP if found.st_uid == 0 else 0
    if found.st_mode & _PRIVATE & ~allowed:
        raise wrong(f"sslkey: others may read {key}: chmod 600")
    password = values.get("sslpassword", "")
    load = partial(context.load_cert_chain, certificate, key, lambda: password)
    _load("sslcert and sslkey", load, f"{certificate} with {key}")


def _load(parameter: str, load: Callable[[], None], file: object) -> None:
    try:
        load()
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
        raise wrong(f"{parameter}: {file} cannot be used: {reason or error}") from None


def _own_file(name: str) -> Path:
    return home() / ".postgresql" / name
