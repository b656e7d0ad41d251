"""Photos before and after, and what can be measured of them: protocol, metrics, intervals, matching, figures."""
