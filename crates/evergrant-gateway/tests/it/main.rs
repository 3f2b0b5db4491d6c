//! The gateway on real sockets: a small upstream, the gateway, and a caller, all on loopback.

#[cfg(test)]
mod any_bytes;
#[cfg(test)]
mod attacks;
#[cfg(test)]
mod attacks_h2;
#[cfg(test)]
mod broker;
#[cfg(test)]
mod callers;
#[cfg(test)]
mod grants;
#[cfg(test)]
mod hygiene;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod operation;
#[cfg(test)]
mod pace;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod pattern;
#[cfg(test)]
mod pause;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod revoked_uploads;
#[cfg(test)]
mod sdk_shapes;
#[cfg(test)]
mod secrecy;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod streaming;
#[cfg(test)]
mod strict;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod upgrade;
#[cfg(test)]
mod uploads;
#[cfg(test)]
mod upstream_faults;
#[cfg(test)]
mod witness;
