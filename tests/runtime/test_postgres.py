"""The embedded database: who it runs for, what it survives, what it refuses."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from nexpura.runtime import binaries, postgres
from nexpura.runtime.errors import CannotStart
from nexpura.runtime.postmaster import Postmaster

from .users import server_of, until, user_of

pytestmark = pytest.mark.processes

User = subprocess.Popen[str]


def write_row(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('here')")


def rows(url: str) -> list[tuple[str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT word FROM kept").fetchall()


def kept_again(cluster: postgres.Cluster) -> int | None:
    cluster.keep()
    return cluster.postmaster_pid


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(scope="module")
def running() -> Iterator[postgres.Cluster]:
    """A server that several tests look at."""
    with postgres.temporary() as cluster:
        yield cluster


def test_the_run_time_role_may_not_make_tables_and_the_owner_may(running: postgres.Cluster) -> None:
    write_row(running.owner_url)

    with psycopg.connect(running.app_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("CREATE TABLE mine (word text)")


def test_the_run_time_role_has_no_rights_beyond_its_own(running: postgres.Cluster) -> None:
    with psycopg.connect(running.app_url) as connection:
        found = connection.execute(
            "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        ).fetchone()

    assert found == (False, False, False, False)


def test_letters_beyond_ascii_are_folded(running: postgres.Cluster) -> None:
    with psycopg.connect(running.app_url) as connection:
        assert connection.execute("SELECT lower('ÉSSß')").fetchone() == ("éssß",)


def test_nobody_gets_in_without_the_password(running: postgres.Cluster) -> None:
    url = running.app_url.replace("nexpura_app:", "nexpura_app:x")

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url)


def test_passwords_the_log_and_the_socket_are_closed_to_other_users(running: postgres.Cluster) -> None:
    passwords = sorted((running.data_dir / "secrets").glob("*_password"))

    assert [mode(path) for path in passwords] == [0o600, 0o600, 0o600]
    assert mode(running.data_dir / "secrets") == 0o700
    assert mode(running.log) == 0o600
    assert mode(running.cluster_folder) == 0o700
    assert mode(running.cluster_folder.parent / "socket") == 0o700


def test_no_password_is_in_the_log_or_the_command_line(running: postgres.Cluster) -> None:
    passwords = [path.read_text().strip() for path in (running.data_dir / "secrets").glob("*_password")]
    seen = running.log.read_text() + Path(f"/proc/{running.postmaster_pid}/cmdline").read_text()

    assert not [password for password in passwords if password in seen]


def test_the_server_never_runs_as_root(running: postgres.Cluster) -> None:
    assert Path(f"/proc/{running.postmaster_pid}").stat().st_uid != 0


def test_a_further_database_has_the_same_two_roles(running: postgres.Cluster) -> None:
    urls = running.create_database("another")
    write_row(urls.owner_url)

    with psycopg.connect(urls.app_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT * FROM kept")


def test_the_last_user_takes_the_server_down_and_rows_are_there_again_next_time(data_dir: Path) -> None:
    with postgres.embedded(data_dir, durable=False) as cluster:
        write_row(cluster.owner_url)
    assert not Postmaster(cluster.cluster_folder).is_alive()

    with postgres.embedded(data_dir, durable=False) as cluster:
        assert rows(cluster.owner_url) == [("here",)]


def test_a_command_beside_another_joins_its_server_and_leaves_it_running(
    data_dir: Path, another_user: Callable[[Path], User]
) -> None:
    another_user(data_dir)

    with postgres.embedded(data_dir, durable=False) as cluster:
        joined = cluster.postmaster_pid

    assert Postmaster(cluster.cluster_folder).is_ready()
    assert cluster.postmaster_pid == joined


def test_whoever_started_the_server_may_leave_first(data_dir: Path, another_user: Callable[[Path], User]) -> None:
    first = another_user(data_dir)

    with postgres.embedded(data_dir, durable=False) as cluster:
        first.communicate("")

        write_row(cluster.owner_url)
        assert rows(cluster.owner_url) == [("here",)]


def test_three_who_start_at_once_share_one_server(data_dir: Path) -> None:
    users = [user_of(data_dir) for _ in range(3)]

    servers = {server_of(user) for user in users}
    for user in users:
        user.communicate("")

    assert len(servers) == 1
    assert [user.returncode for user in users] == [0, 0, 0]


def test_after_kill_9_of_the_server_it_is_back_with_its_rows(data_dir: Path) -> None:
    with postgres.embedded(data_dir) as cluster:
        write_row(cluster.owner_url)
        killed = cluster.postmaster_pid
        assert killed is not None

        os.kill(killed, signal.SIGKILL)
        until(lambda: cluster.postmaster_pid != killed and Postmaster(cluster.cluster_folder).is_ready())

        assert rows(cluster.owner_url) == [("here",)]


def test_after_kill_9_of_its_user_no_server_is_left_behind(
    data_dir: Path, another_user: Callable[[Path], User]
) -> None:
    user = another_user(data_dir)
    server = Postmaster(data_dir / "postgres" / "data")
    assert server.is_alive()

    user.kill()

    until(lambda: not server.is_alive())


def test_after_kill_9_of_its_keeper_the_server_ends_and_is_started_again_on_request(data_dir: Path) -> None:
    with postgres.embedded(data_dir, durable=False) as cluster:
        write_row(cluster.owner_url)
        server = cluster.postmaster_pid
        keeper = int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])

        os.kill(keeper, signal.SIGKILL)
        until(lambda: kept_again(cluster) != server)

        assert rows(cluster.owner_url) == [("here",)]


def test_a_pid_file_that_names_another_program_does_not_stop_the_start(data_dir: Path) -> None:
    with postgres.embedded(data_dir, durable=False) as cluster:
        pid_file = cluster.cluster_folder / "postmaster.pid"
        text = pid_file.read_text()
    pid_file.write_text("\n".join([str(os.getpid()), *text.splitlines()[1:]]))

    with postgres.embedded(data_dir, durable=False) as cluster, psycopg.connect(cluster.app_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_pid_file_that_names_a_zombie_does_not_stop_the_start(data_dir: Path) -> None:
    with postgres.embedded(data_dir, durable=False) as cluster:
        pid_file = cluster.cluster_folder / "postmaster.pid"
        text = pid_file.read_text()
    with subprocess.Popen(["/bin/true"]) as zombie:
        until(lambda: ") Z " in Path(f"/proc/{zombie.pid}/stat").read_text())
        pid_file.write_text("\n".join([str(zombie.pid), *text.splitlines()[1:]]))

        with postgres.embedded(data_dir, durable=False) as cluster, psycopg.connect(cluster.app_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_two_installations_run_side_by_side_and_know_nothing_of_each_other(
    new_data_dir: Callable[[], Path],
) -> None:
    one, two = new_data_dir(), new_data_dir()

    with postgres.embedded(one, durable=False) as first, postgres.embedded(two, durable=False) as second:
        write_row(first.owner_url)

        assert first.postmaster_pid != second.postmaster_pid
        with pytest.raises(psycopg.errors.UndefinedTable):
            rows(second.owner_url)


def test_a_long_path_gets_its_socket_elsewhere(data_dir: Path) -> None:
    deep = data_dir / ("a-very-long-name-" * 4) / ("and-another-one-" * 4)
    deep.mkdir(parents=True)

    with postgres.embedded(deep, durable=False) as cluster:
        write_row(cluster.owner_url)
        elsewhere = Path((cluster.cluster_folder.parent / "socket.location").read_text().strip())
        found = mode(elsewhere)
    shutil.rmtree(elsewhere)

    assert found == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's data directory can be out of its server's reach")
def test_a_data_directory_below_roots_closed_home_stays_closed(data_dir: Path) -> None:
    closed = data_dir / "closed"
    closed.mkdir(mode=0o700)

    with postgres.embedded(closed / "var", durable=False) as cluster:
        write_row(cluster.owner_url)
        kept_in = cluster.cluster_folder.parent
    with postgres.embedded(closed / "var", durable=False) as cluster:
        again = rows(cluster.owner_url)
    shutil.rmtree(kept_in)

    assert mode(closed) == 0o700
    assert closed not in kept_in.parents
    assert again == [("here",)]


def test_a_cluster_of_another_major_version_is_refused_with_the_mend(data_dir: Path) -> None:
    with postgres.embedded(data_dir, durable=False) as cluster:
        assert (cluster.cluster_folder / "PG_VERSION").exists()
    (cluster.cluster_folder / "PG_VERSION").write_text("12\n")

    with pytest.raises(CannotStart, match=r"made by PostgreSQL 12.*dump it"), postgres.embedded(data_dir):
        pass


def test_a_folder_without_the_programs_is_refused_by_name(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXPURA_POSTGRES_BIN", str(data_dir))

    with pytest.raises(CannotStart, match="NEXPURA_POSTGRES_BIN must name a folder"):
        binaries.find()


def test_a_data_directory_that_is_a_file_is_refused_by_name(data_dir: Path) -> None:
    path = data_dir / "file"
    path.touch()

    with pytest.raises(CannotStart, match="mend NEXPURA_DATA_DIR"), postgres.embedded(path):
        pass


def test_a_server_that_cannot_start_says_why_and_where_to_look(data_dir: Path) -> None:
    with postgres.embedded(data_dir, durable=False) as cluster:
        settings = cluster.cluster_folder / "postgresql.conf"
    settings.write_text(settings.read_text() + "\nwork_mem = 'plenty'\n")

    with pytest.raises(CannotStart, match=r"does not start \(.*see .*log"), postgres.embedded(data_dir):
        pass
