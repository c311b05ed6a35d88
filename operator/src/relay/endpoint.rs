//! Agents reach the replica that leads: the Service has no selector, and its one EndpointSlice
//! names the leader's pod.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

/// The field manager that owns the EndpointSlice.
pub const FIELD_MANAGER: &str = "picket-relay";
/// How often the slice is written again: somebody may have changed it.
const AGAIN: Duration = Duration::from_secs(60);
/// Time before another try after an error.
const RETRY: Duration = Duration::from_secs(2);

/// Keeps the EndpointSlice of the relay's Service pointed at this pod while it leads.
pub struct Endpoint {
    /// Client.
    pub client: Client,
    /// Namespace of the operator.
    pub namespace: String,
    /// Name of the Service, and of the slice.
    pub service: String,
    /// Address of this pod.
    pub address: IpAddr,
    /// Port of the relay.
    pub port: u16,
}

impl Endpoint {
    /// Runs for ever.
    pub async fn run(self, mut leading: watch::Receiver<bool>) {
        let mut told = false;
        loop {
            let leads = *leading.borrow_and_update();
            let pause = match leads {
                false => {
                    told = false;
                    None
                }
                true => match self.write().await {
                    Ok(()) => {
                        if !std::mem::replace(&mut told, true) {
                            info!(service = %self.service, address = %self.address, "agents come here");
                        }
                        Some(AGAIN)
                    }
                    Err(error) => {
                        warn!(service = %self.service, %error, "cannot point the relay's Service here, trying again");
                        Some(RETRY)
                    }
                },
            };
            let pause = async {
                match pause {
                    Some(pause) => sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = leading.changed() => if changed.is_err() { return },
                () = pause => {}
            }
        }
    }

    async fn write(&self) -> Result<(), kube::Error> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &self.namespace);
        let service = services.get(&self.service).await?;
        let uid = service.metadata.uid.unwrap_or_default();
        // Whatever the operator of before wrote holds no longer.
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(self.slice(&uid));
        slices.patch(&self.service, &parameters, &patch).await?;
        Ok(())
    }

    fn slice(&self, service_uid: &str) -> Value {
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": self.service,
                "labels": {
                    "kubernetes.io/service-name": self.service,
                    "endpointslice.kubernetes.io/managed-by": "picket.dev",
                },
                // Goes with its Service when Picket is uninstalled.
                "ownerReferences": [{
                    "apiVersion": "v1", "kind": "Service", "name": self.service,
                    "uid": service_uid,
                }],
            },
            "addressType": match self.address {
                IpAddr::V4(_) => "IPv4",
                IpAddr::V6(_) => "IPv6",
            },
            "endpoints": [{
                "addresses": [self.address.to_string()],
                "conditions": {"ready": true},
            }],
            "ports": [{"name": "relay", "port": self.port, "protocol": "TCP"}],
        })
    }
}
