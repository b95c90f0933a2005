"""Colour maps, pictures and figures of relevance."""
