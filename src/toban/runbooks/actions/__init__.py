"""The actions of runbooks, one module each."""
