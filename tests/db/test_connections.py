"""Connections: each parameter as psql takes it, or refused by name; and what an error says."""

import asyncio
import os
import random
import re
import socket
from inspect import signature
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest
import pytest_asyncio

from batchcore.db.migrate import migrate
from batchcore.errors import BatchcoreError, ConfigError, DatabaseError
from batchcore.pg.connect import Connector
from batchcore.pg.conninfo import PARAMETERS, SETTINGS, Host, resolved
from batchcore.pg.database import Database
from batchcore.pg.errors import TOO_MANY
from support.cases import from_toml
from support.faults import PATIENCE_S
from support.tls import ODD, PASSWORD, TlsServer

pytestmark = pytest.mark.usefixtures("surroundings")

SEEN = """
    SELECT ROW(current_user, current_database(),
        replace(current_setting('application_name'), 'psql', 'batchcore'),
        coalesce(host(inet_server_addr()), 'socket'), inet_server_port(), ssl, version, client_dn,
        current_setting('TimeZone'), current_setting('DateStyle'), current_setting('geqo'),
        current_setting('work_mem'), current_setting('client_encoding'))::text
    FROM pg_stat_ssl WHERE pid = pg_backend_pid()"""
WORD = quote(PASSWORD, safe="")
NAME = quote(ODD, safe="")


@pytest.fixture(scope="module")
def tls():
    server = TlsServer()
    yield server
    server.stop()


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Set the environment that a test names, and nothing else of libpq's."""
    for name in os.environ:
        if name.startswith("PG"):
            monkeypatch.delenv(name)

    def surround(variables: dict[str, str]) -> dict[str, str]:
        variables = {"HOME": str(tmp_path), **variables}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return variables

    surround({})
    return surround


@pytest_asyncio.fixture(autouse=True)
async def until_closed():
    """Keep the event loop of a test until no transport of it is open.

    A connection with TLS that the driver gave up says goodbye to the server and waits for the
    answer. A loop that is closed before leaves a socket to the garbage collector, which warns in
    whatever test it runs.
    """
    yield
    transports = asyncio.get_running_loop()._transports  # type: ignore[attr-defined]  # noqa: SLF001
    async with asyncio.timeout(PATIENCE_S):
        while any(transport._sock is not None for transport in transports.values()):  # noqa: ASYNC110, SLF001
            await asyncio.sleep(0.001)


async def seen(url: str) -> str:
    """Return what psql would print."""
    raw = await Connector(url).connect()
    try:
        return await raw.fetchval(SEEN)
    finally:
        await raw.close()


def tcp(user: str = "postgres") -> str:
    return f"postgresql://{user}:{WORD}@127.0.0.1:{{port}}/postgres"


U = tcp(NAME)
SOCKET = "postgresql://postgres@/postgres?host={socket}&port={port}"
NAMED = f"postgresql://{NAME}:{WORD}@db.example:{{port}}/postgres?hostaddr=127.0.0.1"
CERTIFIED = "postgresql://certified@127.0.0.1:{port}/postgres?sslmode=require"
CA = "sslrootcert={folder}/ca.crt"
CASES = from_toml("connections.toml")


@pytest.fixture(scope="module")
def filled(tls: TlsServer):
    """The values to put into URLs and environments; with the files that they name."""
    escaped = PASSWORD.replace(":", "\\:")
    odd = ODD.replace(":", "\\:")
    lines = (
        "# a comment",
        f"elsewhere:*:*:{odd}:wrong",
        f"127.0.0.1:{tls.port}:postgres:{odd}:{escaped}",
        f"db.example:*:*:only_tls:{escaped}",
        f"{tls.socket}:*:*:asked:{escaped}",
    )
    for name in ("passfile", "open_passfile", ".pgpass"):
        file = tls.folder / name
        file.write_text("\n".join(lines) + "\n", "utf-8")
        file.chmod(0o644 if name == "open_passfile" else 0o600)
    services = (
        f"[other]\nuser=nobody\n[odd]\n# a comment\nhost=127.0.0.1\nport={tls.port}\n"
        f"user={ODD}\ndbname=postgres\napplication_name=of the service\n\n[typo]\nhots=a\n"
    )
    (tls.folder / "system").mkdir()
    for file in (tls.folder / "services", tls.folder / "system" / "pg_service.conf"):
        file.write_text(services, "utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
        yield {
            "folder": str(tls.folder),
            "socket": str(tls.socket),
            "quoted": quote(str(tls.socket), safe=""),
            "port": str(tls.port),
            "closed": str(closed),
            "user": NAME,
            "password": WORD,
            "odd": ODD,
            "secret": PASSWORD,
            "usual": U.format(port=tls.port),
            "named": NAMED.format(port=tls.port),
            "certified": CERTIFIED.format(port=tls.port),
            "by_socket": SOCKET.format(socket=tls.socket, port=tls.port),
        }


@pytest.mark.parametrize("case", CASES)
async def test_a_url_and_its_surroundings_do_what_they_do_for_psql(
    tls: TlsServer, filled: dict[str, str], surroundings, case: str
) -> None:
    given = {name: value.format(**filled) for name, value in CASES[case].items()}
    url = given.pop("url")
    variables = surroundings(given)
    expected = tls.psql(url, variables, SEEN)
    found, said = None, ""
    try:
        found = await seen(url)
    except BatchcoreError as error:
        said = str(error)
    assert found == expected, said
    assert PASSWORD not in said
    assert WORD not in said


async def refused(url: str) -> str:
    with pytest.raises(ConfigError) as caught:
        Database(url)
    assert caught.value.option == "database_url"
    with pytest.raises(ConfigError) as again:
        await migrate(url)
    assert str(again.value) == str(caught.value)
    return str(caught.value)


REFUSED = {
    "require_auth": "scram-sha-256",
    "channel_binding": "require",
    "client_encoding": "LATIN1",
    "replication": "database",
    "gssencmode": "require",
    "sslcompression": "1",
    "sslkeylogfile": "/tmp/keys",  # noqa: S108  # never written
    "sslcertmode": "require",
    "requirepeer": "postgres",
    "min_protocol_version": "3.2",
    "gssdelegation": "1",
    "scram_client_key": "c2VjcmV0",
    "scram_server_key": "c2VjcmV0",
    "oauth_issuer": "https://issuer.example",
    "oauth_client_id": "c2VjcmV0",
    "oauth_client_secret": "c2VjcmV0",
    "oauth_scope": "openid",
}


async def test_each_parameter_that_is_refused_has_a_value_here() -> None:
    assert set(REFUSED) == {name for name, one in PARAMETERS.items() if one.refused}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_done_is_refused_by_name(surroundings, name: str) -> None:
    value, url = REFUSED[name], "postgresql://nobody@127.0.0.1:1/none"
    said = await refused(f"{url}?{name}={quote(value, safe='')}")
    assert said.startswith(f"`{name}` in the database URL: ")
    assert "c2VjcmV0" not in said
    if variable := PARAMETERS[name].variable:
        surroundings({variable: value})
        assert (await refused(url)).startswith(f"{variable}: ")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("port=65536", "`port` in the database URL: no valid port, expected 1 to 65535"),
        ("host=@abstract", "`host` in the database URL: .* not support abstract sockets"),
        ("sslrootcert=system&sslmode=require", "takes no sslmode but verify-full"),
        ("sslnegotiation=direct", "takes sslmode require, verify-ca or verify-full"),
        ("sslnegotiation=other", "`sslnegotiation` .* expected postgres or direct"),
        ("load_balance_hosts=yes", "expected disable or random"),
        ("sslcert=/nowhere", "sslcert: /nowhere is not there"),
        ("sslmode=require&sslcrl=/nowhere&sslrootcert={folder}/ca.crt", "sslcrl: /nowhere cannot"),
        ("sslmode=verify-full&sslsni=0&sslrootcert={folder}/ca.crt", "takes no sslsni=0"),
        ("ssl_min_protocol_version=TLSv1.1", "expected TLSv1.2 or TLSv1.3"),
        ("a%20b=c", "a name in the database URL is not a connection parameter"),
    ],
)
async def test_what_contradicts_or_is_not_there_is_refused(
    filled: dict[str, str], query: str, said: str
) -> None:
    found = await refused(f"postgresql://nobody@127.0.0.1:1/none?{query.format(**filled)}")
    assert re.search(said, found)


@pytest.mark.parametrize(
    "query",
    [
        "load_balance_hosts=random",
        "max_protocol_version=latest&min_protocol_version=3.0",
        "sslcertmode=disable&sslnegotiation=postgres",
        "require_auth=",
        "ssl=require",
        "gssdelegation=0",
        "servicefile={folder}/services&service=odd",
    ],
)
async def test_parameters_that_an_older_psql_does_not_know(
    filled: dict[str, str], query: str
) -> None:
    assert await seen(f"{U}?{query}".format(**filled))


async def test_kerberos_is_named_to_a_driver_that_has_it(filled: dict[str, str]) -> None:
    url = f"{U}?krbsrvname=other&gsslib=gssapi".format(**filled)
    if "krbsrvname" in signature(asyncpg.connect).parameters:
        assert await seen(url)  # whose server asks for a password
    else:
        assert "`krbsrvname` needs asyncpg 0.30" in await refused(url)


async def test_a_url_of_sqlalchemy_is_one(filled: dict[str, str]) -> None:
    url = U.format(**filled)
    assert await seen(url.replace("postgresql", "postgresql+asyncpg")) == await seen(url)


async def test_roots_of_the_system_are_trusted_with_the_name(
    filled: dict[str, str], surroundings
) -> None:
    url = f"{NAMED}&sslrootcert=system".format(**filled)
    surroundings({"SSL_CERT_FILE": filled["folder"] + "/ca.crt"})
    assert await seen(url)
    with pytest.raises(DatabaseError, match="is for another host"):
        await seen(url.replace("db.example", "other.example"))


async def test_load_is_spread_over_hosts_and_addresses(
    filled: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "shuffle", list.reverse)
    url = U.replace("127.0.0.1", "127.0.0.1:{port},nowhere.invalid").format(**filled)
    tried, addresses = [], Connector._addresses  # noqa: SLF001

    async def noted(self: Connector, host: Host, failures: list[DatabaseError]) -> list[str]:
        tried.append(host.name)
        return await addresses(self, host, failures)

    monkeypatch.setattr(Connector, "_addresses", noted)
    raw = await Connector(f"{url}?load_balance_hosts=random").connect()
    await raw.close()
    assert tried == ["nowhere.invalid", "127.0.0.1"]


async def test_the_system_keeps_a_connection_alive_as_it_is_told(filled: dict[str, str]) -> None:
    async def options(query: str) -> list[int]:
        raw = await Connector(f"{U}?{query}".format(**filled)).connect()
        known = raw._transport.get_extra_info("socket")  # noqa: SLF001
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        found = [known.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
        alive = known.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        await raw.close()
        return [alive, *found]

    told = "keepalives_idle=91&keepalives_interval=7&keepalives_count=4&tcp_user_timeout=9000"
    assert await options(told) == [1, 91, 7, 4, 9000]
    assert (await options("keepalives=0"))[0] == 0
    assert (await options(""))[0] == 1


async def test_the_settings_that_libpq_sends_are_sent(surroundings) -> None:
    surroundings(dict.fromkeys(SETTINGS, "x"))
    sent = resolved("postgresql://a@b/c?options=-c%20a%3Db&fallback_application_name=f").settings
    assert sent == {
        "application_name": "f",
        "options": "-c a=b",
        "datestyle": "x",
        "timezone": "x",
        "geqo": "x",
    }


async def error(url: str) -> DatabaseError:
    with pytest.raises(DatabaseError) as caught:
        async with Database(url).snapshot("read"):
            pass
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("url", "said", "sqlstate"),
    [
        (
            U.replace("{port}", "{closed}"),
            'at "127.0.0.1", port {closed} failed: nothing is listening',
            None,
        ),
        (
            U.replace("127.0.0.1", "nowhere.invalid"),
            "the name of the host cannot be looked up",
            None,
        ),
        (
            SOCKET.replace("{socket}", "/nowhere"),
            'socket "/nowhere/.s.PGSQL.{port}" failed: there is no',
            None,
        ),
        (tcp("nobody"), 'password authentication failed for user "nobody"', "28P01"),
        (SOCKET.replace("postgres@", "nobody@"), 'role "nobody" does not exist', "28000"),
        (U.replace("/postgres", "/none"), 'database "none" does not exist', "3D000"),
        (f"postgresql://{NAME}@127.0.0.1:{{port}}/postgres", "no password was given", "28P01"),
        (U.replace(WORD, "wrong"), "password authentication failed", "28P01"),
        (f"{tcp('only_plain')}?sslmode=require", "pg_hba.conf rejects connection", "28000"),
        (f"{U}?sslmode=verify-ca&sslrootcert={{folder}}/other.crt", "is not trusted: ", None),
        (f"{U}?sslmode=verify-full&{CA}", "is for another host: IP address mismatch", None),
        (
            f"{NAMED.replace('db.', 'other.')}&sslmode=verify-full&{CA}",
            '"other.example" \\(127.0.0.1\\), .* for another host: Hostname mismatch',
            None,
        ),
        (
            f"{U}?sslmode=verify-ca&{CA}&sslcrl={{folder}}/server.crl",
            "trusted: certificate revoked",
            None,
        ),
        (f"{U}?target_session_attrs=standby", "no host has what target_session_attrs asks", None),
        (
            f"{U}?options=-c%20nothing%3D1",
            'unrecognized configuration parameter "nothing"',
            "42704",
        ),
    ],
)
async def test_an_error_says_what_happened(
    filled: dict[str, str], url: str, said: str, sqlstate: str | None
) -> None:
    found = await error(url.format(**filled))
    assert re.search(said.format(**filled), str(found))
    assert found.sqlstate == sqlstate
    assert PASSWORD not in str(found)


async def test_too_many_connections_are_told(filled: dict[str, str]) -> None:
    url = SOCKET.format(**filled).replace("postgres@", "asked@")
    raw = await asyncpg.connect(SOCKET.format(**filled))
    await raw.execute("ALTER ROLE asked CONNECTION LIMIT 0")
    found = await error(url.replace("asked@", f"asked:{WORD}@"))
    await raw.execute("ALTER ROLE asked CONNECTION LIMIT -1")
    await raw.close()
    assert str(found).endswith(f': too many connections for role "asked": {TOO_MANY}')
    assert found.sqlstate == "53300"


@pytest.mark.parametrize("answer", [b"N", b"E", b"HTTP/1.1 400 Bad Request\r\n", b""])
async def test_what_is_no_server_with_tls_is_told(answer: bytes) -> None:
    async def answers(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(answers, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        for mode in ("prefer", "require"):
            found = await error(f"postgresql://a:b@127.0.0.1:{port}/c?sslmode={mode}")
            assert f'connection to server at "127.0.0.1", port {port} failed: ' in str(found)


@pytest.mark.parametrize("sqlstate", ["28P01", "3D000", "53300"])
@pytest.mark.parametrize("mode", ["prefer", "allow"])
async def test_a_server_without_tls_is_heard(sqlstate: str, mode: str) -> None:
    said = f"SFATAL\0VFATAL\0C{sqlstate}\0Mnot today\0\0".encode()

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asks_for_tls = (await reader.read(1 << 10)).endswith(b"\x04\xd2\x16\x2f")
        writer.write(b"N" if asks_for_tls else b"E" + (len(said) + 4).to_bytes(4, "big") + said)
        writer.close()

    async with await asyncio.start_server(answers, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await error(f"postgresql://a:b@127.0.0.1:{port}/c?sslmode={mode}")
    assert found.sqlstate == sqlstate
    where = f'connection to server at "127.0.0.1", port {port} failed: '
    assert str(found).startswith(f"{where}not today")
    assert str(found).count(where) == 1


async def test_a_server_that_is_silent_is_told_and_the_next_one_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("batchcore.pg.conninfo.PATIENCE_S", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        ports = [silent.getsockname()[1] for silent in (one, other)]
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        found = await error(f"postgresql://a:b@{hosts}/c")
        for port in ports:
            assert f"port {port} failed: no answer within 0.05 s" in str(found)


async def test_the_table_of_parameters_is_that_of_the_code() -> None:
    page = Path(__file__).parents[2] / "docs" / "operations.md"
    text = page.read_text("utf-8").partition("\n## Connecting\n")[2]
    rows = [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        for line in text.partition("\n## ")[0].splitlines()
        if line.startswith("| `")
    ]
    found = {}
    for names, variables, told in rows:  # parameters of which the same is said share a row
        listed = names.split(", ")
        beside = variables.split(", ") if variables else [""] * len(listed)
        found |= {name: (at, told) for name, at in zip(listed, beside, strict=True)}
    assert sorted(", ".join(row[0] for row in rows).split(", ")) == sorted(PARAMETERS)
    for name, (variable, told) in found.items():
        parameter = PARAMETERS[name]
        assert variable == parameter.variable
        assert ("refused" in told or "3.0" in told) >= bool(parameter.refused)
        assert (told == "refused") == bool(parameter.refused and not parameter.allowed)
    for variable in SETTINGS:
        assert f"`{variable}`" in text
