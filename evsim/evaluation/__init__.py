"""Whole data sets: accuracy, operations and energy of every sample, with their uncertainty."""
