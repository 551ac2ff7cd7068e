"""Where things are, and the few names and numbers that parts of the cluster share."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]

# Everything that is kept, in the checkout: downloads and builds stay when the cluster goes.
CLUSTER = CHECKOUT / ".cluster"
BIN = CLUSTER / "bin"
LOGS = CLUSTER / "logs"
KUBECONFIG = CLUSTER / "kubeconfig"
AUDIT_LOG = CLUSTER / "audit.log"
LOADED = CLUSTER / "images.json"
LOCAL = CLUSTER / "local"

# One local cluster a machine, whatever the checkout: its mark, its process ids and its sockets are here.
# The data of the checkout is bind-mounted below, because the path of a socket may have 107 characters at most.
RUN = Path("/run/agentruns-cluster")
DATA = RUN / "data"
OWNER = RUN / "owner"
CONTAINERD_SOCKET = RUN / "containerd.sock"

NODE = "agentruns"
BRIDGE = "agentruns0"
NODE_ADDRESS = "10.213.0.1"
POD_RANGE = "10.213.0.0/22"
SERVICE_RANGE = "10.213.16.0/24"
API_SERVICE_ADDRESS = "10.213.16.1"

API_PORT = 26443
ETCD_PORT = 26379
ETCD_PEER_PORT = 26380
KUBELET_PORT = 26250
KUBELET_HEALTH_PORT = 26248
CONTROLLERS_PORT = 26257
SCHEDULER_PORT = 26259
PROXY_HEALTH_PORT = 26256
PROXY_METRICS_PORT = 26249
PORTS = (
    API_PORT,
    ETCD_PORT,
    ETCD_PEER_PORT,
    KUBELET_PORT,
    KUBELET_HEALTH_PORT,
    CONTROLLERS_PORT,
    SCHEDULER_PORT,
    PROXY_HEALTH_PORT,
    PROXY_METRICS_PORT,
)
API_URL = f"https://{NODE_ADDRESS}:{API_PORT}"
