"""How names resolve inside a pod: its host name, resolv.conf and hosts file. Pure.

Source: "DNS for Services and Pods", "Adding entries to Pod /etc/hosts with HostAliases", the limits of KEP-2595.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pilothouse.api.views.pod import PodView
from pilothouse.kubelet.runtime.specs import Dns

MAX_HOSTNAME = 63
MAX_KERNEL_HOSTNAME = 64
MAX_SERVERS = 3
MAX_SEARCHES = 32
MAX_SEARCH_CHARACTERS = 2048

_HOSTS_HEADER = "# Kubernetes-managed hosts file.\n"
_HOST_NETWORK_HEADER = "# Kubernetes-managed hosts file (host network).\n"
_LOCAL_HOSTS = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::0", "ip6-localnet"),
    ("fe00::0", "ip6-mcastprefix"),
    ("fe00::1", "ip6-allnodes"),
    ("fe00::2", "ip6-allrouters"),
)


def host_and_domain(pod: PodView, cluster_domain: str) -> tuple[str, str]:
    """The pod's own name and the domain it is in; the domain is empty where the pod names no subdomain."""
    override = pod.spec.get("hostnameOverride")
    if override:
        return _truncated(override), ""
    hostname = _truncated(pod.spec.get("hostname") or pod.name)
    subdomain = pod.spec.get("subdomain")
    return hostname, f"{subdomain}.{pod.namespace}.svc.{cluster_domain}" if subdomain else ""


def kernel_hostname(pod: PodView, cluster_domain: str) -> str:
    """What `uname -n` says in the pod. Raises ValueError if a full name does not fit into the kernel."""
    hostname, domain = host_and_domain(pod, cluster_domain)
    if not pod.spec.get("setHostnameAsFQDN") or not domain:
        return hostname
    full = f"{hostname}.{domain}"
    if len(full) > MAX_KERNEL_HOSTNAME:
        raise ValueError(
            f"failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long "
            f"({MAX_KERNEL_HOSTNAME} characters is the max, {len(full)} characters requested)"
        )
    return full


def _truncated(hostname: str) -> str:
    return hostname if len(hostname) <= MAX_HOSTNAME else hostname[:MAX_HOSTNAME].rstrip("-.")


def parse_resolv_conf(text: str) -> Dns:
    """What a resolv.conf says; the last `search` and all `options` hold."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        fields = line.split()
        if not fields or fields[0][0] in "#;":
            continue
        if fields[0] == "nameserver" and len(fields) > 1:
            servers.append(fields[1])
        elif fields[0] in ("search", "domain"):
            searches = [_search(domain) for domain in fields[1:]]
        elif fields[0] == "options":
            options = _merged_options(options, fields[1:])
    return Dns(tuple(servers), tuple(searches), tuple(options))


def _search(domain: str) -> str:
    return domain if domain == "." else domain.rstrip(".")


def pod_dns(pod: PodView, cluster_dns: Sequence[str], cluster_domain: str, host: Dns) -> Dns:
    """The resolv.conf of a pod, cut to what resolvers can take."""
    policy = pod.spec.get("dnsPolicy") or "ClusterFirst"
    is_cluster = policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not pod.host_network)
    if policy == "None":
        dns = Dns()
    elif is_cluster and cluster_dns:
        searches = (f"{pod.namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain)
        dns = Dns(tuple(cluster_dns), _unique((*searches, *host.searches)), ("ndots:5",))
    else:
        dns = host
    config = pod.spec.get("dnsConfig") or {}
    servers = _unique((*dns.servers, *(config.get("nameservers") or ())))
    all_searches = _unique((*dns.searches, *(config.get("searches") or ())))
    options = [
        f"{option['name']}:{option['value']}" if option.get("value") else option["name"]
        for option in config.get("options") or ()
    ]
    return Dns(servers[:MAX_SERVERS], _fitting(all_searches), tuple(_merged_options(dns.options, options)))


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _fitting(searches: Sequence[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for search in searches[:MAX_SEARCHES]:
        if len(" ".join((*kept, search))) > MAX_SEARCH_CHARACTERS:
            break
        kept.append(search)
    return tuple(kept)


def _merged_options(options: Sequence[str], more: Iterable[str]) -> list[str]:
    """`more` replaces options of the same name (`ndots:5` is named `ndots`)."""
    merged = {option.partition(":")[0]: option for option in options}
    merged.update((option.partition(":")[0], option) for option in more)
    return list(merged.values())


def hosts_file(pod: PodView, ips: Sequence[str], cluster_domain: str, host_text: str) -> str:
    """The text of a pod's /etc/hosts. On the host's network it is the host's own (`host_text`) and the pod's aliases."""
    aliases = _alias_lines(pod.spec.get("hostAliases") or ())
    if pod.host_network:
        return _HOST_NETWORK_HEADER + host_text + aliases
    hostname, domain = host_and_domain(pod, cluster_domain)
    names = f"{hostname}.{domain}\t{hostname}" if domain else hostname
    lines = [f"{ip}\t{name}\n" for ip, name in _LOCAL_HOSTS] + [f"{ip}\t{names}\n" for ip in ips]
    return _HOSTS_HEADER + "".join(lines) + aliases


def _alias_lines(aliases: Sequence[Mapping[str, Sequence[str]]]) -> str:
    if not aliases:
        return ""
    lines = ("\t".join((str(alias["ip"]), *(alias.get("hostnames") or ()))) for alias in aliases)
    return "\n# Entries added by HostAliases.\n" + "".join(f"{line}\n" for line in lines)
