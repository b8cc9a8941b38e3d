"""Bytes to Radiograph to Pyramid: the only place that knows file formats and resizes images."""
