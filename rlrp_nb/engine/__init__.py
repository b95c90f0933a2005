"""The method: from a network to relevance. Knows torch; knows no Jupyter, no files of images, no plotting."""
