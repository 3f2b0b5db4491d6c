//! What a certificate says of itself: for whom, by whom, from when until when.
//!
//! Nothing is verified here; that is the TLS verifier's work. These are the words for the report.
//!
//! Source: RFC 5280 sections 4.1.2.4 to 4.1.2.6 (issuer, validity, subject) and 4.2.1.6 (names).

use std::net::IpAddr;

use evergrant_core::time::{Span, Wall};
use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::words::{long, utc};

/// The facts of one certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Facts {
    /// Who it is about.
    pub(super) subject: String,
    /// Who signed it.
    pub(super) issuer: String,
    /// The host names and addresses it is made out to.
    pub(super) names: Vec<String>,
    /// The first instant of its validity.
    pub(super) from: Wall,
    /// The last.
    pub(super) until: Wall,
}

impl Facts {
    /// Reads a certificate; `None` if it is none that can be read.
    pub(super) fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(der.as_ref()).ok()?;
        let of = certificate.tbs_certificate();
        let wall = |time: x509_cert::time::Time| {
            Wall::from_secs(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX))
        };
        let names = of.get_extension::<SubjectAltName>().ok().flatten();
        let names = names.map(|(_, names)| names.0.iter().filter_map(name).take(NAMES_SHOWN).collect());
        Some(Self {
            subject: of.subject().to_string(),
            issuer: of.issuer().to_string(),
            names: names.unwrap_or_default(),
            from: wall(of.validity().not_before),
            until: wall(of.validity().not_after),
        })
    }

    /// Is it valid at this instant, as far as its dates go?
    pub(super) fn holds_at(&self, at: Wall) -> bool {
        self.from <= at && at <= self.until
    }

    /// How long it lasts from this instant on.
    pub(super) fn left_at(&self, at: Wall) -> Span {
        self.until - at
    }

    /// It in a sentence, with its dates seen from `now`.
    pub(super) fn sentence(&self, now: Wall) -> String {
        let left = self.left_at(now);
        let when = if now < self.from {
            format!("begins in {}", long(self.from - now))
        } else if left.is_negative() {
            format!("ended {} ago", long(left))
        } else {
            format!("{} left", long(left))
        };
        let (from, until) = (utc(self.from), utc(self.until));
        format!(
            "certificate {} by {}, valid {from} to {until}: {when} by this machine's clock",
            self.subject, self.issuer
        )
    }
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
        }
        GeneralName::OtherName(_)
        | GeneralName::Rfc822Name(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::UniformResourceIdentifier(_)
        | GeneralName::RegisteredId(_) => None,
    }
}

/// Some certificates are made out to hundreds of hosts.
const NAMES_SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// One of the bundled roots.
    fn root() -> Facts {
        Facts::read(&webpki_root_certs::TLS_SERVER_ROOT_CERTS[0]).unwrap()
    }

    #[test]
    fn a_root_says_who_it_is_and_how_long() {
        let facts = root();
        assert!(!facts.subject.is_empty() && facts.subject == facts.issuer, "{facts:?}");
        assert!(facts.from < facts.until && facts.names.is_empty());
    }

    #[test]
    fn the_ends_of_validity_belong_to_it() {
        let facts = root();
        let second = Span::from_secs(1);
        assert!(facts.holds_at(facts.from) && facts.holds_at(facts.until));
        assert!(!facts.holds_at(facts.from - second) && !facts.holds_at(facts.until + second));
        assert!(facts.sentence(facts.until + Span::from_secs(86_400 * 30)).contains("ended 30 days ago"));
        assert!(facts.sentence(facts.from - Span::from_secs(3_000)).contains("begins in 50 minutes"));
    }

    #[test]
    fn every_bundled_root_is_readable_and_junk_is_not() {
        assert!(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().all(|der| Facts::read(der).is_some()));
        assert_eq!(Facts::read(&CertificateDer::from(vec![0x30, 0x03, 1, 1, 1])), None);
    }
}
