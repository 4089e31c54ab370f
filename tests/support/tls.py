"""A server with TLS and certificates of its own, and psql to compare with."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from batchcore.demo import embedded
from support.tables import query

CONFIGURATION = """
[ca]
default_ca = own
[own]
database = {folder}/index.txt
default_md = sha256
default_crl_days = 3650
"""
PASSWORD = "p:a/s s@w?o#r%d"  # noqa: S105  # made up
ODD = "o'd d:@/?#%&=+ü"
"""Name of a role and of a database."""

RULES = """
hostssl all certified 127.0.0.1/32 cert
hostnossl all only_tls 127.0.0.1/32 reject
hostssl all only_plain 127.0.0.1/32 reject
local all asked scram-sha-256
local all all trust
host all all 127.0.0.1/32 scram-sha-256
"""


class TlsServer:
    """A server on 127.0.0.1, with TLS, and on a socket.

    Its certificate is for `db.example`. Roles: `postgres`, `ODD`, `certified`, which shows a
    certificate, `only_tls`, `only_plain`, and `asked`, which gives its password on the socket too.

    Its folder has certificates and keys, by the names of `make_certificates`.
    """

    def __init__(self) -> None:
        programs = _programs()
        self.folder = Path(tempfile.mkdtemp(prefix="batchcore-tls-"))
        self.folder.chmod(0o755)
        make_certificates(self.folder)
        key = self.folder / "own.key"
        if os.geteuid() == 0:
            account = next(name for name in ("postgres", "nobody") if _is_account(name))
            shutil.chown(key, account)
        settings = {
            "ssl": "on",
            "ssl_cert_file": f"{self.folder}/server.crt",
            "ssl_key_file": str(key),
            "ssl_ca_file": f"{self.folder}/ca.crt",
        }
        self._server = embedded.start(bin_dir=programs, tcp=True, settings=settings)
        parts = urlsplit(self._server.url)
        self.port = parts.port or 0
        self.socket = self._server.data_dir
        (self._server.data_dir / "data" / "pg_hba.conf").write_text(RULES)
        literal, name = PASSWORD.replace("'", "''"), ODD.replace('"', '""')
        for role in ("certified", "only_tls", "only_plain", "asked", ODD):
            query(self._server.url, f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{literal}'")
        query(self._server.url, f'CREATE DATABASE "{name}"')
        query(self._server.url, "SELECT pg_reload_conf()")

    def stop(self) -> None:
        self._server.stop()
        shutil.rmtree(self.folder)

    def psql(self, url: str, variables: Mapping[str, str], statement: str) -> str | None:
        """Return what psql prints; None where it does not connect."""
        kept = {
            name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ
        }
        done = subprocess.run(  # noqa: S603  # a list of words
            [self._server.bin_dir / "psql", "-XwAt", "-F", "|", "-c", statement, url],
            env={**kept, **variables},
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )
        return done.stdout.rstrip("\n") if done.returncode == 0 else None


def _programs() -> Path:
    """Return the folder of an installed PostgreSQL: that of the embedded one speaks no TLS."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if all((folder / name).is_file() for name in ("initdb", "pg_ctl", "postgres", "psql")):
            return folder
    pytest.skip("there is no server with TLS, as apt-get install postgresql brings one, with psql")


def _is_account(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def make_certificates(folder: Path) -> None:
    """Make certificates and keys with openssl: `.crt`, `.key` and `.crl` files.

    `ca` signs `server` (for db.example and localhost) and `client` (for the role `certified`),
    whose key is in `locked.key` under a pass phrase too; `other` is a stranger; `none.crl` revokes
    nothing and `server.crl` the server's.
    """
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates with")

    def openssl(*words: str) -> None:
        subprocess.run(  # noqa: S603  # a list of words
            ["openssl", *words],  # noqa: S607  # wherever it is
            cwd=folder,
            capture_output=True,
            check=True,
        )

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650")
    for name in ("ca", "other"):
        made = ("-subj", f"/CN=batchcore {name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")
        openssl("req", "-x509", *curve, *made)
    names = {"server": "DNS:db.example,DNS:localhost", "client": "DNS:client.example"}
    for name, common in (("server", "db.example"), ("client", "certified")):
        (folder / "names.cnf").write_text(f"subjectAltName={names[name]}\n")
        request = ("req", *curve, "-subj", f"/CN={common}", "-keyout", f"{name}.key")
        openssl(*request, "-out", f"{name}.csr")
        signed = ("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key")
        extended = ("-CAcreateserial", "-days", "3650", "-extfile", "names.cnf")
        openssl(*signed, *extended, "-out", f"{name}.crt")
    openssl("ec", "-in", "client.key", "-aes256", "-passout", "pass:open", "-out", "locked.key")
    (folder / "index.txt").touch()
    (folder / "ca.cnf").write_text(CONFIGURATION.format(folder=folder))
    ca = ("ca", "-config", "ca.cnf", "-keyfile", "ca.key", "-cert", "ca.crt")
    openssl(*ca, "-gencrl", "-out", "none.crl")
    openssl(*ca, "-revoke", "server.crt")
    openssl(*ca, "-gencrl", "-out", "server.crl")
    shutil.copy(folder / "server.key", folder / "own.key")
    for key in folder.glob("*.key"):
        key.chmod(0o600)
    (folder / "open.key").write_bytes((folder / "client.key").read_bytes())
    (folder / "open.key").chmod(0o644)
    for name in ("ca", "client"):
        home = folder / f"home_{name}" / ".postgresql"
        home.mkdir(parents=True)
        shutil.copy(folder / "ca.crt", home / "root.crt")
        if name == "client":
            shutil.copy(folder / "client.crt", home / "postgresql.crt")
            shutil.copy(folder / "client.key", home / "postgresql.key")
