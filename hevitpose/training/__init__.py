"""Training: the loop, optimisers, schedules, callbacks, devices."""
