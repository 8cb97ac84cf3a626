"""The shipped boards, one file each."""
