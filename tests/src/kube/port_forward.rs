//! A mock of what kubelet does for `kubectl port-forward`: whatever port of whatever pod is asked
//! for, the bytes go to one port of this machine. The protocol is kubelet's own for WebSockets
//! (`v4.channel.k8s.io`: one channel for data, one for errors, each begun by the port's number).

use std::net::{Ipv4Addr, TcpListener};

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::served::{self, Listening};
use super::{ControlPlane, exec_endpoint};

const PROTOCOL: &str = "v4.channel.k8s.io";

/// A node whose kubelet forwards ports; it works until the test's process ends.
pub struct PortForward {
    /// Its node's name: pods need it as `spec.nodeName`.
    pub node: String,
}

impl PortForward {
    /// Forwards to `port` of this machine.
    ///
    /// # Panics
    /// When the node cannot be had.
    #[must_use]
    pub fn start(control_plane: &ControlPlane, port: u16) -> Self {
        let Listening {
            listener,
            tls,
            served,
        } = served::listen();
        let node = exec_endpoint::node(control_plane, served.port);
        let acceptor = TlsAcceptor::from(tls);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("runtime");
            runtime.block_on(serve(listener, acceptor, port));
        });
        Self { node }
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, port: u16) {
    listener.set_nonblocking(true).expect("a listener");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // Who does not speak the protocol gets no answer, and the test fails by that.
            let _ = forward(stream, acceptor, port).await;
        });
    }
}

async fn forward(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    to: u16,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = acceptor.accept(stream).await?;
    let mut asked = 0_u16;
    #[expect(
        clippy::result_large_err,
        reason = "the library's own type, which is never made here"
    )]
    let accept = |request: &Request, mut response: Response| {
        let query = request.uri().query().unwrap_or_default();
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let port = pairs.find(|(key, _)| ["port", "ports"].contains(key));
        asked = port.and_then(|(_, port)| port.parse().ok()).unwrap_or(0);
        let protocol = HeaderValue::from_static(PROTOCOL);
        response
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    let websocket = accept_hdr_async(stream, accept).await?;
    let (mut to_client, mut from_client) = websocket.split();
    for channel in [0, 1] {
        let [low, high] = asked.to_le_bytes();
        let first = Bytes::from(vec![channel, low, high]);
        to_client.send(Message::Binary(first)).await?;
    }
    let (mut reader, mut writer) = TcpStream::connect((Ipv4Addr::LOCALHOST, to))
        .await?
        .into_split();
    let out = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = reader.read(&mut buffer).await?;
            if count == 0 {
                break;
            }
            let mut message = vec![0];
            message.extend_from_slice(&buffer[..count]);
            to_client.send(Message::Binary(message.into())).await?;
        }
        to_client.close().await?;
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    };
    let back = async {
        while let Some(message) = from_client.next().await {
            match message? {
                Message::Binary(bytes) if bytes.first() == Some(&0) => {
                    writer.write_all(&bytes[1..]).await?;
                }
                Message::Close(_) => break,
                _ => {}
            }
        }
        Ok(())
    };
    tokio::select! {
        done = out => done,
        done = back => done,
    }
}
