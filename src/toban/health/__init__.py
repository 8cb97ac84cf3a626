"""A view of the newest samples: is it well?"""
