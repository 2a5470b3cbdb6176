"""Label maps: 0 is background, c + 1 is class c, and IGNORE marks pixels that count for nothing."""

IGNORE = 255
