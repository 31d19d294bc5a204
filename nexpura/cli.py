"""The command `nexpura`: sets the stage, then hands over to the Django command of the same name.

The stage is the environment. Without `NEXPURA_DATABASE_URL` the embedded database of `NEXPURA_DATA_DIR` is
started, or joined where it runs, and brought to the shape of this version; its URLs and the keys kept beside it
are put into the environment before Django reads its settings.

Exit codes pass through. What a person can mend is one line on standard error and exit code 2 (or the command's).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from nexpura.runtime import locks, postgres, secrets, supervisor
from nexpura.runtime.errors import CannotStart

CANNOT = 2
SETTINGS = "nexpura.settings"

COMMANDS = {
    "up": "run everything on this machine: database, web and worker",
    "web": "serve the pages",
    "worker": "carry out queued syncs and the daily schedule",
    "migrate": "bring the database to the shape of this version",
    "createtenant": "make a tenant: one business",
    "createuser": "make a user of a tenant; the password comes from standard input",
    "resetpassword": "give a user another password; it comes from standard input",
    "import-customers": "import customers from a CSV file",
    "merge-customers": "merge two records of one person into one",
    "erase-customer": "erase a customer who asked for it, here and in Mailchimp",
    "connect": "connect a tenant to its Mailchimp audience; the API key comes from standard input",
    "sync": "bring a tenant's audience into agreement with its customers, now",
    "status": "show the state of a tenant's integration",
    "disconnect": "disconnect a tenant from Mailchimp; its history is kept",
    "explain": "say why an address is or is not in the audience",
}


def main() -> None:
    """Run the command named on the command line."""
    argv = sys.argv[1:]
    if not argv or argv[0] in {"-h", "--help", "help"}:
        sys.stdout.write(f"{overview()}\n")
        sys.exit(0 if argv else CANNOT)
    if argv[0] == "--version":
        sys.stdout.write(f"nexpura {version('nexpura')}\n")
        return
    name, rest = argv[0], argv[1:]
    if name not in COMMANDS:
        fail(f"there is no command {name}; nexpura --help lists them")
    try:
        run(name, rest)
    except CannotStart as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def overview() -> str:
    """Return the list of commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    about = "Keeps a shop's Mailchimp audience in agreement with its customer book."
    return "\n".join([f"nexpura COMMAND ...   {about}", "", *lines, "", "nexpura COMMAND --help tells more."])


def run(name: str, argv: list[str]) -> None:
    """Run one command on the stage it needs; asking for help needs none."""
    if "-h" in argv or "--help" in argv:
        hand_over(name, argv)
    elif name == "up":
        up(argv)
    else:
        with stage(migrated=name != "migrate"):
            hand_over(name, argv)


def up(argv: list[str]) -> None:
    """`nexpura up`."""
    wanted = address(argv, "up")
    embedded = None if os.environ.get("NEXPURA_DATABASE_URL") else data_dir()
    supervisor.up(wanted.host, wanted.port, embedded)


def web(argv: list[str]) -> None:
    """`nexpura web`."""
    wanted = address(argv, "web")
    supervisor.refuse_taken_port(wanted.host, wanted.port)
    with explained():
        from django.conf import settings

        _ = settings.DATABASES  # so that a bad setting is one line here, not a traceback of the server process
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    Granian(
        "nexpura.wsgi:application",
        address=wanted.host,
        port=wanted.port,
        interface=Interfaces.WSGI,
        blocking_threads=8,
        workers_kill_timeout=5,
        websockets=False,
        log_level=LogLevels.error,
    ).serve()


def address(argv: list[str], name: str) -> argparse.Namespace:
    """Return the host and port to serve on."""
    parser = argparse.ArgumentParser(prog=f"nexpura {name}", description=f"{COMMANDS[name].capitalize()}.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="the port to listen on (default: %(default)s)")
    wanted = parser.parse_args(argv)
    if not 1 <= wanted.port <= 65535:
        parser.error("argument --port: a port is a number from 1 to 65535")
    return wanted


# --- the stage ------------------------------------------------------------------------------------


def data_dir() -> Path:
    """Return the data directory: `NEXPURA_DATA_DIR`, or `var` in the current folder."""
    return Path(os.environ.get("NEXPURA_DATA_DIR") or "var").expanduser().absolute()


@contextmanager
def stage(*, migrated: bool) -> Iterator[None]:
    """See to a database for the length of the block; an embedded one that is behind is migrated first."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", SETTINGS)
    if os.environ.get("NEXPURA_DATABASE_URL"):
        yield
        return
    folder = data_dir()
    with postgres.embedded(folder) as cluster:
        supervisor.furnish(os.environ, cluster.urls(postgres.DATABASE), secrets.keys(folder))
        if migrated:
            with explained(), locks.exclusive(folder / ".migrating"):
                catch_up()
        yield


def catch_up() -> None:
    """Migrate if the database is behind this version."""
    import django
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    django.setup()
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        call_command("migrate", verbosity=0, interactive=False)
    connection.close()


# --- Django's commands ----------------------------------------------------------------------------


def hand_over(name: str, argv: list[str]) -> None:
    """Run our own commands, or the Django command called `name` (a hyphen there is an underscore here)."""
    if name in {"up", "web"}:
        {"up": up, "web": web}[name](argv)
        return
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", SETTINGS)
    with explained():
        import django
        from django.core.management import get_commands, load_command_class
        from django.core.management.base import BaseCommand, handle_default_options
        from django.db import connections

        django.setup()
        module = name.replace("-", "_")
        app = get_commands()[module]
        command = app if isinstance(app, BaseCommand) else load_command_class(app, module)
        parser = command.create_parser("nexpura", name)
        parser.called_from_command_line = True
        options = parser.parse_args(argv)
        handle_default_options(options)
        values = vars(options)
        try:
            command.execute(*values.pop("args", ()), **values)
        finally:
            connections.close_all()


@contextmanager
def explained() -> Iterator[None]:
    """Turn what a person can mend into one line and an exit code."""
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management.base import CommandError
    from django.db.utils import OperationalError, ProgrammingError
    from psycopg.errors import UndefinedColumn, UndefinedTable

    try:
        yield
    except CommandError as error:
        fail(str(error), error.returncode)
    except ImproperlyConfigured as error:
        fail(str(error))
    except OperationalError as error:
        fail(f"the database does not answer ({first_line(error)}): see that it runs and check NEXPURA_DATABASE_URL")
    except ProgrammingError as error:
        if not isinstance(error.__cause__, UndefinedTable | UndefinedColumn):
            raise
        fail("the database is behind this version: run nexpura migrate")


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def fail(message: str, code: int = CANNOT) -> NoReturn:
    """Say what is wrong on standard error and end."""
    sys.stderr.write(f"nexpura: {message}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
