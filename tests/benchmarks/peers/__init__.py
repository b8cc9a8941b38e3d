"""Other servers around the same networks, for comparison: same images, same 14 probabilities."""
