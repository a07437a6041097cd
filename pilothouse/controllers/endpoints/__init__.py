"""Which addresses stand behind a Service: EndpointSlices, and the older Endpoints.

`members` reads pods and Services; `slices`, `subsets` and `mirror` decide, `packing` fits endpoints into slices; `controllers`
writes. Source: upstream `staging/src/k8s.io/endpointslice`, `pkg/controller/endpointslice`, `pkg/controller/endpoint`.
"""
