"""Households and families from the population register, as lazy frame functions."""
