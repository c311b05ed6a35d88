//! The cluster's own networks, as far as they can be learnt.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::time::timeout;
use tracing::{info, warn};

/// How long an API server may take to tell of its networks.
const PATIENCE: Duration = Duration::from_secs(5);

/// The networks of Services: from the API server (Kubernetes 1.33), else the /16 (IPv4) or /108
/// (IPv6) around the address at which every pod finds it (`KUBERNETES_SERVICE_HOST`).
pub async fn of_services(client: &Client, host: Option<String>) -> Vec<IpNet> {
    let api: Api<ServiceCIDR> = Api::all(client.clone());
    let params = ListParams::default();
    let listed = timeout(PATIENCE, api.list(&params)).await;
    let networks: Vec<IpNet> = match listed {
        Ok(Ok(list)) => list
            .items
            .into_iter()
            .filter_map(|item| item.spec?.cidrs)
            .flatten()
            .filter_map(|cidr| cidr.parse().ok())
            .collect(),
        Ok(Err(error)) => {
            info!(%error, "the API server does not tell the networks of Services");
            Vec::new()
        }
        Err(_) => {
            warn!("the API server did not tell the networks of Services in time");
            Vec::new()
        }
    };
    if networks.is_empty() {
        around(host).into_iter().collect()
    } else {
        networks
    }
}

fn around(host: Option<String>) -> Option<IpNet> {
    let address: IpAddr = host?.parse().ok()?;
    let prefix = if address.is_ipv4() { 16 } else { 108 };
    IpNet::new(address, prefix).ok().map(|net| net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_around_the_api_server() {
        for (host, expected) in [
            (Some("172.20.0.1"), Some("172.20.0.0/16")),
            (Some("fd12:3456::1"), Some("fd12:3456::/108")),
            (Some("kubernetes.default"), None),
            (None, None),
        ] {
            let found = around(host.map(str::to_owned)).map(|net| net.to_string());
            assert_eq!(found.as_deref(), expected);
        }
    }
}
