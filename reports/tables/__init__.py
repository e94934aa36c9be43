"""Tables as data, from records and published numbers."""
