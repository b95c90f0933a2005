"""Networks by name, each with its preprocessing and class names."""
