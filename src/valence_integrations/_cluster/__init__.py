"""Permits and answers shared by the machines of a cluster, served by one of its processes."""
