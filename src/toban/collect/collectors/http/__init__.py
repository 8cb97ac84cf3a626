"""The collector `http`: one request, its status, duration and body."""
