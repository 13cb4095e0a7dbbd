"""Networks trained on real procedural birds alone, and shipped: they judge all runs alike."""
