"""Decides who hears about it, and reaches them."""
