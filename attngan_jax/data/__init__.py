"""Datasets and the path from their records to batches."""
