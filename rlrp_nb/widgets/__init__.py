"""The Python half of the widgets, and the data that they share with the page."""
