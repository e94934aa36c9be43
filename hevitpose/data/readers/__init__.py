"""One reader a format, from files to a :class:`~hevitpose.data.table.PoseTable`."""
