"""
The language of annotations and labels: Go's templates, as far as alerts need them.

``{{ $labels.instance }}``, ``{{ $value | humanize }}``, ``{{ printf "%.1f" $value }}``,
``{{ query "up" | first | value }}``, ``if``, ``range``, ``with`` and variables; the functions are those of
`functions.FUNCTIONS` and no others. What Prometheus renders comes to the same text:
https://prometheus.io/docs/prometheus/latest/configuration/template_reference/.
"""
