"""What the kubelet needs of a container runtime, in its own words.

`runtime.Runtime` is the seam: `cri.CriRuntime` implements it on a CRI socket, `simulated.SimulatedRuntime` without containers. `records`
say what the runtime has, `specs` what it is to make. All are values; none holds a protobuf message, so that nothing but `cri` needs
gRPC.
"""
