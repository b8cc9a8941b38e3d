"""Members in 8-bit integers, and the gate that each must pass before it may serve."""
