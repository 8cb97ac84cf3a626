"""
The template language of annotations and labels: the part of Go's text/template that alerts need.

``{{ $labels.instance }}``, ``{{ $value | humanize }}``, ``{{ printf "%.1f" $value }}``,
``{{ query "up" | first | value }}``, ``if``, ``range``, ``with`` and variables; the functions are those of
`functions.FUNCTIONS`. The result is the same as Prometheus':
https://prometheus.io/docs/prometheus/latest/configuration/template_reference/.
"""
