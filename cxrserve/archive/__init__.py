"""The archive: what was received is kept, worked on once, and its results are delivered. Below every protocol."""
