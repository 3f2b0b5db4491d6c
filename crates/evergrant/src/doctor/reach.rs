//! The way to one host: its name, a connection, TLS, and a proxy in between.
//!
//! Each step is a check of its own, because each has its own remedy. Where a proxy stands in between, it resolves the
//! name and makes the connection, so those two steps are its business and the tunnel is looked at instead.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use evergrant_core::attempt::Subject;
use evergrant_core::evidence::{Carried, Evidence};
use evergrant_core::offset::{Sample, Source};
use evergrant_core::time::{Server, Span, Wall};
use rustls::{CertificateError, Error};
use tokio::net::TcpStream;

use super::look::{self, Looked};
use super::report::{Check, Name, State};
use super::tunnel::{Proxy, TunnelFailure};
use super::visit::Visit;
use super::words::{counted, long, millis, utc, utc_of};
use crate::clock;
use crate::tls::is_marked_as_authority;
use crate::transport::Target;

/// One of the two hosts, and which checks are about it.
#[derive(Clone, Copy)]
pub(super) struct Side {
    dns: Name,
    tcp: Name,
    tls: Name,
    source: Source,
    /// The settings that name it.
    settings: &'static str,
}

impl Side {
    pub(super) const TOKEN: Self = Self {
        dns: Name::TokenDns,
        tcp: Name::TokenTcp,
        tls: Name::TokenTls,
        source: Source::AuthDate,
        settings: "the region or the token URL",
    };
    pub(super) const API: Self = Self {
        dns: Name::ApiDns,
        tcp: Name::ApiTcp,
        tls: Name::ApiTls,
        source: Source::ApiDate,
        settings: "the region or the upstream",
    };

    fn names(self) -> [Name; 3] {
        [self.dns, self.tcp, self.tls]
    }

    /// Its checks, settled without looking.
    pub(super) fn settled(self, visit: &Visit<'_>, why: &str) -> Reached {
        let checks = self.names().map(|name| visit.settle(Check::skipped(name, why)));
        Reached { checks: checks.into(), blocked: None }
    }
}

/// How far one host could be reached.
pub(super) struct Reached {
    pub(super) checks: Vec<Check>,
    /// The check that found the way closed.
    pub(super) blocked: Option<Name>,
}

/// Looks at the proxies before both targets.
pub(super) async fn proxies(visit: &Visit<'_>, targets: &[&Target]) -> (Check, bool) {
    let mut check = Check::ok(Name::Proxy);
    let (mut is_open, mut seen) = (true, Vec::new());
    for target in targets {
        let Some(proxy) = Proxy::before(target) else { continue };
        if seen.contains(&target.place()) {
            continue;
        }
        seen.push(target.place());
        let with = if proxy.has_credentials() { "with credentials" } else { "without credentials" };
        check = check.saw(format!("{} is reached through the proxy {}, {with}", target.place(), proxy.place()));
        if !proxy.is_http {
            check = check.saw("it is no http:// proxy, so it was not looked at any closer");
            continue;
        }
        let began = clock::boot();
        match tunnel(visit, &proxy, target).await {
            Ok(_) => check = check.saw(format!("it opened a tunnel in {}", millis(clock::boot() - began))),
            Err(failure) => (check, is_open) = (refused(check, &proxy, &failure), false),
        }
    }
    if seen.is_empty() {
        check = Check::skipped(Name::Proxy, "no proxy is in use: the environment names none for these hosts");
    }
    (check, is_open)
}

fn refused(check: Check, proxy: &Proxy, failure: &TunnelFailure) -> Check {
    match failure {
        TunnelFailure::Status(status @ 407) => {
            let evidence = Evidence {
                route: format!("the proxy {}", proxy.place()),
                ..Evidence::of_answer(*status, Subject::Proxy, Carried::Nothing)
            };
            check.judged(State::Fault, &evidence)
        }
        TunnelFailure::Status(status) => check
            .saw(format!("it answered {status} to CONNECT"))
            .fault("ask who runs the proxy to let this host through, or name the host in NO_PROXY"),
        TunnelFailure::Broken(why) => check
            .saw(format!("it opened no tunnel: {why}"))
            .fault("check HTTPS_PROXY: host and port, and that the proxy is running"),
    }
}

async fn tunnel(visit: &Visit<'_>, proxy: &Proxy, target: &Target) -> Result<TcpStream, TunnelFailure> {
    let work = async {
        let stream = TcpStream::connect((proxy.host.trim_matches(['[', ']']), proxy.port)).await;
        proxy.tunnel(stream.map_err(|error| TunnelFailure::Broken(error.to_string()))?, target).await
    };
    let late = |_| TunnelFailure::Broken("no answer in time".to_owned());
    tokio::time::timeout(connect_timeout(visit), work).await.map_err(late)?
}

/// Goes the whole way to a target and stops where it is closed.
pub(super) async fn reach(visit: &Visit<'_>, side: Side, target: &Target) -> Reached {
    let proxy = Proxy::before(target);
    let mut checks = Vec::new();
    if let Some(proxy) = &proxy {
        let why = format!("the proxy {} does this", proxy.place());
        checks.extend([side.dns, side.tcp].map(|name| visit.settle(Check::skipped(name, why.as_str()))));
    } else {
        let (check, addresses) = visit.run_with(side.dns, Duration::ZERO, resolve(side, target)).await;
        checks.push(check);
        let addresses = addresses.flatten().unwrap_or_default();
        if addresses.is_empty() {
            return closed(visit, checks, side.dns, &[side.tcp, side.tls]);
        }
        let check = visit.run(side.tcp, connect(visit, side, target, &addresses)).await;
        let is_open = check.state != State::Fault;
        checks.push(check);
        if !is_open {
            return closed(visit, checks, side.tcp, &[side.tls]);
        }
    }
    if !target.is_tls() {
        checks.push(visit.settle(without_tls(side, target)));
        return Reached { checks, blocked: None };
    }
    let check = visit.run(side.tls, shake_hands(visit, side, target, proxy.as_ref())).await;
    let blocked = (check.state == State::Fault).then_some(side.tls);
    checks.push(check);
    Reached { checks, blocked }
}

fn closed(visit: &Visit<'_>, mut checks: Vec<Check>, by: Name, rest: &[Name]) -> Reached {
    let why = format!("not reached: see {}", by.title());
    checks.extend(rest.iter().map(|name| visit.settle(Check::skipped(*name, why.as_str()))));
    Reached { checks, blocked: Some(by) }
}

async fn resolve(side: Side, target: &Target) -> (Check, Option<Vec<SocketAddr>>) {
    let check = Check::ok(side.dns);
    let host = target.url().host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = target.url().port_or_known_default().unwrap_or_default();
    let began = clock::boot();
    let found = tokio::net::lookup_host((host, port)).await.map(Vec::from_iter);
    let took = clock::boot() - began;
    match found {
        Ok(addresses) if !addresses.is_empty() => {
            let shown: Vec<_> =
                addresses.iter().take(ADDRESSES_SHOWN).map(|address| address.ip().to_string()).collect();
            let fact = match host.parse::<IpAddr>() {
                Ok(_) => format!("{host} is an address already"),
                Err(_) => format!("{host} is {} (asked for {})", shown.join(", "), millis(took)),
            };
            (check.saw(fact), Some(addresses))
        }
        Ok(_) => (unresolved(check, side, host, "the answer holds no address"), None),
        Err(error) => (unresolved(check, side, host, &error.to_string()), None),
    }
}

fn unresolved(check: Check, side: Side, host: &str, why: &str) -> Check {
    check
        .saw(format!("the name {host} cannot be resolved: {why}"))
        .fault(format!("check {}, then this machine's name servers (`getent hosts {host}`)", side.settings))
}

async fn connect(visit: &Visit<'_>, side: Side, target: &Target, addresses: &[SocketAddr]) -> Check {
    let mut check = Check::ok(side.tcp);
    for address in addresses.iter().take(ADDRESSES_TRIED) {
        let began = clock::boot();
        let cause = match tokio::time::timeout(connect_timeout(visit), TcpStream::connect(address)).await {
            Ok(Ok(_)) => {
                return check.saw(format!("{address} accepts connections, after {}", millis(clock::boot() - began)));
            }
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection within {:?}", connect_timeout(visit)),
        };
        check = check.saw(format!("{address}: {cause}"));
    }
    let place = target.place();
    check.fault(format!("check {}, that a server runs at {place}, and the firewall in between", side.settings))
}

fn without_tls(side: Side, target: &Target) -> Check {
    if target.is_loopback() {
        return Check::skipped(side.tls, format!("{} is on this machine and speaks plain HTTP", target.place()));
    }
    Check::ok(side.tls)
        .saw(format!("{} is asked in plain HTTP beyond this machine", target.place()))
        .warning("use https://: everybody on the way can read the client secret and the tokens")
}

async fn shake_hands(visit: &Visit<'_>, side: Side, target: &Target, proxy: Option<&Proxy>) -> Check {
    let check = Check::ok(side.tls);
    let host = target.url().host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = target.url().port_or_known_default().unwrap_or_default();
    let work = async {
        let stream = match proxy {
            Some(proxy) if proxy.is_http => {
                tunnel(visit, proxy, target).await.map_err(|failure| format!("{failure:?}"))?
            }
            Some(_) => return Ok(None),
            None => TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?,
        };
        look::look(stream, target, &visit.tls).await.map(Some)
    };
    match tokio::time::timeout(connect_timeout(visit), work).await {
        Ok(Ok(Some(looked))) => judge(visit, side, target, check, looked),
        Ok(Ok(None)) => Check::skipped(side.tls, "behind a proxy that is not looked through"),
        Ok(Err(cause)) => check
            .saw(format!("TLS with {} failed: {cause}", target.place()))
            .fault("check the URL and the server's TLS settings"),
        Err(_) => check
            .saw(format!("TLS with {} did not end within {:?}", target.place(), connect_timeout(visit)))
            .fault("check that this port speaks TLS"),
    }
}

/// What the certificates and the verifier's judgement mean.
fn judge(visit: &Visit<'_>, side: Side, target: &Target, mut check: Check, looked: Looked) -> Check {
    let now = clock::now();
    if let Some(dated) = &looked.date {
        let (sent, received, server) = (dated.sent, dated.received, dated.server);
        visit.note_sample(
            side.source,
            Sample { sent, received, server, resolution: Span::from_secs(1), bounds_above: true },
        );
    }
    let shown = looked.chain.iter().take(CHAIN_SHOWN).map(|facts| facts.sentence(now.wall));
    check.evidence.extend(shown);
    let Err(error) = &looked.trust else {
        let left = looked.chain.iter().map(|facts| facts.left_at(now.wall)).min().unwrap_or(Span::MAX);
        let count = counted(looked.chain.len(), "certificate");
        let check = check.saw(format!("{}, {count}, trusted for {}", looked.version, target.place()));
        return if left < SOON_OVER {
            check.warning(format!("have the certificate renewed: it ends in {}", long(left)))
        } else {
            check
        };
    };
    let host = target.url().host_str().unwrap_or_default();
    if look::is_about_dates(error) {
        return judge_dates(check, host, &looked, now.wall);
    }
    let check = check.saw(format!("not trusted for {host}: {}", error.to_string().replace(['\n', '\r'], " ")));
    let Error::InvalidCertificate(cause) = error else {
        return check.fault("check the URL and the server's TLS settings");
    };
    if is_marked_as_authority(error) || matches!(cause, CertificateError::UnknownIssuer) {
        return check.fault(format!(
            "if the authority of {host} is private, name its certificate with --ca-file; if not, somebody in between may be reading along"
        ));
    }
    if matches!(cause, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) {
        let names = looked.chain.first().map(|facts| facts.names.join(", ")).unwrap_or_default();
        return check
            .saw(format!("it is made out to {}", if names.is_empty() { "no host" } else { &names }))
            .fault(format!("check the host in {}, or have {host} added to the certificate", side.settings));
    }
    check.fault(format!("have the certificate of {host} replaced by whoever runs it"))
}

/// An expired certificate and a wrong clock of this machine look the same from here; the server's own date tells.
fn judge_dates(check: Check, host: &str, looked: &Looked, now: Wall) -> Check {
    let bad: Vec<_> = looked.chain.iter().filter(|facts| !facts.holds_at(now)).collect();
    let which = bad.first().map_or_else(|| "an authority".to_owned(), |facts| facts.subject.clone());
    let check = check.saw(format!("not trusted: {which} is outside its validity at {}, this machine's time", utc(now)));
    let Some(dated) = &looked.date else {
        return check
            .saw("the server gives no date of its own to compare with")
            .fault("check this machine's clock first (`date -u`), then have the certificate renewed");
    };
    let there = |server: Server| Wall::from_nanos(server.as_nanos());
    let server = there(dated.server);
    let check = check.saw(format!("the server's own clock says {} (unverified)", utc_of(dated.server)));
    let holds_there = looked.chain.iter().all(|facts| facts.holds_at(server));
    if holds_there && (server - now).abs() > CLOCK_TOLERANCE {
        return check
            .saw(format!(
                "by that clock the certificate of {host} is valid; the clocks differ by {}",
                long(server - now)
            ))
            .fault("set this machine's clock (`timedatectl set-ntp true`): the certificate is good by the server's");
    }
    check.fault(format!("have the certificate {which} of {host} renewed by whoever runs it"))
}

fn connect_timeout(visit: &Visit<'_>) -> Duration {
    visit.setup.http.token_timeout / 2
}

/// A certificate that ends sooner than this should have been renewed.
const SOON_OVER: Span = Span::from_secs(14 * 86_400);
/// A difference of clocks that explains no certificate.
const CLOCK_TOLERANCE: Span = Span::from_secs(60);
const ADDRESSES_SHOWN: usize = 4;
const ADDRESSES_TRIED: usize = 4;
const CHAIN_SHOWN: usize = 4;
