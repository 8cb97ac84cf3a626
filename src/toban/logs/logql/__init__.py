"""LogQL: queries over stored log lines, in the language of Loki."""
