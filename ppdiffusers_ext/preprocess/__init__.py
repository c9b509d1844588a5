"""From pictures and videos of people to what the systems are driven by: skeletons, alignment, faces."""
