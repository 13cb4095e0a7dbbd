"""Made-up birds: species, the drawing of one bird, and sentences about it."""
