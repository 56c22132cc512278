"""The service: HTTP, the two APIs, their answers, and which failures are tried again."""
