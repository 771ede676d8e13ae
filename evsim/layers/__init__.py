"""The running form of each primitive: its state, and one step from packet to packet."""
