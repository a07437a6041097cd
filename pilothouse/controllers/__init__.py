"""The control loops that make the cluster as its objects say: one module or package each, listed in `table`.

`runtime` is what all stand on; rules that several share are in `pods`, `expectations` and `disruption_target`.
"""
