"""Images and digits in."""
