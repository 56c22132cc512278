"""Rate limiting and concurrency, shared by all processes with the same account.

All windows of the account's policy (second, minute, hour, day, burst) are enforced exactly: a permit has a start time,
and the permit `count` before it started at least `seconds` earlier. One SQLite file per key and host stores the start
times of the last permits, the permits in use, and a hold after a 429.
"""
