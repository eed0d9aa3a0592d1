"""The `kinlink` command: its groups, and the one place where an error becomes words and an exit code.

Nothing of the data is ever printed with an error: one of ours says a sentence; any
other is a fault of kinlink, of which only the kind and the place in the code are shown,
and that only with KINLINK_DEBUG set.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback

import typer

from kinlink.cli import approvals, audit, deliver, dev, dpo, joined, keys, link, pseudonymise, release, serve, table
from kinlink.cli.exit_codes import ExitCode
from kinlink.errors import KinlinkError
from kinlink.ristretto255 import LibsodiumError

_HELP = """Privacy-preserving linkage for a municipality's systems.

Exit codes: 0 ok, 1 internal error, 2 usage, 3 bad input, 4 refused, 5 unavailable (try again), 6 conflict or not \
found, 7 over a limit.
"""


def build() -> typer.Typer:
    """Return the application with all its commands."""
    app = typer.Typer(
        name="kinlink",
        help=_HELP,
        epilog="Example: kinlink deliver --mapping prisme.toml --period 2014 posteringer.csv",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for group in (deliver, pseudonymise, link, table, release, keys, approvals, audit, dpo, dev, serve, joined):
        group.register(app)
    _join_lines(app)
    return app


def _join_lines(app: typer.Typer) -> None:
    """Make each paragraph of a command's docstring one line: typer would keep the line ends of all but the first."""
    for command in app.registered_commands:
        paragraphs = inspect.cleandoc((command.callback and command.callback.__doc__) or "").split("\n\n")
        command.help = "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)
    for group in app.registered_groups:
        if group.typer_instance:
            _join_lines(group.typer_instance)


def main() -> None:
    """Run the command and end the process with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code."""
    try:
        build()(args=arguments, prog_name="kinlink")
    except SystemExit as ended:  # how typer ends, also after it has explained a usage error
        if ended.code == ExitCode.INTERRUPTED:
            _say("interrupted, and nothing is left half done. Run the same command again.")
        return ended.code if isinstance(ended.code, int) else ExitCode.OK
    except KinlinkError as error:
        reason = f" [{error.reason}]" if error.reason else ""
        _say(f"{error}{reason}", *(f"{violation.field}: {violation.description}" for violation in error.violations))
        return error.exit_code
    except LibsodiumError as error:
        _say(str(error))
        return ExitCode.INTERNAL
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback, no value
        places = [
            f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
        ]
        debug = bool(os.environ.get("KINLINK_DEBUG"))
        hint = "" if debug else " Set KINLINK_DEBUG=1 to see where."
        _say(f"internal error ({type(error).__name__}).{hint}", *(places if debug else ()))
        return ExitCode.INTERNAL
    return ExitCode.OK


def _say(sentence: str, *details: str) -> None:
    typer.echo("\n  ".join([f"kinlink: {sentence}", *details]), err=True)


if __name__ == "__main__":
    main()
