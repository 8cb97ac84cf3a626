"""The shop as one noun: where its parts are, and the connections that are lent to whoever looks at them."""
