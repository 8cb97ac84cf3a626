"""toban: the one on duty for a Vendure webshop."""

__version__ = "0.1.0"
