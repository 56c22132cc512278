"""HTML that is safe as it is built, the colours of emotions, and small pictures."""
