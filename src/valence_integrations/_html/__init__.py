"""Escaped HTML, the colours of emotions, and small pictures."""
