"""A network of floats becomes one of integers: `quantize` chooses what they count in, and says what that changes."""

from evsim.quantizing.calibration import Calibration, calibrate
from evsim.quantizing.quantizer import LayerChange, Quantized, quantize

__all__ = ["Calibration", "LayerChange", "Quantized", "calibrate", "quantize"]
