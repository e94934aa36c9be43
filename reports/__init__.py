"""Tables, plots and pages: views of result records. Torch-free, so they render in seconds."""
