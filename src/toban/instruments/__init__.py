"""The shop's metrics: their names, how they are counted, and the limits of their labels."""
