"""Evaluation: what a trained run makes, and how good it is."""
