"""Inference engines, one small file for each, behind one interface."""
