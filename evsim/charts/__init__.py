"""Numbers become charts: Vega-Lite descriptions, drawn as SVG, PNG or PDF by vl-convert; see docs/report.md."""
