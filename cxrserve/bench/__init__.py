"""Load on a service, honestly measured: open loop, so that a slow service cannot slow its own questions."""
