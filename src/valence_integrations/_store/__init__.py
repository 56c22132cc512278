"""Files shared by processes: the result cache, and SQLite connections that are safe with forks."""
