//! The public regions of Genesys Cloud, in every spelling that its tools accept.
//!
//! One region is `us-east-1` for Terraform, `us_east_1` for the SDKs, `mypurecloud.com` for the command line tool and
//! `https://login.mypurecloud.com` for a person who copies from the browser. A token is only valid in the region that
//! issued it, so a region is never guessed: an unknown text is an error that names the nearest known one.
//!
//! Source: `PureCloudRegionHosts` of the platform SDKs; `getRegionMap` of the Terraform provider.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A public region of Genesys Cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
#[expect(missing_docs, reason = "each variant is the region's AWS name, listed in `Region::facts`")]
pub enum Region {
    UsEast1,
    UsEast2,
    UsWest2,
    CaCentral1,
    MxCentral1,
    SaEast1,
    EuWest1,
    EuWest2,
    EuCentral1,
    EuCentral2,
    EuscDeEast1,
    MeCentral1,
    ApSouth1,
    ApSoutheast1,
    ApSoutheast2,
    ApNortheast1,
    ApNortheast2,
    ApNortheast3,
}

impl Region {
    /// Every public region.
    pub const ALL: [Self; 18] = [
        Self::UsEast1,
        Self::UsEast2,
        Self::UsWest2,
        Self::CaCentral1,
        Self::MxCentral1,
        Self::SaEast1,
        Self::EuWest1,
        Self::EuWest2,
        Self::EuCentral1,
        Self::EuCentral2,
        Self::EuscDeEast1,
        Self::MeCentral1,
        Self::ApSouth1,
        Self::ApSoutheast1,
        Self::ApSoutheast2,
        Self::ApNortheast1,
        Self::ApNortheast2,
        Self::ApNortheast3,
    ];

    /// The AWS name and the domain.
    const fn facts(self) -> (&'static str, &'static str) {
        match self {
            Self::UsEast1 => ("us-east-1", "mypurecloud.com"),
            Self::UsEast2 => ("us-east-2", "use2.us-gov-pure.cloud"),
            Self::UsWest2 => ("us-west-2", "usw2.pure.cloud"),
            Self::CaCentral1 => ("ca-central-1", "cac1.pure.cloud"),
            Self::MxCentral1 => ("mx-central-1", "mxc1.pure.cloud"),
            Self::SaEast1 => ("sa-east-1", "sae1.pure.cloud"),
            Self::EuWest1 => ("eu-west-1", "mypurecloud.ie"),
            Self::EuWest2 => ("eu-west-2", "euw2.pure.cloud"),
            Self::EuCentral1 => ("eu-central-1", "mypurecloud.de"),
            Self::EuCentral2 => ("eu-central-2", "euc2.pure.cloud"),
            Self::EuscDeEast1 => ("eusc-de-east-1", "edee1.eusc-pure.cloud"),
            Self::MeCentral1 => ("me-central-1", "mec1.pure.cloud"),
            Self::ApSouth1 => ("ap-south-1", "aps1.pure.cloud"),
            Self::ApSoutheast1 => ("ap-southeast-1", "apse1.pure.cloud"),
            Self::ApSoutheast2 => ("ap-southeast-2", "mypurecloud.com.au"),
            Self::ApNortheast1 => ("ap-northeast-1", "mypurecloud.jp"),
            Self::ApNortheast2 => ("ap-northeast-2", "apne2.pure.cloud"),
            Self::ApNortheast3 => ("ap-northeast-3", "apne3.pure.cloud"),
        }
    }

    /// The AWS name, such as `eu-central-1`.
    #[must_use]
    pub const fn aws_name(self) -> &'static str {
        self.facts().0
    }

    /// The domain, such as `mypurecloud.de`.
    #[must_use]
    pub const fn domain(self) -> &'static str {
        self.facts().1
    }

    /// The API's origin.
    #[must_use]
    pub fn api_url(self) -> String {
        format!("https://api.{}", self.domain())
    }

    /// The login host's origin.
    #[must_use]
    pub fn login_url(self) -> String {
        format!("https://login.{}", self.domain())
    }

    /// The token endpoint.
    #[must_use]
    pub fn token_url(self) -> String {
        format!("{}/oauth/token", self.login_url())
    }

    /// Where a person logs in, such as `https://login.mypurecloud.ie/oauth/authorize`.
    #[must_use]
    pub fn authorize_url(self) -> String {
        format!("{}/oauth/authorize", self.login_url())
    }

    /// Reads a region in any spelling: AWS name with dashes or underscores, SDK constant, domain, host or URL.
    ///
    /// # Errors
    /// The error carries the text, the nearest known spelling and, for a known slip, its name.
    pub fn parse(text: &str) -> Result<Self, UnknownRegion> {
        let lower = text.trim().to_ascii_lowercase();
        let host = host_of(&lower);
        Self::of_name(host).or_else(|| Self::of_host(host)).ok_or_else(|| UnknownRegion::new(text, host))
    }

    /// The region of a host or URL; `None`, at little cost, if it is none of this provider's.
    #[must_use]
    pub fn of_url(url: &str) -> Option<Self> {
        Self::of_host(host_of(&url.to_ascii_lowercase()))
    }

    fn of_name(name: &str) -> Option<Self> {
        let name = name.replace('_', "-");
        Self::ALL.into_iter().find(|region| region.aws_name() == name)
    }

    fn of_host(host: &str) -> Option<Self> {
        let domain = HOSTS.iter().find_map(|prefix| host.strip_prefix(prefix)).unwrap_or(host);
        Self::ALL.into_iter().find(|region| region.domain() == domain)
    }
}

impl FromStr for Region {
    type Err = UnknownRegion;
    fn from_str(text: &str) -> Result<Self, UnknownRegion> {
        Self::parse(text)
    }
}

impl From<Region> for &'static str {
    fn from(region: Region) -> Self {
        region.aws_name()
    }
}

impl TryFrom<String> for Region {
    type Error = UnknownRegion;
    fn try_from(text: String) -> Result<Self, UnknownRegion> {
        Self::parse(&text)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.aws_name())
    }
}

/// A text that names no region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRegion {
    /// What was given, cut to 64 characters.
    pub given: String,
    /// The nearest known spelling, if one is near.
    pub suggestion: Option<&'static str>,
    /// The slip, if it is a known one.
    pub slip: Option<RegionSlip>,
}

/// Slips that people make with regions, each with its own explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionSlip {
    /// An AWS name glued to a domain, such as `us-east-1.mypurecloud.com`. The name part is this region's.
    NameGluedToDomain(Region),
    /// Nothing was given.
    Empty,
}

impl UnknownRegion {
    fn new(text: &str, host: &str) -> Self {
        Self {
            given: text.trim().chars().filter(|c| !c.is_control()).take(GIVEN_LIMIT).collect(),
            suggestion: nearest(host),
            slip: find_slip(host),
        }
    }
}

impl fmt::Display for UnknownRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.slip, self.suggestion) {
            (Some(RegionSlip::Empty), _) => f.write_str("the region is empty"),
            (Some(RegionSlip::NameGluedToDomain(region)), _) => write!(
                f,
                "`{}` joins a region's name to a domain; the region {region} is at {}",
                self.given,
                region.domain()
            ),
            (None, Some(suggestion)) => write!(f, "unknown region `{}`; did you mean `{suggestion}`?", self.given),
            (None, None) => write!(f, "unknown region `{}`", self.given),
        }
    }
}

impl std::error::Error for UnknownRegion {}

/// The part of a lower-case text that names the region: the host of a URL, the constant behind a class name.
fn host_of(text: &str) -> &str {
    let text = text.rsplit_once("purecloudregionhosts.").map_or(text, |(_, constant)| constant);
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.split(['/', '?', '#']).next().unwrap_or_default();
    let text = match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => text,
    };
    text.trim_end_matches('.')
}

fn find_slip(host: &str) -> Option<RegionSlip> {
    if host.is_empty() {
        return Some(RegionSlip::Empty);
    }
    let domain = HOSTS.iter().find_map(|prefix| host.strip_prefix(prefix)).unwrap_or(host);
    let (name, _) = domain.split_once('.')?;
    Region::of_name(name).map(RegionSlip::NameGluedToDomain)
}

/// The known spelling with the fewest edits, if they are few for its length.
fn nearest(host: &str) -> Option<&'static str> {
    let host: String = host.chars().take(GIVEN_LIMIT).map(|c| if c == '_' { '-' } else { c }).collect();
    let host = HOSTS.iter().find_map(|prefix| host.strip_prefix(prefix)).unwrap_or(&host);
    let spellings = Region::ALL.into_iter().flat_map(|region| [region.aws_name(), region.domain()]);
    let (edits, spelling) =
        spellings.map(|spelling| (edit_distance(host, spelling), spelling)).min_by_key(|(edits, _)| *edits)?;
    (edits <= EDIT_LIMIT.min(spelling.len() / 4)).then_some(spelling)
}

/// How many characters must be inserted, removed or replaced (Levenshtein).
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

/// The hosts of a region that people copy from documents and browsers.
const HOSTS: [&str; 3] = ["api.", "login.", "apps."];
const GIVEN_LIMIT: usize = 64;
const EDIT_LIMIT: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spelling_of_every_region_is_read() {
        for region in Region::ALL {
            let (name, domain) = (region.aws_name(), region.domain());
            let constant = name.replace('-', "_");
            for text in [
                name.to_owned(),
                name.to_uppercase(),
                constant.clone(),
                constant.to_uppercase(),
                format!("PureCloudRegionHosts.{constant}"),
                format!("platformClient.PureCloudRegionHosts.{constant}"),
                domain.to_owned(),
                domain.to_uppercase(),
                format!("api.{domain}"),
                format!("login.{domain}"),
                format!("apps.{domain}"),
                format!("https://{domain}"),
                format!("https://api.{domain}/"),
                format!("HTTPS://Login.{domain}:443/oauth/token?x=y"),
                format!("https://apps.{domain}/directory/#/"),
                format!(" {domain}. "),
                region.api_url(),
                region.login_url(),
                region.token_url(),
                region.to_string(),
            ] {
                assert_eq!(Region::parse(&text), Ok(region), "{text}");
            }
        }
    }

    #[test]
    fn a_host_tells_its_region_and_others_tell_none() {
        assert_eq!(Region::of_url("https://LOGIN.mypurecloud.de/oauth/token"), Some(Region::EuCentral1));
        assert_eq!(Region::of_url("api.mypurecloud.de:443"), Some(Region::EuCentral1));
        for url in ["https://idp.example/token", "http://127.0.0.1:8080", "eu-central-1", ""] {
            assert_eq!(Region::of_url(url), None, "{url}");
        }
    }

    #[test]
    fn names_and_domains_are_unique() {
        for (i, left) in Region::ALL.into_iter().enumerate() {
            for right in Region::ALL.into_iter().skip(i + 1) {
                assert!(left.aws_name() != right.aws_name() && left.domain() != right.domain());
            }
        }
    }

    #[test]
    fn a_name_glued_to_a_domain_is_explained() {
        for text in ["us-east-1.mypurecloud.com", "https://api.us-east-1.mypurecloud.com/", "us_east_1.pure.cloud"] {
            let unknown = Region::parse(text).unwrap_err();
            assert_eq!(unknown.slip, Some(RegionSlip::NameGluedToDomain(Region::UsEast1)), "{text}");
        }
        assert_eq!(
            Region::parse("us-east-1.mypurecloud.com").unwrap_err().to_string(),
            "`us-east-1.mypurecloud.com` joins a region's name to a domain; the region us-east-1 is at mypurecloud.com"
        );
    }

    #[test]
    fn near_misses_get_a_suggestion_and_others_none() {
        for (text, suggestion) in [
            ("us-east-11", Some("us-east-1")),
            ("useast1", Some("us-east-1")),
            ("eu-cental-1", Some("eu-central-1")),
            ("api.mypurecloud.co", Some("mypurecloud.com")),
            ("mypurecloud.con", Some("mypurecloud.com")),
            ("usw2.purecloud", Some("usw2.pure.cloud")),
            ("example.com", None),
            ("", None),
            ("https://", None),
            ("localhost:8080", None),
            ("127.0.0.1", None),
        ] {
            let unknown = Region::parse(text).unwrap_err();
            assert_eq!(unknown.suggestion, suggestion, "{text}");
        }
        assert_eq!(Region::parse(" ").unwrap_err().to_string(), "the region is empty");
        assert_eq!(
            Region::parse("eu-cental-1").unwrap_err().to_string(),
            "unknown region `eu-cental-1`; did you mean `eu-central-1`?"
        );
        assert_eq!(Region::parse("mars").unwrap_err().to_string(), "unknown region `mars`");
    }

    #[test]
    fn other_hosts_that_only_contain_a_domain_are_refused() {
        for text in [
            "mypurecloud.com.evil.example",
            "evil.mypurecloud.com",
            "notmypurecloud.com",
            "api.api.mypurecloud.com",
            "user@mypurecloud.com",
        ] {
            assert!(Region::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            if let Err(unknown) = Region::parse(&text) {
                prop_assert!(unknown.given.chars().count() <= GIVEN_LIMIT);
            }
        }

        #[test]
        fn one_wrong_letter_never_names_another_region(at in 0_usize..12, letter in "[a-z]") {
            let mut name = "ap-southeast-1".to_owned();
            name.replace_range(at..=at, &letter);
            prop_assert!(Region::parse(&name).is_err() || Region::parse(&name) == Ok(Region::ApSoutheast1));
        }
    }
}
