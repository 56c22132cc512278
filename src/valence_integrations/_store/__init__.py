"""Files that processes share: answers in the cache, and SQLite made safe for forks."""
