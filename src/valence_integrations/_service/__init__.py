"""The service: HTTP, the two APIs, parsing of their answers, and retries."""
