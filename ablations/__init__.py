"""Ablations: grids as data, and the runner that turns them into records."""
