"""A private PostgreSQL cluster for tests, from the server programs installed on the machine."""

import atexit
import ctypes
import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import make_url

# A cluster that dies with the tests has nothing to keep safe.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "listen_addresses": "127.0.0.1",
}


class CannotStart(Exception):
    """The server programs are missing, or the cluster did not come up."""


def find_programs() -> Path | None:
    """The folder with initdb and postgres, the newest where there are several."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    patterns = (
        "usr/lib/postgresql/*/bin/initdb",
        "usr/pgsql-*/bin/initdb",
        "opt/homebrew/opt/postgresql*/bin/initdb",
    )
    found = [program.parent for pattern in patterns for program in Path("/").glob(pattern)]
    return max(found, key=_version, default=None)


def _version(programs: Path) -> int:
    digits = [part for part in str(programs).replace("-", "/").replace("@", "/").split("/") if part.isdigit()]
    return int(digits[-1]) if digits else 0


@contextmanager
def private_cluster() -> Iterator[str]:
    """Run a cluster of our own and give the URL of its `postgres` database.

    Raises CannotStart when there are no server programs. The cluster ends with the block, at exit, and,
    on Linux, when this process is killed.
    """
    programs = find_programs()
    if programs is None:
        raise CannotStart("PostgreSQL's server programs are not installed (Debian: postgresql)")
    # Not under TMPDIR: a socket's path may be 107 characters long, and another user must get there.
    home = Path(tempfile.mkdtemp(prefix="kanghu-pg-", dir="/tmp"))
    server: subprocess.Popen[bytes] | None = None

    def stop() -> None:
        if server is not None:
            _stop(server)
        shutil.rmtree(home, ignore_errors=True)

    atexit.register(stop)
    try:
        data = _make_cluster(programs, home)
        port = _free_port()
        server = _start(programs, data, port)
        _wait_until_ready(server, port, home / "log")
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    finally:
        stop()
        atexit.unregister(stop)


def _make_cluster(programs: Path, home: Path) -> Path:
    data = home / "data"
    if os.geteuid() == 0:
        account = _server_account()
        os.chown(home, account.pw_uid, account.pw_gid)
    options = "--username=postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync --no-instructions"
    made = subprocess.run(
        [programs / "initdb", "--pgdata", data, *options.split()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=home,
        **_as_server_account(),
    )
    if made.returncode:
        raise CannotStart(f"initdb failed: {made.stdout.decode(errors='replace').strip()}")
    return data


def _server_account() -> pwd.struct_passwd:
    """Whom the server runs as when we are root, which PostgreSQL refuses to be."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise CannotStart("run by root, and neither a postgres nor a nobody account exists")


def _as_server_account() -> dict[str, object]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    if os.geteuid() != 0:
        return {"env": environment}
    account = _server_account()
    return {
        "env": environment | {"HOME": "/", "USER": account.pw_name, "LOGNAME": account.pw_name},
        "user": account.pw_uid,
        "group": account.pw_gid,
        "extra_groups": [],
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _start(programs: Path, data: Path, port: int) -> subprocess.Popen[bytes]:
    settings = SETTINGS | {"port": str(port), "unix_socket_directories": str(data.parent)}
    with (data.parent / "log").open("wb") as log:
        return subprocess.Popen(
            [programs / "postgres", "-D", data, *(f"--{name}={value}" for name, value in settings.items())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=data.parent,
            # Ctrl-C is for the tests, which then stop the server in their own time.
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            **_as_server_account(),
        )


def _end_with_parent() -> None:
    """Ask Linux to shut the server down when the tests are killed without a word."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)


def _wait_until_ready(server: subprocess.Popen[bytes], port: int, log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise CannotStart(f"postgres did not come up: {log.read_text(errors='replace').strip()[-2000:]}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.send_signal(signal.SIGINT)  # "fast": ends every session, then the server
    try:
        server.wait(timeout=10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def fresh_database(url: str) -> str:
    """Make a new, empty database beside the one at `url`, and give its URL.

    Always UTF-8 with a UTF-8 ctype: under plain C, trigrams of Chinese are useless.
    """
    name = f"kanghu_{uuid.uuid4().hex[:12]}"
    _maintain(url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'")
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def drop_database(url: str, beside: str) -> None:
    """Drop a database that fresh_database(beside) made, whoever is still connected to it."""
    _maintain(beside, f"DROP DATABASE IF EXISTS {make_url(url).database} WITH (FORCE)")


def _maintain(url: str, statement: str) -> None:
    address = make_url(url)
    login = {
        "host": address.host,
        "port": address.port,
        "user": address.username or getpass.getuser(),
        "password": address.password,
        "dbname": address.database,
        **address.query,
    }
    with psycopg.connect(**{key: value for key, value in login.items() if value}, autocommit=True) as connection:
        connection.execute(statement)
