"""Which errors a set of predictions makes, and what each costs."""
