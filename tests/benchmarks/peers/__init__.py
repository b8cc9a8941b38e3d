"""What a user would pick instead: the same bundle, the same films, the same 14 probabilities."""
