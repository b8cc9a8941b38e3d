"""A Prediction as other programs and people read it: JSON, overlays."""
