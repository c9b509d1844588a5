"""Preprocessing of pictures and videos of people: skeletons, alignment, faces."""
