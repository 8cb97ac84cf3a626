"""toban's own JSON API: operations with their models, and the OpenAPI document."""
