"""``python -m hevitpose.cli``."""

from hevitpose.cli import main

main()
