//! A TLS handshake to look at, not to use.
//!
//! The verifier of the real clients judges the certificates, and its judgement is written down instead of ending the
//! handshake: the report should show a bad chain, not only complain of it. Nothing secret ever travels over such a
//! connection. If the dates of a certificate are the trouble, one `HEAD /` asks the server for its own date, which
//! tells an expired certificate from a wrong clock of this machine; that date is unverified and treated so.

use std::sync::{Arc, Mutex, PoisonError};

use evergrant_core::time::{Boot, Server};
use evergrant_core::wire::parse_http_date;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::Facts;
use super::tunnel::read_head;
use crate::clock;
use crate::tls::Tls;
use crate::transport::Target;

/// What a handshake showed.
pub(super) struct Looked {
    /// The certificates, the server's own first.
    pub(super) chain: Vec<Facts>,
    /// What the verifier thinks of them.
    pub(super) trust: Result<(), Error>,
    /// The protocol version.
    pub(super) version: &'static str,
    /// The server's own date, asked for if dates are the trouble.
    pub(super) date: Option<Dated>,
}

/// A date that the server gave, and when it was asked.
pub(super) struct Dated {
    pub(super) sent: Boot,
    pub(super) received: Boot,
    pub(super) server: Server,
}

/// Shakes hands with the target over this connection.
pub(super) async fn look(stream: TcpStream, target: &Target, tls: &Tls) -> Result<Looked, String> {
    let witness =
        Arc::new(Witness { judge: tls.verifier().map_err(|error| error.to_string())?, seen: Mutex::default() });
    let config =
        tls.config_with(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>).map_err(|error| error.to_string())?;
    let host = target.url().host_str().unwrap_or_default();
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let seen = witness.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut stream = stream.map_err(|error| in_words(&error))?;
    let (chain, trust) = seen.ok_or("the server showed no certificate")?;
    let version = match stream.get_ref().1.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    let date = if trust.as_ref().is_err_and(is_about_dates) { ask_date(&mut stream, host).await } else { None };
    Ok(Looked { chain, trust, version, date })
}

/// Is a certificate refused for its dates alone?
pub(super) fn is_about_dates(error: &Error) -> bool {
    use CertificateError as C;
    matches!(
        error,
        Error::InvalidCertificate(
            C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. }
        )
    )
}

fn in_words(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidMessage(_)) => "the answer is no TLS: check that this port speaks it".to_owned(),
        Some(inner) => inner.to_string(),
        None => error.to_string(),
    }
    .replace(['\n', '\r'], " ")
}

async fn ask_date(stream: &mut TlsStream<TcpStream>, host: &str) -> Option<Dated> {
    let sent = clock::boot();
    let request = format!("HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    let head = read_head(stream).await.ok()?;
    let received = clock::boot();
    let text = String::from_utf8_lossy(&head);
    let date = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date").then(|| parse_http_date(value.trim()))?
    });
    Some(Dated { sent, received, server: date? })
}

/// The certificates, and what the verifier thinks of them.
type Seen = (Vec<Facts>, Result<(), Error>);

/// Writes down what the real verifier says, and lets the handshake go on.
#[derive(Debug)]
struct Witness {
    judge: Arc<dyn ServerCertVerifier>,
    seen: Mutex<Option<Seen>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let trust = self.judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let chain = std::iter::once(end_entity).chain(intermediates).filter_map(Facts::read).collect();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((chain, trust.map(drop)));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}
