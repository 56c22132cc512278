"""Audio: open items in every form, measure their length, route them, and encode what is sent."""
