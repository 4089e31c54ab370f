"""Connection parameters as libpq finds them: in a URL, a service file, the environment, a passfile.

asyncpg reads URLs and variables too, but knows only some of the parameters, sends the others to the
server as settings, and treats some differently. So it gets everything explicitly: `resolved`
returns host, port, user, password and TLS for each attempt.
"""

from __future__ import annotations

import logging
import os
import pwd
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from batchcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

log: Final = logging.getLogger("batchcore")

URL_SCHEMES: Final = ("postgresql", "postgres", "postgresql+asyncpg")

APPLICATION_NAME: Final = "batchcore"
"""The application name in `pg_stat_activity`, unless the caller gives one."""

PATIENCE_S: Final = 60.0
"""Seconds that a host may take without a `connect_timeout`; libpq would wait for ever."""

_ESCAPES: Final = (
    "the database URL has no valid port: special characters of a password must be written as %XX"
)
_PERCENT: Final = (
    "in the database URL a `%` is not followed by the two hex digits of a character: a `%` itself"
    " is written as %25"
)
_NO_LIST: Final = (
    "the parameters of the database URL are not a list of name=value: special characters must be"
    " written as %XX"
)
_IN_URL: Final = "`{}` in the database URL"
_URL: Final = re.compile(
    r"(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?(?P<hosts>[^/?]*)(?:/(?P<dbname>[^?]*))?"
    r"(?:\?(?P<query>.*))?",
    re.DOTALL,
)
_HOST: Final = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]*))(?::(.*))?")
_PASSFILE_PART: Final = re.compile(r"((?:\\.|[^\\:])*)(?::|$)")
_BAD_PERCENT: Final = re.compile(r"%(?:00|(?![0-9A-Fa-f]{2}))")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A connection parameter of libpq."""

    variable: str = ""  # the environment variable with the same meaning
    refused: str = ""  # why it is refused; "" if it works as in psql
    allowed: tuple[str, ...] = ()  # values that are accepted all the same
    choices: tuple[str, ...] = ()
    is_number: bool = False


_DRIVER: Final = "asyncpg, which connects, does not do this"
_OFF: Final = ("0", "false", "off", "no")
_OAUTH: Final = f"{_DRIVER}: use another way to authenticate"
_KEYS: Final = f"{_DRIVER}: give the password"
_TLS_VERSIONS: Final = ("TLSv1.2", "TLSv1.3")

PARAMETERS: Final[Mapping[str, Parameter]] = {
    "host": Parameter("PGHOST"),
    "hostaddr": Parameter("PGHOSTADDR"),
    "port": Parameter("PGPORT"),
    "dbname": Parameter("PGDATABASE"),
    "user": Parameter("PGUSER"),
    "password": Parameter("PGPASSWORD"),
    "passfile": Parameter("PGPASSFILE"),
    "require_auth": Parameter(
        "PGREQUIREAUTH", f"{_DRIVER}: let pg_hba.conf ask for it, and use sslmode=verify-full"
    ),
    "channel_binding": Parameter(
        "PGCHANNELBINDING", f"{_DRIVER}: use sslmode=verify-full", ("disable", "prefer")
    ),
    "connect_timeout": Parameter("PGCONNECT_TIMEOUT", is_number=True),
    "client_encoding": Parameter(
        "PGCLIENTENCODING",
        "asyncpg, which connects, speaks UTF8 with every database: leave it out",
        ("UTF8", "UTF-8", "UNICODE", "auto"),
    ),
    "options": Parameter("PGOPTIONS"),
    "application_name": Parameter("PGAPPNAME"),
    "fallback_application_name": Parameter(),
    "keepalives": Parameter(is_number=True),
    "keepalives_idle": Parameter(is_number=True),
    "keepalives_interval": Parameter(is_number=True),
    "keepalives_count": Parameter(is_number=True),
    "tcp_user_timeout": Parameter(is_number=True),
    "replication": Parameter("", "a run reads tables, not the log of the server", _OFF),
    "gssencmode": Parameter(
        "PGGSSENCMODE", f"{_DRIVER}: use TLS, sslmode=verify-full", ("disable", "prefer")
    ),
    "sslmode": Parameter(
        "PGSSLMODE", choices=("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
    ),
    "sslnegotiation": Parameter("PGSSLNEGOTIATION", choices=("postgres", "direct")),
    "sslcompression": Parameter("PGSSLCOMPRESSION", "TLS is not compressed: leave it out", ("0",)),
    "sslcert": Parameter("PGSSLCERT"),
    "sslkey": Parameter("PGSSLKEY"),
    "sslkeylogfile": Parameter("", "keys of TLS are not written to files: leave it out"),
    "sslpassword": Parameter(),
    "sslcertmode": Parameter(
        "PGSSLCERTMODE",
        f"{_DRIVER}: let pg_hba.conf ask for the certificate (clientcert=verify-full)",
        ("disable", "allow"),
    ),
    "sslrootcert": Parameter("PGSSLROOTCERT"),
    "sslcrl": Parameter("PGSSLCRL"),
    "sslcrldir": Parameter("PGSSLCRLDIR"),
    "sslsni": Parameter("PGSSLSNI", choices=("0", "1")),
    "requirepeer": Parameter(
        "PGREQUIREPEER", f"{_DRIVER}: name a socket in a folder that only that user can write to"
    ),
    "ssl_min_protocol_version": Parameter("PGSSLMINPROTOCOLVERSION", choices=_TLS_VERSIONS),
    "ssl_max_protocol_version": Parameter("PGSSLMAXPROTOCOLVERSION", choices=_TLS_VERSIONS),
    "min_protocol_version": Parameter(
        "PGMINPROTOCOLVERSION", "asyncpg, which connects, speaks version 3.0", ("3.0",)
    ),
    "max_protocol_version": Parameter("PGMAXPROTOCOLVERSION", choices=("3.0", "3.2", "latest")),
    "krbsrvname": Parameter("PGKRBSRVNAME"),
    "gsslib": Parameter("PGGSSLIB", choices=("gssapi", "sspi")),
    "gssdelegation": Parameter("PGGSSDELEGATION", f"{_DRIVER}: leave it out", ("0",)),
    "scram_client_key": Parameter("", _KEYS),
    "scram_server_key": Parameter("", _KEYS),
    "service": Parameter("PGSERVICE"),
    "servicefile": Parameter("PGSERVICEFILE"),
    "target_session_attrs": Parameter(
        "PGTARGETSESSIONATTRS",
        choices=("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    ),
    "load_balance_hosts": Parameter("PGLOADBALANCEHOSTS", choices=("disable", "random")),
    "oauth_issuer": Parameter("", _OAUTH),
    "oauth_client_id": Parameter("", _OAUTH),
    "oauth_client_secret": Parameter("", _OAUTH),
    "oauth_scope": Parameter("", _OAUTH),
}
"""Those of PostgreSQL 14 to 18, in the order of its manual; docs/operations.md has the table."""

SETTINGS: Final[Mapping[str, str]] = {
    "PGDATESTYLE": "datestyle",
    "PGTZ": "timezone",
    "PGGEQO": "geqo",
}
"""Variables that libpq sends to the server as settings."""

_SOCKET_FOLDERS: Final = ("/run/postgresql", "/var/run/postgresql", "/tmp", "/private/tmp")  # noqa: S108  # of the server
_SYSTEM_SERVICES: Final = "/etc/postgresql-common"
_DEFAULT_PORT: Final = 5432
_LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Host:
    """A possible address of the server; parts not given are ""."""

    name: str  # or the folder of a socket
    address: str  # avoids a look-up of the name
    port: int
    password: str = field(repr=False)

    @property
    def is_socket(self) -> bool:
        """Whether it is a Unix socket."""
        return not self.address and self.name.startswith("/")


@dataclass(frozen=True, slots=True)
class ConnInfo:
    """The resolved connection parameters."""

    hosts: tuple[Host, ...]
    user: str
    database: str
    settings: Mapping[str, str]  # sent with the connection
    timeout_s: float | None  # for each host; None is for ever
    numbers: Mapping[str, int]  # of `keepalives` and other parameters that are whole numbers
    values: Mapping[str, str] = field(repr=False)  # all that are given and not empty


def resolved(url: str) -> ConnInfo:
    """Return what libpq reads in a URL, with service file, environment, passfile and defaults."""
    found = _Values()
    for name, value in _of_url(url.strip()).items():  # one from a file ends with a new line
        found.give(name, value, _IN_URL.format(name))
    if service := found.get("service") or os.environ.get("PGSERVICE"):
        _read_service(found, service)
    for name, parameter in PARAMETERS.items():
        if parameter.variable in os.environ:
            found.give(name, os.environ[parameter.variable], parameter.variable)
    if os.environ.get("PGREQUIRESSL", "").startswith("1"):
        found.give("sslmode", "require", "PGREQUIRESSL")
    numbers = found.checked()
    user = found.get("user") or _login()
    database = found.get("dbname") or user
    timeout_s = numbers.pop("connect_timeout", PATIENCE_S)
    return ConnInfo(
        hosts=_hosts(found, user, database),
        user=user,
        database=database,
        settings=_settings(found),
        timeout_s=timeout_s if timeout_s > 0 else None,
        numbers=numbers,
        values={name: value for name, value in found.values.items() if value},
    )


class _Values:
    """Parameters as found; the first source of each counts, as with libpq."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.places: dict[str, str] = {}

    def give(self, name: str, value: str, place: str) -> None:
        """Set a value, unless there is one already, even an empty one."""
        if name not in self.values:
            self.values[name] = value
            self.places[name] = place

    def get(self, name: str) -> str:
        """Return a value; "" if it was not given."""
        return self.values.get(name, "")

    def listed(self, name: str) -> list[str]:
        """Return the parts of a value; none where it is empty."""
        value = self.get(name)
        return value.split(",") if value else []

    def error(self, name: str, problem: str) -> ConfigError:
        """Return the error for a value, without showing it: it may be part of a password."""
        return wrong(f"{self.places[name]}: {problem}")

    def checked(self) -> dict[str, int]:
        """Check parameters that libpq refuses or asyncpg cannot apply; return the numbers."""
        numbers: dict[str, int] = {}
        for name in self.values:
            parameter, value = PARAMETERS[name], self.get(name)
            if {value, value.upper()} & set(parameter.allowed):
                continue
            if parameter.refused and value:
                but = f" (only {_listed(parameter.allowed)} is taken)" if parameter.allowed else ""
                raise self.error(name, f"{parameter.refused}{but}")
            if parameter.choices and value not in parameter.choices:
                raise self.error(name, f"expected {_listed(parameter.choices)}")
            if parameter.is_number and value:
                try:
                    numbers[name] = int(value)
                except ValueError:
                    raise self.error(name, "expected a whole number") from None
        return numbers


def wrong(problem: str) -> ConfigError:
    """Return the error for a parameter."""
    return ConfigError(problem, "database_url")


def _listed(values: tuple[str, ...]) -> str:
    return " or ".join(filter(None, (", ".join(values[:-1]), values[-1])))


def _of_url(url: str) -> dict[str, str]:
    """Return the parameters of a URL, which is split as libpq splits it."""
    scheme, colon, rest = url.partition("://")
    parts = _URL.fullmatch(rest)
    if not colon or scheme not in URL_SCHEMES or parts is None:
        raise wrong("expected a database URL that starts with `postgresql://`")
    path, query = parts["dbname"] or "", parts["query"] or ""
    # With a `/` in the password, the part before it is taken for host and port.
    late = query.partition("=")[0] if parts["dbname"] is None else path
    if "@" in parts["hosts"] or (parts["user"] is None and "@" in late):
        raise wrong(_ESCAPES)
    host, port = _authority(parts["hosts"])
    named = {"host": host, "port": port, "dbname": path}
    named |= {name: parts[name] or "" for name in ("user", "password")}
    found = {name: _decoded(value) for name, value in named.items() if value}
    for item in query.split("&") if query else ():
        name, equals, value = item.partition("=")
        if not equals or "=" in value:
            raise wrong(_NO_LIST)
        name, value = _in_use(_decoded(name), _decoded(value))
        if name not in PARAMETERS:
            shown = f"`{name}`" if name.isidentifier() else "a name"
            raise wrong(
                f"{shown} in the database URL is not a connection parameter; a setting of the"
                " server is given as options=-c%20name%3Dvalue"
            )
        found[name] = value
    return found


def _in_use(name: str, value: str) -> tuple[str, str]:
    """Return a parameter by its current name; SQLAlchemy passes `ssl` to asyncpg."""
    if name == "requiressl":
        return "sslmode", "require" if value.startswith("1") else "prefer"
    if name == "ssl":
        return "sslmode", "require" if value == "true" else value
    return name, value


def _authority(text: str) -> tuple[str, str]:
    found = [_HOST.fullmatch(part) for part in text.split(",")]
    if not all(found):
        raise wrong("the database URL has no valid host: an IPv6 address is written as [address]")
    hosts = [one[1] or one[2] or "" for one in found if one]
    ports = [one[3] or "" for one in found if one]
    return ",".join(hosts) if any(hosts) else "", ",".join(ports) if any(ports) else ""


def _decoded(text: str) -> str:
    try:
        if _BAD_PERCENT.search(text) is None:
            return unquote(text, errors="strict")
    except UnicodeDecodeError:
        pass
    raise wrong(_PERCENT)


def _read_service(found: _Values, service: str) -> None:
    own = found.get("servicefile") or os.environ.get("PGSERVICEFILE")
    files = [Path(own) if own else home() / ".pg_service.conf"]
    files.append(Path(os.environ.get("PGSYSCONFDIR", _SYSTEM_SERVICES), "pg_service.conf"))
    for file in files:
        try:
            lines = file.read_text("utf-8").splitlines()
        except (FileNotFoundError, NotADirectoryError) as error:
            if own and file == files[0]:
                raise wrong(f"the service file {file} is not there") from error
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise wrong(f"the service file {file} cannot be read: {error}") from error
        if _take_service(found, service, file, lines):
            return
    raise wrong(f"the service `{service}` is in none of {', '.join(map(str, files))}")


def _take_service(found: _Values, service: str, file: Path, lines: list[str]) -> bool:
    inside = False
    for number, text in enumerate(lines, start=1):
        line = text.strip()
        if line.startswith("["):
            if inside:
                break
            inside = line == f"[{service}]"
        elif inside and line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            if not equals or name not in PARAMETERS or name in {"service", "servicefile"}:
                raise wrong(f"{file}:{number}: is not a connection parameter, expected name=value")
            found.give(name, value, f"`{name}` of the service `{service}`")
    return inside


def home() -> Path:
    """Return the home folder of the user; a nonexistent one if there is none."""
    try:
        return Path.home()
    except RuntimeError:  # no HOME, and an account without a name
        return Path("/nonexistent")


def _login() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise wrong(
            f"no user is named, and the account {os.geteuid()} that this process runs under has no"
            " name: give it in the database URL or in PGUSER"
        ) from None


def _hosts(found: _Values, user: str, database: str) -> tuple[Host, ...]:
    names, addresses = found.listed("host"), found.listed("hostaddr")
    if names and addresses and len(names) != len(addresses):
        raise found.error("hostaddr", f"{len(addresses)} addresses for {len(names)} hosts")
    count = len(names or addresses) or 1
    ports = [_port(found, text) for text in found.listed("port") or [""]]
    if len(ports) == 1:
        ports *= count
    if len(ports) != count:
        raise found.error("port", f"{len(ports)} ports for {count} hosts")
    empty, hosts = [""] * count, []
    for name, address, port in zip(names or empty, addresses or empty, ports, strict=True):
        host = name if name or address else _socket_folder(port)
        if host.startswith("@") and not address:
            problem = "asyncpg does not support abstract sockets: use one in a folder"
            raise found.error("host", problem)
        given = found.get("password") or _of_passfile(found, host or address, port, database, user)
        hosts.append(Host(host, address, port, given))
    return tuple(hosts)


def _port(found: _Values, text: str) -> int:
    try:
        port = int(text) if text.strip() else _DEFAULT_PORT
    except ValueError:
        port = 0
    if 0 < port <= _LAST_PORT:
        return port
    if text.strip().isdigit() or found.places["port"] != _IN_URL.format("port"):
        raise found.error("port", "no valid port, expected 1 to 65535")
    # With a `/` in a password, a part of it is taken for the port.
    raise wrong(_ESCAPES)


def _socket_folder(port: int) -> str:
    """Return the folder of the local server: the first one with its socket."""
    for folder in _SOCKET_FOLDERS:
        if Path(folder, f".s.PGSQL.{port}").exists():
            return folder
    return next((one for one in _SOCKET_FOLDERS if Path(one).is_dir()), _SOCKET_FOLDERS[0])


def _of_passfile(found: _Values, host: str, port: int, database: str, user: str) -> str:
    file = Path(found.get("passfile") or home() / ".pgpass")
    try:
        mode = file.stat().st_mode
        ignored = "" if stat.S_ISREG(mode) else "it is not a plain file"
        if not ignored and mode & (stat.S_IRWXG | stat.S_IRWXO):
            ignored = "others may read it: chmod 600"
        lines = [] if ignored else file.read_text("utf-8").split("\n")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, UnicodeDecodeError) as error:
        ignored, lines = f"it cannot be read: {type(error).__name__}", []
    if ignored:
        log.warning("passfile=%s ignored, %s", file, ignored)
    wanted = ("localhost" if host in _SOCKET_FOLDERS else host, str(port), database, user)
    for line in lines:
        parts = [] if line.startswith("#") else _PASSFILE_PART.findall(line.rstrip("\r"))
        texts = [re.sub(r"\\(.)", r"\1", part) for part in parts]
        keys = zip(parts, texts, wanted, strict=False)
        if len(parts) > len(wanted) and all(part == "*" or text == own for part, text, own in keys):
            return texts[len(wanted)]
    return ""


def _settings(found: _Values) -> dict[str, str]:
    fallback = found.get("fallback_application_name") or APPLICATION_NAME
    settings = {"application_name": found.values.get("application_name", fallback)}
    if options := found.get("options"):
        settings["options"] = options
    for variable, setting in SETTINGS.items():
        value = os.environ.get(variable, "default")
        if value.lower() != "default":
            settings[setting] = value
    return settings
