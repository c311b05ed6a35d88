//! A mock of kube-proxy and of the pod network: connections to a port of this machine go where
//! the EndpointSlice of a Service says when they are made. Addresses of the slice are not looked
//! at, for no pod has one here; its port is one of this machine.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

use serde_json::Value;

use super::{ControlPlane, Kubectl};

/// The end of a Service on this machine; it works until the test's process ends.
pub struct ServicePort {
    /// Where to connect to.
    pub port: u16,
}

impl ServicePort {
    /// Serves the EndpointSlice that has the Service's name.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start(control_plane: &ControlPlane, namespace: &str, service: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("address").port();
        let kubectl = control_plane.kubectl();
        let (namespace, service) = (namespace.to_owned(), service.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Nobody there: the connection is closed, as one that is reset.
                let Some(port) = target(&kubectl, &namespace, &service) else {
                    continue;
                };
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                    join(&client, &server);
                    join(&server, &client);
                }
            }
        });
        Self { port }
    }
}

fn target(kubectl: &Kubectl, namespace: &str, service: &str) -> Option<u16> {
    let slice = kubectl.get("endpointslice", namespace, service)?;
    let port: &Value = &slice["ports"][0]["port"];
    u16::try_from(port.as_u64()?).ok()
}

/// Copies from one to the other until either ends.
fn join(from: &TcpStream, to: &TcpStream) {
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else {
        return;
    };
    thread::spawn(move || {
        // Whatever ends it ends both directions.
        let _ = io::copy(&mut from, &mut to);
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
}
