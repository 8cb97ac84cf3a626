"""An outside engine: remote write to it, questions to it."""
