"""What tables and pictures are written as: Markdown, LaTeX, CSV, the README, the page."""
