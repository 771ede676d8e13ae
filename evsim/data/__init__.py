"""The bundled demo: a small trained model and recordings of handwritten digits that it never saw in training."""
