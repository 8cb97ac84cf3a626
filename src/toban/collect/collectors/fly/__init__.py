"""The collector `fly`: machines on Fly.io, by its Machines API and its managed Prometheus."""
