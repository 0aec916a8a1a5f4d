"""`frontdesk bench`: measures this machine, our engine and its peers side by side in one run.

`report.measure` runs a `plan.Plan` and gives the rows that `table` and `--json` show. Every contestant
works in a process of its own, so that its memory can be told; only one works at a time, and repeats are
interleaved, so that the noise of a shared machine hits all alike.
"""
