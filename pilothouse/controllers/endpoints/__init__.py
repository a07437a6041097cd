"""Which addresses stand behind a Service: EndpointSlices, and the older Endpoints.

`members` reads pods and Services and finds out whose change concerns whom; `slices` and `subsets` decide, each for one of the two
kinds; `controllers` writes. Source: upstream `staging/src/k8s.io/endpointslice`, `pkg/controller/endpointslice`,
`pkg/controller/endpoint`.
"""
