"""Audio: every form of an item, opened; how long it is, where it goes, and what is sent."""
