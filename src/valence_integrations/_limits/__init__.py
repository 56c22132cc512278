"""Limits: when the next call may start, and how many may be under way; for all processes with the same account.

Every window of the account's policy (second, minute, hour, day, burst) holds at once and exactly: a permit has a start
time, and the permit of `count` before it started at least `seconds` earlier. The start times of the last permits, the
permits that are out, and a hold after a 429 stand in one SQLite file for each key and host.
"""
