"""Tests of cxrserve.bench."""
