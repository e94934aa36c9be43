"""Pictures, each from plain data."""
