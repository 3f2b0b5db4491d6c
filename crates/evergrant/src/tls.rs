//! The one TLS client configuration of the library and the gateway.
//!
//! The token endpoint and the API are reached with the same trust: the platform's certificate verifier, plus the
//! certificates of an extra file if one is named; a server may present one of these as its own. A host without any certificate store (a slim container) would fail
//! here before the first byte; then the bundled Mozilla roots stand in. The cryptography provider is passed
//! explicitly, because two of them in one dependency tree make the process-wide default panic at run time.
//!
//! The configuration is built at first use: a gateway whose servers are all on plain loopback never reads a
//! certificate store.

mod self_signed;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

use self_signed::AcceptsItself;
pub(crate) use self_signed::is_marked_as_authority;

/// Builds the TLS client configuration once, at first use, and shares it.
#[derive(Debug, Default)]
pub struct Tls {
    ca_file: Option<PathBuf>,
    identity: Option<ClientIdentity>,
    config: Mutex<Option<Arc<ClientConfig>>>,
}

/// What a client shows of itself to servers that ask for a certificate (RFC 8705).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientIdentity {
    /// The certificate and those between it and its authority, as a PEM file.
    pub cert_file: PathBuf,
    /// Its private key, as a PEM file.
    pub key_file: PathBuf,
}

impl Tls {
    /// Trusts the platform's roots and, if named, the PEM certificates in `ca_file`. Reads nothing yet.
    #[must_use]
    pub fn new(ca_file: Option<PathBuf>) -> Self {
        Self { ca_file, ..Self::default() }
    }

    /// Shows this identity to servers that ask for one: the token endpoint, and an API that wants the same certificate
    /// beside a token that is bound to it.
    #[must_use]
    pub fn with_identity(self, identity: Option<ClientIdentity>) -> Self {
        Self { identity, ..self }
    }

    /// The configuration, without ALPN protocols: each HTTP stack names its own.
    ///
    /// # Errors
    /// When the extra file cannot be used or the platform's verifier cannot be made. The next call tries again.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = config.as_ref() {
            return Ok(Arc::clone(config));
        }
        let built = Arc::new(self.config_with(self.verifier()?)?);
        *config = Some(Arc::clone(&built));
        Ok(built)
    }

    /// The verifier that the configuration uses, to ask it alone.
    pub(crate) fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        verifier(self.ca_file.as_deref())
    }

    /// A configuration that asks this verifier.
    pub(crate) fn config_with(&self, verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, TlsError> {
        let builder = builder()?.dangerous().with_custom_certificate_verifier(verifier);
        let Some(ClientIdentity { cert_file, key_file }) = &self.identity else {
            return Ok(builder.with_no_client_auth());
        };
        let failed = |path: &Path, cause: String| TlsError::Identity { path: path.to_owned(), cause };
        let certificates = std::fs::read(cert_file)
            .map_err(|error| failed(cert_file, error.to_string()))
            .and_then(|pem| certificates(&pem).map_err(|cause| failed(cert_file, cause)))?;
        let key = PrivateKeyDer::from_pem_file(key_file)
            .map_err(|error| failed(key_file, format!("no private key can be read from it: {error}")))?;
        builder
            .with_client_auth_cert(certificates, key)
            .map_err(|error| failed(key_file, format!("it does not fit the certificate: {error}")))
    }

    /// A configuration that trusts nobody, for a client that will only speak plain HTTP to loopback.
    ///
    /// # Errors
    /// When the cryptography provider supports no protocol version.
    pub fn untrusting_config() -> Result<ClientConfig, TlsError> {
        Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
    }
}

/// Why no TLS configuration could be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The extra CA file could not be read or parsed.
    #[error("CA file {}: {cause}", path.display())]
    CaFile {
        /// The file as configured.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The client's certificate or key could not be read, or they do not belong together.
    #[error("client certificate: {}: {cause}", path.display())]
    Identity {
        /// The file that is wrong.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The TLS library refused its set-up.
    #[error("TLS set-up: {0}")]
    Setup(#[from] rustls::Error),
}

impl TlsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::CaFile { .. } => "name a readable file that holds PEM certificates, or leave the CA file out",
            Self::Identity { .. } => {
                "name PEM files: the certificate with those that signed it, and its own key without a passphrase"
            }
            Self::Setup(_) => "name a file of PEM certificates as the CA file",
        }
    }
}

fn verifier(ca_file: Option<&Path>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let extra = ca_file.map(read_ca_file).transpose()?.unwrap_or_default();
    build_verifier(extra, provider())
}

fn build_verifier(
    extra: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let inner: Arc<dyn ServerCertVerifier> = match platform_verifier(&extra, &provider) {
        Ok(verifier) => Arc::new(verifier),
        Err(error) => {
            tracing::warn!(%error, "no platform certificate store, using the bundled Mozilla roots");
            WebPkiServerVerifier::builder_with_provider(Arc::new(bundled_roots(&extra)?), provider)
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?
        }
    };
    Ok(if extra.is_empty() { inner } else { Arc::new(AcceptsItself { inner, given: extra }) })
}

/// The platform's verifier with the extra certificates added.
///
/// It is made without them first: with them it would not say that the platform itself has none.
fn platform_verifier(
    extra: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Verifier, rustls::Error> {
    let verifier = Verifier::new(Arc::clone(provider))?;
    if extra.is_empty() {
        return Ok(verifier);
    }
    Verifier::new_with_extra_roots(extra.iter().cloned(), Arc::clone(provider))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TlsError> {
    Ok(ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|cause| format!("not valid PEM: {cause}"))?;
    if certificates.is_empty() { Err("it holds no PEM certificate".to_owned()) } else { Ok(certificates) }
}

fn read_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let error = |cause: String| TlsError::CaFile { path: path.to_owned(), cause };
    let pem = std::fs::read(path).map_err(|cause| error(cause.to_string()))?;
    let certificates = certificates(&pem).map_err(error)?;
    let mut probe = RootCertStore::empty();
    for certificate in &certificates {
        probe.add(certificate.clone()).map_err(|cause| error(format!("not a usable certificate: {cause}")))?;
    }
    Ok(certificates)
}

fn bundled_roots(extra: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    for certificate in extra {
        roots.add(certificate.clone())?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of the bundled roots, written as PEM.
    fn certificate_pem() -> String {
        use base64::Engine;
        let der = &webpki_root_certs::TLS_SERVER_ROOT_CERTS[0];
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    }

    fn error_for(content: Option<&str>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let error = Tls::new(Some(path.clone())).client_config().unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        error
    }

    #[test]
    fn a_ca_file_adds_its_certificates() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, certificate_pem()).unwrap();
        let tls = Tls::new(Some(path));
        assert!(Arc::ptr_eq(&tls.client_config().unwrap(), &tls.client_config().unwrap()));
    }

    #[test]
    fn an_unusable_ca_file_is_named_with_its_cause() {
        assert!(error_for(None).contains("No such file"));
        assert!(error_for(Some("")).contains("no PEM certificate"));
        assert!(error_for(Some("hello\n")).contains("no PEM certificate"));
        let torn = certificate_pem().replace("-----END CERTIFICATE-----\n", "");
        assert!(error_for(Some(&torn)).contains("not valid PEM"));
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(error_for(Some(nonsense)).contains("not a usable certificate"));
    }

    #[test]
    fn the_bundled_roots_stand_in_for_a_missing_store() {
        assert!(bundled_roots(&[]).unwrap().len() > 100);
    }

    #[test]
    fn the_config_names_no_protocol_so_that_each_stack_can() {
        assert!(Tls::untrusting_config().unwrap().alpn_protocols.is_empty());
        assert!(Tls::default().client_config().unwrap().alpn_protocols.is_empty());
    }
}
