"""Tests of the film check that serves: references, looks and decisions."""
