"""Answers to incidents from outside toban's own pages: people click in Slack, or acknowledge at PagerDuty."""
