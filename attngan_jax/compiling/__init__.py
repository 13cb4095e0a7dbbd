"""Compiling the training steps for TPUs that are not there: what a run will need and do."""
