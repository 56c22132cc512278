"""Run the sandbox over HTTP and TLS: read one command per line on stdin, print one line of JSON for each."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from valence_integrations.sandbox import Policy, Sandbox


def main() -> None:
    options = json.loads(sys.argv[1])
    policy, authority = options.pop("policy", None), options.pop("authority", None)
    sandbox = Sandbox(**options, policy=Policy(**policy) if policy else None)
    with sandbox:
        started = {"url": sandbox.url, "api_key": sandbox.api_key}
        if authority is not None:
            from _tls import serve_tls

            started["tls_url"] = f"https://127.0.0.1:{serve_tls(urlsplit(sandbox.url).port or 0, Path(authority))}"
        send(started)
        for line in sys.stdin:
            if line.strip() == "reset":
                sandbox.reset()
                since = time.process_time()
                send({})
            else:
                # Count the connections used, not those opened: the warm-up may have opened them.
                ports = {record.remote_port for record in sandbox.requests}
                calls = sorted(record.time for record in sandbox.requests if record.sha256)
                send(
                    {
                        "calls": sandbox.answered,
                        "uploads": sandbox.uploads,
                        "polls": sandbox.polls,
                        "bytes": sandbox.bytes_received,
                        "connections": len(ports),
                        "max_in_flight": sandbox.max_in_flight,
                        "refused": sum(record.status == 429 for record in sandbox.requests),
                        "span_seconds": calls[-1] - calls[0] if calls else 0.0,
                        "cpu_seconds": time.process_time() - since,
                    }
                )


def send(content: dict[str, object]) -> None:
    print(json.dumps(content), flush=True)


if __name__ == "__main__":
    main()
