"""API priority and fairness: which requests wait for which. Source: KEP-1040, apiserver `pkg/util/flowcontrol`."""
