"""The collector `redis`: the INFO of Redis, Valkey or Upstash."""
