"""`mailchimp-emulator`: the emulator alone, on this machine's loopback address."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from mailchimp_emulator import seeding
from mailchimp_emulator.routes import Emulator
from mailchimp_emulator.serve import Server, listen

_LOOPBACK = ("127.0.0.1", "localhost")
_EPILOG = """\
It prints an address, an API key and an Audience ID that work. Then:

  a client   has http://127.0.0.1:9000/us14/3.0 in place of https://us14.api.mailchimp.com/3.0 (us14: the key's end)
  by hand    curl -u any:KEY http://127.0.0.1:9000/us14/3.0/lists/AUDIENCE/members
  a browser  http://127.0.0.1:9000/ shows the audience filling up, and lets its people unsubscribe, bounce or sign up
  a test     POST http://127.0.0.1:9000/_emulator/reset with {} begins anew; .../faults and .../latency make trouble

Everything is in memory and gone at the end. COVERAGE.md in the package says what it does and lacks.
"""


def main() -> None:
    """Serve until interrupted. Exit code 1 with one line if something about the start is wrong."""
    wanted = _arguments()
    try:
        state, weather = seeding.state_from(_seed(wanted.seed))
        listening = listen(wanted.port)
    except (seeding.UnclearError, OSError, ValueError) as error:
        sys.exit(f"mailchimp-emulator: {error}")
    port = listening.getsockname()[1]
    world = seeding.described(state)
    print(f"Mailchimp emulator at http://127.0.0.1:{port}/ (the API under /{{dc}}/3.0)")
    print(f"API key      {next(iter(world['keys']), '(none)')}")
    print(f"Audience ID  {next(iter(world['list_ids']), '(none)')}", flush=True)
    server = Server(Emulator(state, weather), port)
    try:
        server.run([listening])
    except KeyboardInterrupt:
        return
    finally:
        listening.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mailchimp-emulator",
        description="A small Mailchimp for this machine only: audiences, members and their rules, over HTTP.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=9000, help="0 takes a free one (default %(default)s)")
    parser.add_argument("--host", choices=_LOOPBACK, default=_LOOPBACK[0], help="loopback only")
    parser.add_argument("--seed", type=Path, metavar="FILE", help="JSON in the form of the body of `reset`")
    return parser.parse_args()


def _seed(file: Path | None) -> Any:
    return json.loads(file.read_text()) if file else {}


if __name__ == "__main__":
    main()
