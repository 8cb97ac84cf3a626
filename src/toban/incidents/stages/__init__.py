"""What can happen to an open incident as time passes, one stage each."""
