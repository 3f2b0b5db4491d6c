//! Servers that present the very certificate that the CA file holds.
//!
//! Test servers and appliances often have one self-made certificate that is marked as an authority (`openssl req
//! -x509` makes such) and present it as their own. Whoever names it as the CA file means to trust it, and other
//! clients do. The verifier refuses it for one reason alone, the mark; that refusal is overruled if the certificate is
//! byte for byte one of the file's, still made out to the server's name, and everything checked before the mark, its
//! dates among it, was good. It never makes another certificate trusted.
//!
//! Source: RFC 5280 section 4.2.1.9 (the mark); RFC 6125 section 6.6.2 for a certificate accepted by itself.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// A verifier that also accepts the given certificates when a server presents one of them as its own.
#[derive(Debug)]
pub(super) struct AcceptsItself {
    pub(super) inner: Arc<dyn ServerCertVerifier>,
    pub(super) given: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for AcceptsItself {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(error) if is_marked_as_authority(&error) && self.given.iter().any(|given| given == end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Was the server's certificate refused only because it is marked as an authority?
pub(crate) fn is_marked_as_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    matches!(other.0.downcast_ref::<webpki::Error>(), Some(webpki::Error::CaUsedAsEndEntity))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::pem::PemObject;

    use super::super::{build_verifier, provider};
    use super::*;

    /// For `localhost`, marked as an authority, valid from November 2026 to October 2126.
    fn certificate() -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(include_bytes!("self-signed.pem")).unwrap()
    }

    fn verify(given: Vec<CertificateDer<'static>>, name: &'static str, year: u64) -> Result<(), Error> {
        let now = UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 365 * 86_400 + 40 * 86_400));
        let name = ServerName::try_from(name).unwrap();
        build_verifier(given, provider()).unwrap().verify_server_cert(&certificate(), &[], &name, &[], now).map(drop)
    }

    #[test]
    fn a_given_certificate_is_accepted_as_the_servers_own() {
        assert_eq!(verify(vec![certificate()], "localhost", 2030), Ok(()));
    }

    #[test]
    fn it_is_accepted_for_nobody_else_and_at_no_other_time() {
        let marked = verify(Vec::new(), "localhost", 2030).unwrap_err();
        assert!(is_marked_as_authority(&marked), "{marked}");
        let other = webpki_root_certs::TLS_SERVER_ROOT_CERTS[0].clone();
        assert!(verify(vec![other], "localhost", 2030).is_err());
        for (name, year) in [("example.com", 2030), ("127.0.0.1", 2030), ("localhost", 2020), ("localhost", 2150)] {
            let error = verify(vec![certificate()], name, year).unwrap_err();
            assert!(!is_marked_as_authority(&error), "{name} {year}: {error}");
        }
    }
}
