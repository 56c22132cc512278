"""Run the sandbox as a command: ``python -m valence_integrations.sandbox`` or ``valence-sandbox``."""

from __future__ import annotations

import argparse
import sys
import threading
from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar

from . import Faults, Policy, Sandbox

if TYPE_CHECKING:
    from collections.abc import Sequence

S = TypeVar("S", Faults, Policy)

_MAX_PORT = 65_535

_BANNER = """\
Valence sandbox: a local stand-in, whose answers come from an acoustic rule, not an emotion model.

  url  {url}
  key  {key}

export VALENCE_API_BASE_URL={url}
export VALENCE_API_KEY={key}

Ctrl-C stops it.
"""


def main(argv: Sequence[str] | None = None, prog: str = "valence-sandbox") -> int:
    """Serve until Ctrl-C; return the exit code. `prog` is the name of the command."""
    options = _parser(prog).parse_args(argv)
    try:
        sandbox = Sandbox(
            latency=options.latency,
            faults=options.faults,
            policy=options.policy,
            api_key=options.api_key,
            host=options.host,
            port=options.port,
            answers=options.answers,
            asynch_pickup=options.asynch_pickup,
            asynch_seconds_per_minute=options.asynch_seconds_per_minute,
        )
        with sandbox:
            sys.stdout.write(_BANNER.format(url=sandbox.url, key=sandbox.api_key))
            sys.stdout.flush()
            threading.Event().wait()
    except KeyboardInterrupt:
        sys.stdout.write("\nstopped\n")
    except (ImportError, OSError) as error:
        sys.stderr.write(f"{prog}: {error}\n")
        return 1
    return 0


def _parser(prog: str = "valence-sandbox") -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        usage="%(prog)s [OPTIONS]",
        description="A local stand-in for the Valence API, not an emotion model.",
        epilog=f"example: {prog} --port 0 --latency 0.2-0.5 --policy --faults server_error=0.1,drop=0.05",
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8787, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--api-key", default="sandbox-key", help="the one key that is let in (default: %(default)s)")
    parser.add_argument(
        "--latency",
        type=_latency,
        default=0.0,
        metavar="S[-S]",
        help="seconds added to each discrete answer: 0.2, 0.1-0.5",
    )
    parser.add_argument(
        "--policy",
        type=_policy,
        nargs="?",
        const="standard",
        metavar="LIMITS",
        help="enforce the documented policy, or limits such as requests_per_second=5,max_concurrent_requests=2",
    )
    parser.add_argument(
        "--faults",
        type=_faults,
        metavar="FAULTS",
        help="what goes wrong: server_error=0.1,drop=0.05,seed=3 or script=500+drop+ok",
    )
    parser.add_argument("--answers", default="live", choices=["live", "readme", "dominant", "list"], help="their shape")
    parser.add_argument(
        "--asynch-pickup",
        type=float,
        default=0.2,
        metavar="S",
        help="seconds until an upload is processed (vendor: 10)",
    )
    parser.add_argument(
        "--asynch-seconds-per-minute",
        type=float,
        default=0.2,
        metavar="S",
        help="processing of a minute (vendor: 1 to 5)",
    )
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _MAX_PORT:
        raise argparse.ArgumentTypeError(f"must be a whole number between 0 and {_MAX_PORT}, not {text!r}")
    return int(text)


def _latency(text: str) -> float | tuple[float, float]:
    low, dash, high = text.partition("-")
    return (float(low), float(high)) if dash else float(low)


def _policy(text: str) -> Policy:
    return Policy.standard() if text == "standard" else _settings(Policy, text)


def _faults(text: str) -> Faults:
    return _settings(Faults, text)


def _settings(kind: type[S], text: str) -> S:
    """Parse ``name=value,name=value``."""
    known = [field.name for field in fields(kind)]
    values: dict[str, str] = {}
    for item in text.split(","):
        name, _, value = (part.strip() for part in item.partition("="))
        if name not in known:
            raise argparse.ArgumentTypeError(f"unknown name {name!r}, take {', '.join(known)}")
        values[name] = value
    try:
        return kind(**{name: _value(name, value) for name, value in values.items()})  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _value(name: str, text: str) -> object:
    if name == "policy_name":
        return text
    if name == "script":
        return tuple(text.split("+"))
    if name == "asynch":
        return text.lower() in {"1", "true", "yes"}
    return int(text) if text.isdigit() else float(text)


if __name__ == "__main__":
    sys.exit(main())
