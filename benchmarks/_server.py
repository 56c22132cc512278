"""The sandbox in a process of its own, over HTTP and TLS: one command a line on stdin, one line of JSON on stdout."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from _tls import serve_tls

from valence_integrations.sandbox import Sandbox


def main() -> None:
    sandbox = Sandbox(**json.loads(sys.argv[2]))
    with sandbox:
        tls_port = serve_tls(urlsplit(sandbox.url).port or 0, Path(sys.argv[1]))
        say({"url": sandbox.url, "tls_url": f"https://127.0.0.1:{tls_port}", "api_key": sandbox.api_key})
        for line in sys.stdin:
            if line.strip() == "reset":
                sandbox.reset()
                since = time.process_time()
                say({})
            else:
                # Connections that were used, not those that were opened: the warm-up may have opened them.
                ports = {record.remote_port for record in sandbox.requests}
                say(
                    {
                        "calls": sandbox.answered,
                        "uploads": sandbox.uploads,
                        "polls": sandbox.polls,
                        "bytes": sandbox.bytes_received,
                        "connections": len(ports),
                        "max_in_flight": sandbox.max_in_flight,
                        "cpu_seconds": time.process_time() - since,
                    }
                )


def say(content: dict[str, object]) -> None:
    print(json.dumps(content), flush=True)


if __name__ == "__main__":
    main()
