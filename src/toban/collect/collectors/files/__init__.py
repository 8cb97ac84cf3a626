"""The collector `files`: the size and age of a folder or an S3 bucket."""
