"""Numbers of what a canvas shows: parts of a figure. Of two sides it is the right one; the left one is the next."""

TRUNK, NECK, HEAD, HAIR, HEM = 1, 2, 3, 4, 5
UPPER_ARM, FOREARM, HAND = 10, 12, 14
THIGH, SHIN, FOOT = 16, 18, 20
