"""The life of one neuron: what reached it, what that added, when it fired, why, and whom it reached."""
