"""cxrserve: one chest X-ray in, 14 probabilities and the pictures that explain them out.

Research software, not a medical device.
"""

__version__ = "0.1.0"
