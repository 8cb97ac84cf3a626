"""Who may use toban: users, their sessions, API tokens, roles and permissions."""
