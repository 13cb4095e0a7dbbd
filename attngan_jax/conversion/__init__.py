"""Whole trained models in and out: the files of the released code, exports."""
