"""The stages of the notification pipeline, one file each."""
