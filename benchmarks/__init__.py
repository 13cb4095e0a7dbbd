"""Timings, one program each; none is part of the tests."""
