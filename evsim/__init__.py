"""Event-driven simulation of spiking vision transformers, with every synaptic operation counted."""

__version__ = "0.1.0"
