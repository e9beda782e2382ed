//! The web side over https: browsers give cameras and microphones only to pages that came so, or from this machine; and the
//! load tester's way to such servers.
//!
//! Told: a certificate chain and its key (PEM files). Tells: a listener for axum. Limits: handshakes under way
//! ([`HANDSHAKES`]), time for each. It uses the OpenSSL that the engine brings, so that the process has one.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_openssl::client::legacy::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use openssl::ssl::{
    AlpnError, Ssl, SslAcceptor, SslConnector, SslFiletype, SslMethod, SslVerifyMode, select_next_proto,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_openssl::SslStream;

/// Handshakes at a time; more connections wait in the kernel.
const HANDSHAKES: usize = 256;
/// Time for one.
const PATIENCE: Duration = Duration::from_secs(10);
/// A pause after the kernel refused a connection (no file descriptors left, most likely).
const REFUSED: Duration = Duration::from_millis(200);

/// What a TLS server shows of itself.
#[derive(Clone)]
pub(crate) struct Identity(SslAcceptor);

impl Identity {
    /// Reads the files; the error is one line that names the option.
    pub(crate) fn read(certificate: &Path, key: &Path) -> Result<Self, String> {
        let failed = |option: &str, file: &Path, error: &dyn std::fmt::Display| {
            format!("{option}: {} cannot be used: {error}; give a readable PEM file", file.display())
        };
        let cert = |error: openssl::error::ErrorStack| failed("--tls-cert", certificate, &error);
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).map_err(cert)?;
        builder.set_certificate_chain_file(certificate).map_err(cert)?;
        builder
            .set_private_key_file(key, SslFiletype::PEM)
            .and_then(|()| builder.check_private_key())
            .map_err(|error| failed("--tls-key", key, &error))?;
        builder
            .set_alpn_select_callback(|_, offered| select_next_proto(b"\x08http/1.1", offered).ok_or(AlpnError::NOACK));
        Ok(Self(builder.build()))
    }
}

/// Connections whose handshake is done.
pub(crate) struct TlsListener {
    local: SocketAddr,
    ready: mpsc::Receiver<(SslStream<TcpStream>, SocketAddr)>,
}

impl TlsListener {
    /// Takes connections in the background, so that a slow handshake holds up nobody else.
    pub(crate) fn start(listener: TcpListener, identity: Identity) -> io::Result<Self> {
        let local = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(HANDSHAKES);
        tokio::spawn(accept_all(listener, identity, sender));
        Ok(Self { local, ready })
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = SslStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The background task ends only with the program.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.local)
    }
}

async fn accept_all(
    listener: TcpListener,
    identity: Identity,
    ready: mpsc::Sender<(SslStream<TcpStream>, SocketAddr)>,
) {
    let turns = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let (stream, from) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(target: "sfu::web", "a connection was refused: {error}");
                    tokio::time::sleep(REFUSED).await;
                    continue;
                }
            },
            // Nobody serves any more: the port is given back.
            () = ready.closed() => return,
        };
        let (identity, ready) = (identity.clone(), ready.clone());
        tokio::spawn(async move {
            let _turn = turn;
            match tokio::time::timeout(PATIENCE, handshake(stream, &identity)).await {
                Ok(Ok(stream)) => drop(ready.send((stream, from)).await),
                Ok(Err(error)) => tracing::debug!(target: "sfu::web", "{from}: TLS handshake failed: {error}"),
                Err(_) => tracing::debug!(target: "sfu::web", "{from}: TLS handshake took too long"),
            }
        });
    }
}

async fn handshake(stream: TcpStream, identity: &Identity) -> Result<SslStream<TcpStream>, openssl::ssl::Error> {
    let mut stream = SslStream::new(Ssl::new(identity.0.context())?, stream)?;
    Pin::new(&mut stream).accept().await?;
    Ok(stream)
}
/// Connections to servers over http and https; `insecure` takes any certificate.
pub(crate) fn connector(insecure: bool) -> Result<HttpsConnector<HttpConnector>, String> {
    let failed = |error: openssl::error::ErrorStack| format!("TLS cannot be set up: {error}");
    let mut tls = SslConnector::builder(SslMethod::tls_client()).map_err(failed)?;
    if insecure {
        tls.set_verify(SslVerifyMode::NONE);
    }
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    HttpsConnector::with_connector(http, tls).map_err(failed)
}
