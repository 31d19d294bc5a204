"""`script/demo`: the whole thing with a demo shop, using the commands a person would use.

Starts the embedded database, a Mailchimp emulator whose audience already holds members of its own, web and
worker; loads the demo book; connects, syncs, prints the result and the sign-in; serves until Ctrl-C.

Everything is kept in NEXPURA_DATA_DIR (`var/demo` unless named). The emulator keeps its audience in memory, so
its state is written down now and then, and read when the demo starts again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nexpura.runtime import postgres, secrets, supervisor
from nexpura.runtime.errors import CannotStart
from nexpura.runtime.supervisor import NEXPURA, Part, Stop, say

HERE = Path(__file__).resolve().parent.parent.parent
BOOK, SEED = HERE / "demo" / "customers.csv", HERE / "demo" / "mailchimp.json"
TENANT = "demo"
SHOP = "Harbour & Vale"
USERS = {"owner": "alice@demo.example", "manager": "mia@demo.example", "staff": "bob@demo.example"}
MARKED_BAD = "demo:bad-address"
"""The tag of the customers in the demo book whose address Mailchimp is meant to refuse."""

WRITE_DOWN_EVERY = 5.0
SEED_KEYS = (
    "email_address",
    "status",
    "merge_fields",
    "tags",
    "unsubscribed_by",
    "compliance",
    "last_changed",
    "timestamp_opt",
    "ip_opt",
)
SYNC_OK, SYNC_PARTIAL = 0, 1
"""Exit codes of `nexpura sync` after which there is a result to show."""


def main() -> None:
    """Run the demo; exit code 0 if the sync did what the demo book says it should."""
    wanted = arguments()
    as_told = False
    try:
        supervisor.await_port("127.0.0.1", wanted.port)
        with supervisor.signals_stop_us(), demo(wanted.port) as shop:
            as_told = shop.show()
            if wanted.once:
                say("Stopped after the result (--once); script/demo serves these pages.")
            else:
                shop.serve()
    except Stop:
        as_told = as_told and not wanted.once
    except CannotStart as error:
        sys.exit(f"demo: {error}")
    sys.exit(0 if as_told else 1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/demo", description="Show the whole thing with a demo shop.")
    parser.add_argument("--once", action="store_true", help="stop after the result; exit 0 if it is as it should be")
    parser.add_argument("--port", type=int, default=8000, help="where the pages are served (default: %(default)s)")
    return parser.parse_args()


@contextmanager
def demo(port: int) -> Iterator[Demo]:
    """Run database, emulator, web and worker for the length of the block."""
    folder = Path(os.environ.get("NEXPURA_DATA_DIR") or HERE / "var" / "demo").expanduser().absolute()
    with postgres.embedded(folder) as cluster:
        logs = folder / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        emulator_port = free_port(9000)
        environment = dict(os.environ)
        environment["NEXPURA_MAILCHIMP_URL"] = f"http://127.0.0.1:{emulator_port}/{{dc}}/3.0"
        environment["NEXPURA_PUBLIC_URL"] = f"http://127.0.0.1:{port}"
        supervisor.furnish(environment, cluster.urls(postgres.DATABASE), secrets.keys(folder))
        shop = Demo(folder, port, emulator_port, environment, cluster)
        supervisor.migrate(environment)
        parts = [
            shop.emulator(logs / "emulator.log"),
            supervisor.web("127.0.0.1", port, logs / "web.log"),
            supervisor.worker(logs / "worker.log"),
        ]
        with supervisor.running(parts, environment) as shop.parts:
            shop.parts.until_ready()
            try:
                yield shop
            finally:
                shop.write_down()


@dataclass
class Demo:
    """The demo shop while its parts run."""

    folder: Path
    port: int
    emulator_port: int
    environment: dict[str, str]
    cluster: postgres.Cluster
    parts: supervisor.Parts | None = None
    written_at: float = 0.0

    def show(self) -> bool:
        """Set the shop up, sync, and print what came of it; return whether that is what the book says."""
        key, audience = self._credentials()
        self._once("tenant", "createtenant", "--slug", TENANT, "--name", SHOP)
        for role, email in USERS.items():
            self._once(role, "createuser", "--tenant", TENANT, "--email", email, "--role", role, told=self._password())
        self._once("book", "import-customers", str(BOOK), "--tenant", TENANT)
        self._connect(key, audience)
        result = self._asked("sync", "--tenant", TENANT, may_end_with=(SYNC_OK, SYNC_PARTIAL))
        self.write_down()
        self._print(result)
        return as_the_book_says(result, BOOK)

    def serve(self) -> None:
        """Keep everything running until told to stop."""
        say("Serving; Ctrl-C stops everything.")
        assert self.parts is not None
        self.parts.watch(each_time=self._meanwhile)

    def emulator(self, output: Path) -> Part:
        """Return the part that plays Mailchimp; it starts from where it was last."""
        if not self._state.exists():
            shutil.copyfile(SEED, self._state)
        argv = [sys.executable, "-m", "mailchimp_emulator", "--port", str(self.emulator_port)]
        return Part(
            "emulator",
            [*argv, "--seed", str(self._state)],
            output,
            ready=lambda: supervisor.answers("127.0.0.1", self.emulator_port),
        )

    def write_down(self) -> None:
        """Put the emulator's members and webhooks into the file it starts from."""
        self.written_at = time.monotonic()
        seed = json.loads(self._state.read_text())
        try:
            for audience in (one for account in seed["accounts"] for one in account["lists"]):
                audience.pop("generate", None)
                audience["members"] = [as_seed(member) for member in self._emulated("members", audience["id"])]
                audience["webhooks"] = self._emulated("webhooks", audience["id"])
        except OSError:
            return  # the audience was deleted or the emulator has ended: what was written last stands
        unfinished = self._state.with_suffix(".new")
        unfinished.write_text(json.dumps(seed, ensure_ascii=False, indent=1))
        unfinished.replace(self._state)

    def _emulated(self, what: str, audience: str) -> list[dict[str, Any]]:
        address = f"http://127.0.0.1:{self.emulator_port}/_emulator/{what}?list_id={audience}"
        with urllib.request.urlopen(address, timeout=5) as reply:
            return [json.loads(line) for line in reply]

    # --- the steps ------------------------------------------------------------------------------

    def _once(self, step: str, *command: str, told: str = "") -> None:
        """Run a command unless an earlier demo did; one cut short in between has made what is there already."""
        done = self.folder / "done" / step
        if done.exists():
            return
        ended = self._run(command, told)
        if ended.returncode and "already" not in ended.stderr:
            raise CannotStart(f"nexpura {command[0]} did not succeed: {ended.stderr.strip()}")
        done.parent.mkdir(mode=0o700, exist_ok=True)
        done.touch()

    def _connect(self, key: str, audience: str) -> None:
        if self._asked("status", "--tenant", TENANT)["status"] != "connected":
            ended = self._run(["connect", "--tenant", TENANT, "--audience", audience, "--auto-sync"], key)
            if ended.returncode:
                raise CannotStart(f"nexpura connect did not succeed: {ended.stderr.strip()}")

    def _asked(self, *command: str, may_end_with: tuple[int, ...] = (0,)) -> dict[str, Any]:
        ended = self._run([*command, "--json"], "")
        if ended.returncode not in may_end_with:
            raise CannotStart(f"nexpura {command[0]} did not succeed: {(ended.stderr + ended.stdout).strip()}")
        answer: dict[str, Any] = json.loads(ended.stdout)
        return answer

    def _run(self, command: Sequence[str], told: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*NEXPURA, *command],
            env=self.environment,
            input=f"{told}\n",
            capture_output=True,
            text=True,
            check=False,
            process_group=0,
        )

    def _meanwhile(self) -> None:
        self.cluster.keep_kept()
        if time.monotonic() - self.written_at > WRITE_DOWN_EVERY:
            self.write_down()

    # --- what is known and said -----------------------------------------------------------------

    @property
    def _state(self) -> Path:
        return self.folder / "mailchimp.json"

    def _credentials(self) -> tuple[str, str]:
        """Return the key and the audience that the seed has first."""
        account = json.loads(self._state.read_text())["accounts"][0]
        return account["users"][0]["keys"][0], account["lists"][0]["id"]

    def _password(self) -> str:
        return secrets.password(self.folder / "secrets" / "demo_password")

    def _print(self, result: dict[str, Any]) -> None:
        seconds = f"{result['seconds']:.1f} s, {result['requests']} requests"
        say(f"✓ Synced {result['synced']} subscribers")
        names = ("added", "updated", "unsubscribed", "unchanged", "kept", "withheld", "failed")
        say("  " + ", ".join(f"{result[name]} {name}" for name in names) + f" ({seconds})")
        for failure in result["failures"]:
            say(f"  not synced: customer {', '.join(map(str, failure['customer_ids']))}: {failure['reason']}")
        say("")
        say(f"  Pages      http://127.0.0.1:{self.port}/integrations")
        for role, email in USERS.items():
            say(f"  Sign in    {email} ({role})")
        say(f"  Password   {self._password()}")
        key, audience = self._credentials()
        say(f"  Mailchimp  http://127.0.0.1:{self.emulator_port}/  (a stand-in: API key {key}, Audience ID {audience})")
        say(f"  Data       {self.folder} (take this folder away to begin anew)")


def as_seed(member: dict[str, Any]) -> dict[str, Any]:
    """Return a member as the emulator tells it in the form it is seeded from."""
    return {key: member[key] for key in SEED_KEYS if member[key] != "" or key == "unsubscribed_by"}


def as_the_book_says(result: dict[str, Any], book: Path) -> bool:
    """Whether the sync succeeded, or is partial with exactly the failures the book marks as bad."""
    failed = {failure["email"].casefold() for failure in result["failures"]}
    bad = marked_bad(book)
    if failed - bad:
        say(f"  unexpected: {len(failed - bad)} addresses failed that the demo book does not mark as bad")
    if result["status"] == "succeeded":
        return not failed
    return result["status"] == "partial" and failed == bad


def marked_bad(book: Path) -> set[str]:
    """Return the addresses that the book marks as bad."""
    with book.open(encoding="utf-8-sig", newline="") as file:
        return {row["email"].strip().casefold() for row in csv.DictReader(file) if MARKED_BAD in row["tags"]}


def free_port(preferred: int) -> int:
    """Return `preferred` if nobody listens there, else a free port."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            number: int = probe.getsockname()[1]
            return number
    raise CannotStart("no port is free on 127.0.0.1")


if __name__ == "__main__":
    main()
