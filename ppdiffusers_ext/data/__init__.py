"""Reading and writing pictures and videos, and drawn clips to try things on. No Paddle in here."""
